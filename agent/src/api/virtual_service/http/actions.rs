//! Whether what an HTTP route does to requests is valid: redirects, faults, retries, mirrors and the like.

use super::super::super::codes;
use super::super::super::findings::Findings;
use super::super::super::rules;
use super::super::super::tree::Cursor;
use super::super::routes;
use super::{check_one_form, check_regex};

const METHODS: [&str; 10] = [
    "*", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

/// Conditions of `retryOn`, beside HTTP status codes.
const RETRY_CONDITIONS: [&str; 16] = [
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "envoy-ratelimited",
    "gateway-error",
    "http3-post-connect-failure",
    "internal",
    "refused-stream",
    "reset",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "retriable-headers",
    "retriable-status-codes",
    "unavailable",
];

const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const KILOBYTE: usize = 1024;
const LARGE_BODY: usize = 100 * KILOBYTE;
const LARGEST_BODY: usize = 1024 * KILOBYTE;

/// Reports what is not valid in one part of a route.
type Check = fn(&Cursor<'_>, &mut Findings);

/// Checks all that `route` does.
pub(super) fn check(route: &Cursor<'_>, findings: &mut Findings) {
    let parts: [(&str, Check); 6] = [
        ("corsPolicy", check_cors),
        ("fault", check_fault),
        ("redirect", check_redirect),
        ("directResponse", check_response),
        ("retries", check_retries),
        ("rewrite", check_rewrite),
    ];
    for (name, check) in parts {
        if let Some(part) = route.field(name) {
            check(&part, findings);
        }
    }
    check_mirrors(route, findings);
}

fn check_mirrors(route: &Cursor<'_>, findings: &mut Findings) {
    if let Some(mirror) = route.field("mirror") {
        routes::check_destination(&mirror, findings);
    }
    for mirror in route.items("mirrors") {
        if let Some(destination) = routes::require_destination(&mirror, findings) {
            routes::check_destination(&destination, findings);
        }
        check_percentage(&mirror, "percentage", findings);
    }
    check_percentage(route, "mirrorPercentage", findings);
    rules::percent(route, "mirrorPercent", findings);
    if route.has("mirrorPercent") {
        let spot = route.spot_of("mirrorPercent");
        let message = "`mirrorPercent` is deprecated";
        findings.warning(codes::DEPRECATED, spot, message, "write mirrorPercentage");
    }
}

fn check_percentage(parent: &Cursor<'_>, name: &str, findings: &mut Findings) {
    if let Some(percentage) = parent.field(name) {
        rules::percent(&percentage, "value", findings);
    }
}

fn check_cors(policy: &Cursor<'_>, findings: &mut Findings) {
    for origin in policy.items("allowOrigins") {
        check_one_form(&origin, findings);
        check_regex(&origin, "regex", findings);
        let forms = ["exact", "prefix", "regex"];
        if forms.iter().all(|form| origin.text(form).is_empty()) && !origin.has("regex") {
            let hint = "write exact, prefix or regex";
            let message = "the origin says nothing";
            findings.error(codes::HTTP_ROUTE, origin.spot(), message, hint);
        }
    }
    for method in policy.items("allowMethods") {
        if !METHODS.contains(&method.as_text()) {
            let message = format!("`{}` is not a method of HTTP", method.as_text());
            let hint = "write a method in upper case, or `*`";
            findings.error(codes::HTTP_ROUTE, method.spot(), message, hint);
        }
    }
    rules::duration(policy, "maxAge", findings);
    if policy
        .int("maxAge")
        .is_some_and(|age| age % 1_000_000_000 > 0)
    {
        let spot = policy.spot_of("maxAge");
        let message = "`maxAge` is not whole seconds";
        findings.error(codes::DURATION, spot, message, "write whole seconds");
    }
}

fn check_fault(fault: &Cursor<'_>, findings: &mut Findings) {
    if !fault.has("abort") && !fault.has("delay") {
        let hint = "write abort, delay or both";
        let message = "the fault is neither an abort nor a delay";
        findings.error(codes::HTTP_ROUTE, fault.spot(), message, hint);
    }
    if let Some(delay) = fault.field("delay") {
        rules::at_most_one(&delay, &["fixedDelay", "exponentialDelay"], findings);
        rules::duration(&delay, "fixedDelay", findings);
        check_percentage(&delay, "percentage", findings);
        if delay.has("exponentialDelay") {
            let spot = delay.spot_of("exponentialDelay");
            let message = "Istio does not know `exponentialDelay` yet";
            findings.error(codes::HTTP_ROUTE, spot, message, "write fixedDelay");
        }
    }
    if let Some(abort) = fault.field("abort") {
        check_abort(&abort, findings);
    }
}

fn check_abort(abort: &Cursor<'_>, findings: &mut Findings) {
    check_percentage(abort, "percentage", findings);
    let errors = ["httpStatus", "grpcStatus", "http2Error"];
    rules::at_most_one(abort, &errors, findings);
    let grpc = abort.text("grpcStatus");
    if abort.has("httpStatus") {
        check_status(abort, "httpStatus", findings);
    } else if abort.has("http2Error") {
        let spot = abort.spot_of("http2Error");
        let message = "Istio does not know `http2Error` yet";
        findings.error(codes::HTTP_ROUTE, spot, message, "write httpStatus");
    } else if abort.has("grpcStatus") && !GRPC_STATUSES.contains(&grpc) {
        let message = format!("`{grpc}` is not a status of gRPC");
        let hint = "write a name such as UNAVAILABLE";
        let spot = abort.spot_of("grpcStatus");
        findings.error(codes::HTTP_ROUTE, spot, message, hint);
    } else if !abort.has("grpcStatus") {
        let message = "the abort says no status, so it does nothing";
        let hint = "write httpStatus or grpcStatus";
        findings.warning(codes::HTTP_ROUTE, abort.spot(), message, hint);
    }
}

fn check_status(parent: &Cursor<'_>, name: &str, findings: &mut Findings) {
    let status = parent.int(name).unwrap_or(0);
    // Istio takes 600 as well.
    if !(200..=600).contains(&status) {
        let message = format!("{status} is not the status of a response");
        let hint = "write a number between 200 and 599";
        findings.error(codes::HTTP_ROUTE, parent.spot_of(name), message, hint);
    }
}

fn check_redirect(redirect: &Cursor<'_>, findings: &mut Findings) {
    rules::at_most_one(redirect, &["port", "derivePort"], findings);
    let names = ["uri", "authority", "scheme"];
    let has_port = redirect.has("port") || redirect.has("derivePort");
    if !has_port && names.iter().all(|name| redirect.text(name).is_empty()) {
        let hint = "write uri, authority, scheme or port";
        let message = "the redirect leads nowhere else";
        findings.error(codes::HTTP_ROUTE, redirect.spot(), message, hint);
    }
    let code = redirect.int("redirectCode").unwrap_or(0);
    if code != 0 && !(300..=399).contains(&code) {
        let message = format!("{code} is not the status of a redirect");
        let spot = redirect.spot_of("redirectCode");
        findings.error(
            codes::HTTP_ROUTE,
            spot,
            message,
            "write 301, 302, 307 or 308",
        );
    }
    let scheme = redirect.text("scheme");
    if !matches!(scheme, "" | "http" | "https") {
        let message = format!("`{scheme}` is not a scheme of a redirect");
        let spot = redirect.spot_of("scheme");
        findings.error(codes::HTTP_ROUTE, spot, message, "write http or https");
    }
    routes::match_port(redirect, findings);
}

fn check_response(response: &Cursor<'_>, findings: &mut Findings) {
    check_status(response, "status", findings);
    let Some(body) = response.field("body") else {
        return;
    };
    rules::at_most_one(&body, &["string", "bytes"], findings);
    let size = body.text("string").len().max(body.text("bytes").len());
    let message = format!("the body has {size} bytes");
    let hint = "answer from a service instead";
    if size > LARGEST_BODY {
        findings.error(codes::TOO_MANY, body.spot(), message, hint);
    } else if size > LARGE_BODY {
        findings.warning(codes::TOO_MANY, body.spot(), message, hint);
    }
}

fn check_retries(retries: &Cursor<'_>, findings: &mut Findings) {
    let attempts = retries.int("attempts").unwrap_or(0);
    let has_more = retries.has("perTryTimeout")
        || !retries.text("retryOn").is_empty()
        || retries.has("retryRemoteLocalities");
    if attempts < 0 {
        let message = "`attempts` is negative";
        let hint = "write 0 or more; 0 turns retries off";
        findings.error(codes::RANGE, retries.spot_of("attempts"), message, hint);
    } else if attempts == 0 && has_more {
        let message = "there are no attempts for which the other fields would count";
        let hint = "write attempts, or remove the other fields";
        findings.error(codes::HTTP_ROUTE, retries.spot(), message, hint);
    }
    rules::duration(retries, "perTryTimeout", findings);
    rules::duration(retries, "backoff", findings);
    let conditions = Some(retries.text("retryOn")).filter(|text| !text.is_empty());
    for condition in conditions.into_iter().flat_map(|text| text.split(',')) {
        let is_status = condition
            .parse()
            .is_ok_and(|status: u16| (100..=599).contains(&status));
        if !is_status && !RETRY_CONDITIONS.contains(&condition) {
            let message = format!("`{condition}` is not a condition for retries");
            let hint = "write conditions such as 5xx or connect-failure, separated by commas only";
            findings.error(codes::HTTP_ROUTE, retries.spot_of("retryOn"), message, hint);
        }
    }
}

fn check_rewrite(rewrite: &Cursor<'_>, findings: &mut Findings) {
    let has_uri = !rewrite.text("uri").is_empty();
    let Some(regex) = rewrite.field("uriRegexRewrite") else {
        if !has_uri && rewrite.text("authority").is_empty() {
            let hint = "write uri, uriRegexRewrite or authority";
            let message = "the rewrite says nothing";
            findings.error(codes::HTTP_ROUTE, rewrite.spot(), message, hint);
        }
        return;
    };
    if has_uri {
        rules::at_most_one(rewrite, &["uri", "uriRegexRewrite"], findings);
    }
    if regex.text("match").is_empty() || regex.text("rewrite").is_empty() {
        let hint = "write match and rewrite";
        let message = "the rewrite by a regular expression is not complete";
        findings.error(codes::HTTP_ROUTE, regex.spot(), message, hint);
    } else {
        check_regex(&regex, "match", findings);
    }
}
