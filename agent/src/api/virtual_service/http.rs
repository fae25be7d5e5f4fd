//! Whether HTTP routes are valid: what they match, and that their parts go together. None is carried out.

mod actions;
mod headers;

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::is_dns_label;
use super::super::rules;
use super::super::tree::Cursor;
use super::read::is_for_mesh;
use super::{gateways, routes};

/// What Istio accepts, since Envoy limits the size of the program that a pattern becomes.
const LONGEST_REGEX: usize = 1024;

pub(super) fn check(spec: &Cursor<'_>, findings: &mut Findings) {
    let is_delegate = spec.items("hosts").len() == 0;
    let is_for_mesh = is_for_mesh(spec);
    for route in spec.items("http") {
        check_parts(&route, is_delegate, findings);
        for item in route.items("match") {
            check_match(&item, findings);
            if is_for_mesh {
                headers::refuse_claims(&item, findings);
            }
        }
        check_destinations(&route, findings);
        actions::check(&route, findings);
        rules::duration(&route, "timeout", findings);
    }
}

/// What excludes what, and what must be there.
fn check_parts(route: &Cursor<'_>, is_delegate: bool, findings: &mut Findings) {
    let has_route = route.items("route").len() > 0;
    if route.has("delegate") {
        let message = match () {
            () if is_delegate => Some("the routes of a delegate cannot be delegated further"),
            () if has_route => Some("a route that is delegated cannot have `route`"),
            () if route.has("redirect") => Some("a route that is delegated cannot have `redirect`"),
            () => None,
        };
        if let Some(message) = message {
            let spot = route.spot_of("delegate");
            findings.error(codes::DELEGATE, spot, message, "keep one of them");
        }
        if !is_delegate {
            return;
        }
    }
    let answer = ["redirect", "directResponse"]
        .into_iter()
        .find(|name| route.has(name));
    if let Some(answer) = answer {
        for other in ["fault", "rewrite", "directResponse"] {
            if other != answer {
                rules::at_most_one(route, &[answer, other], findings);
            }
        }
        if has_route {
            rules::at_most_one(route, &[answer, "route"], findings);
        }
    } else if !has_route {
        findings.error(
            codes::REQUIRED,
            route.spot(),
            "the route leads nowhere",
            "write route, redirect or directResponse",
        );
    }
    if route.items("mirrors").len() > 0 {
        rules::at_most_one(route, &["mirror", "mirrors"], findings);
    }
}

fn check_match(item: &Cursor<'_>, findings: &mut Findings) {
    for (name, header) in item.entries("headers") {
        headers::check_matched(name, &header, findings);
        check_string(&header, findings);
    }
    for (name, header) in item.entries("withoutHeaders") {
        headers::check_matched(name, &header, findings);
        // Stands for a header of any value here.
        if header.text("regex") != "*" {
            check_string(&header, findings);
        }
    }
    if let Some(uri) = item.field("uri") {
        check_one_form(&uri, findings);
        check_regex(&uri, "regex", findings);
    }
    for name in ["scheme", "method", "authority"] {
        if let Some(pattern) = item.field(name) {
            check_string(&pattern, findings);
        }
    }
    for (_, parameter) in item.entries("queryParams") {
        check_string(&parameter, findings);
    }
    routes::match_port(item, findings);
    rules::labels(item, "sourceLabels", findings);
    gateways::check(item, findings);
    let namespace = item.text("sourceNamespace");
    if !namespace.is_empty() && !is_dns_label(namespace) {
        let message = format!("`{namespace}` is not a namespace");
        let hint = "use letters, digits and hyphens, at most 63";
        let spot = item.spot_of("sourceNamespace");
        findings.error(codes::HTTP_MATCH, spot, message, hint);
    }
}

fn check_string(pattern: &Cursor<'_>, findings: &mut Findings) {
    check_one_form(pattern, findings);
    if pattern.has("prefix") && pattern.text("prefix").is_empty() {
        findings.error(
            codes::HTTP_MATCH,
            pattern.spot_of("prefix"),
            "the prefix is empty",
            "write what the value begins with",
        );
    }
    check_regex(pattern, "regex", findings);
}

fn check_one_form(pattern: &Cursor<'_>, findings: &mut Findings) {
    rules::at_most_one(pattern, &["exact", "prefix", "regex"], findings);
}

fn check_regex(parent: &Cursor<'_>, name: &str, findings: &mut Findings) {
    let regex = parent.text(name);
    let message = match () {
        () if !parent.has(name) => return,
        () if regex.is_empty() => "the regular expression is empty".to_owned(),
        () if regex.len() > LONGEST_REGEX => {
            format!("the regular expression is longer than {LONGEST_REGEX} characters")
        }
        () => return,
    };
    let hint = "write a regular expression of RE2's syntax";
    findings.error(codes::HTTP_MATCH, parent.spot_of(name), message, hint);
}

fn check_destinations(route: &Cursor<'_>, findings: &mut Findings) {
    for item in route.items("route") {
        if let Some(destination) = routes::require_destination(&item, findings) {
            routes::check_destination(&destination, findings);
        }
        headers::check_operations(&item, findings);
    }
    routes::check_weights(route, findings);
    headers::check_operations(route, findings);
    headers::check_authority(route, findings);
}
