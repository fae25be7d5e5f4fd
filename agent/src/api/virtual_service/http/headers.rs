//! Which headers may be matched and which may be changed.

use super::super::super::codes;
use super::super::super::findings::Findings;
use super::super::super::tree::Cursor;

/// Begins what is no header but a claim of a token, which only gateways match by.
const CLAIM_PREFIXES: [&str; 2] = ["@request.auth.claims.", "@request.auth.claims["];

fn is_claim(name: &str) -> bool {
    CLAIM_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Checks the name of a header that is matched.
pub(super) fn check_matched(name: &str, at: &Cursor<'_>, findings: &mut Findings) {
    if !is_name(name) && !is_claim(name) {
        report_name(name, at, findings);
    }
}

fn report_name(name: &str, at: &Cursor<'_>, findings: &mut Findings) {
    let message = format!("`{name}` is not the name of a header");
    let hint = "use letters, digits, `-` and `_`";
    findings.error(codes::HTTP_ROUTE, at.spot(), message, hint);
}

/// Reports claims, where the routes are not for gateways alone.
pub(super) fn refuse_claims(item: &Cursor<'_>, findings: &mut Findings) {
    for list in ["headers", "withoutHeaders"] {
        for (name, header) in item.entries(list).filter(|(name, _)| is_claim(name)) {
            let message = format!("`{name}` is matched by gateways only");
            let hint = "remove it, or bind the VirtualService to gateways only";
            findings.error(codes::HTTP_MATCH, header.spot(), message, hint);
        }
    }
}

/// Checks what `headers` of a route or destination changes.
pub(super) fn check_operations(parent: &Cursor<'_>, findings: &mut Findings) {
    let Some(headers) = parent.field("headers") else {
        return;
    };
    for side in ["request", "response"] {
        let Some(operations) = headers.field(side) else {
            continue;
        };
        for list in ["add", "set"] {
            for (name, value) in operations.entries(list) {
                if side != "request" || !is_authority(name) {
                    check_changed(name, &value, findings);
                }
            }
        }
        for item in operations.items("remove") {
            check_changed(item.as_text(), &item, findings);
        }
    }
}

fn check_changed(name: &str, at: &Cursor<'_>, findings: &mut Findings) {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        let message = format!("the header `{name}` cannot be changed here");
        let hint = "remove it; the authority is set by rewrite.authority";
        findings.error(codes::HTTP_ROUTE, at.spot(), message, hint);
    } else if !is_name(name) {
        report_name(name, at, findings);
    }
}

/// Reports an authority that is set in more than one way.
pub(super) fn check_authority(route: &Cursor<'_>, findings: &mut Findings) {
    let rewrite = route.field("rewrite");
    let mut is_set = rewrite.is_some_and(|rewrite| !rewrite.text("authority").is_empty());
    let Some(headers) = route.field("headers") else {
        return;
    };
    let Some(request) = headers.field("request") else {
        return;
    };
    for list in ["set", "add"] {
        for (_, value) in request.entries(list).filter(|(name, _)| is_authority(name)) {
            if is_set {
                let message = "the authority is set more than once";
                let hint = "keep rewrite.authority alone";
                findings.error(codes::HTTP_ROUTE, value.spot(), message, hint);
            }
            is_set |= !value.as_text().is_empty();
        }
    }
}
