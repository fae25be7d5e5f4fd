//! Istio's validation of HTTP routes, though none is carried out.

use super::{errors, findings, spec};

/// Errors within an HTTP route, with paths from there.
fn check(cases: &[(&str, &[&str])]) {
    for (route, expected) in cases {
        let found: Vec<_> = errors(&spec("a.com", "http", &[route]))
            .iter()
            .map(|error| error.replace("spec.http[0]", "").replace(" .", " "))
            .collect();
        assert_eq!(found, *expected, "{route}");
    }
}

#[test]
fn http_routes_are_reported_once_however_many_there_are() {
    let found = findings(&spec(
        "a.com",
        "http",
        &["match: [{uri: {exact: /a}}], timeout: 5s, ROUTE", "ROUTE"],
    ));
    assert_eq!(found, ["Warning SH1012 spec.http"]);
}

#[test]
fn the_parts_of_a_route_go_together() {
    check(&[
        ("ROUTE", &[]),
        ("name: x", &["SH1015 "]),
        ("redirect: {uri: /a}", &[]),
        ("directResponse: {status: 503}", &[]),
        ("redirect: {uri: /a}, ROUTE", &["SH1014 route"]),
        (
            "redirect: {uri: /a}, rewrite: {uri: /b}",
            &["SH1014 rewrite"],
        ),
        (
            "redirect: {uri: /a}, directResponse: {status: 503}",
            &["SH1014 directResponse"],
        ),
        ("delegate: {name: y}", &[]),
        ("delegate: {name: y}, ROUTE", &["SH1503 delegate"]),
        (
            "mirror: {host: b}, mirrors: [{destination: {host: c}}], ROUTE",
            &["SH1014 mirrors"],
        ),
        ("timeout: 1ns, ROUTE", &["SH1303 timeout"]),
        (
            "route: [{destination: {host: '*'}}]",
            &["SH1505 route[0].destination.host"],
        ),
        (
            "route: [{destination: {host: a}}, {destination: {host: b}}]",
            &["SH1506 route"],
        ),
    ]);
}

#[test]
fn delegates_have_http_routes_only() {
    assert!(errors(&spec("", "http", &["ROUTE"])).is_empty());
    assert_eq!(
        errors(&format!(
            "  gateways: [mesh]\n{}",
            spec("", "http", &["ROUTE"])
        )),
        ["SH1503 spec.gateways"]
    );
    assert_eq!(
        errors(&spec("", "http", &["delegate: {name: y}, ROUTE"])),
        ["SH1503 spec.http[0].delegate"]
    );
}

#[test]
fn matches_are_checked() {
    let long = format!("match: [{{uri: {{regex: {}}}}}], ROUTE", "a".repeat(1025));
    check(&[
        (
            "match: [{uri: {prefix: ''}, method: {exact: GET}}], ROUTE",
            &[],
        ),
        (
            "match: [{method: {prefix: ''}}], ROUTE",
            &["SH1511 match[0].method.prefix"],
        ),
        (
            "match: [{uri: {exact: /a, prefix: /b}}], ROUTE",
            &["SH1014 match[0].uri.prefix"],
        ),
        (
            "match: [{uri: {regex: ''}}], ROUTE",
            &["SH1511 match[0].uri.regex"],
        ),
        (&long, &["SH1511 match[0].uri.regex"]),
        (
            "match: [{headers: {'a b': {exact: c}}}], ROUTE",
            &["SH1510 match[0].headers.a b"],
        ),
        (
            "match: [{headers: {a: null}}], ROUTE",
            &["SH1011 match[0].headers.a"],
        ),
        (
            "match: [{headers: {'@request.auth.claims.sub': {exact: c}}}], ROUTE",
            &["SH1511 match[0].headers[\"@request.auth.claims.sub\"]"],
        ),
        ("match: [{withoutHeaders: {a: {regex: '*'}}}], ROUTE", &[]),
        ("match: [{port: 70000}], ROUTE", &["SH1105 match[0].port"]),
        (
            "match: [{sourceNamespace: a_b}], ROUTE",
            &["SH1511 match[0].sourceNamespace"],
        ),
    ]);
}

#[test]
fn headers_that_are_changed_are_checked() {
    check(&[
        (
            "headers: {request: {set: {a: b, ':authority': c}, remove: [d]}}, ROUTE",
            &[],
        ),
        (
            "headers: {request: {add: {':path': b}}}, ROUTE",
            &["SH1510 headers.request.add.:path"],
        ),
        (
            "headers: {request: {remove: [host]}}, ROUTE",
            &["SH1510 headers.request.remove[0]"],
        ),
        (
            "headers: {response: {set: {host: b}}}, ROUTE",
            &["SH1510 headers.response.set.host"],
        ),
        (
            "headers: {response: {set: {'': b}}}, ROUTE",
            &["SH1510 headers.response.set[\"\"]"],
        ),
        (
            "headers: {request: {set: {host: b}}}, rewrite: {authority: c}, ROUTE",
            &["SH1510 headers.request.set.host"],
        ),
    ]);
}

#[test]
fn faults_and_retries_are_checked() {
    check(&[
        (
            "fault: {delay: {fixedDelay: 5s, percentage: {value: 50}}}, ROUTE",
            &[],
        ),
        ("fault: {}, ROUTE", &["SH1510 fault"]),
        (
            "fault: {delay: {exponentialDelay: 5s}}, ROUTE",
            &["SH1510 fault.delay.exponentialDelay"],
        ),
        (
            "fault: {delay: {percentage: {value: 101}}}, ROUTE",
            &["SH1304 fault.delay.percentage.value"],
        ),
        (
            "fault: {abort: {httpStatus: 700}}, ROUTE",
            &["SH1510 fault.abort.httpStatus"],
        ),
        (
            "fault: {abort: {grpcStatus: OOPS}}, ROUTE",
            &["SH1510 fault.abort.grpcStatus"],
        ),
        (
            "fault: {abort: {http2Error: x}}, ROUTE",
            &["SH1510 fault.abort.http2Error"],
        ),
        ("fault: {abort: {}}, ROUTE", &[]),
        (
            "retries: {attempts: 3, retryOn: '5xx,503,reset'}, ROUTE",
            &[],
        ),
        (
            "retries: {attempts: -1}, ROUTE",
            &["SH1304 retries.attempts"],
        ),
        ("retries: {perTryTimeout: 1s}, ROUTE", &["SH1510 retries"]),
        (
            "retries: {attempts: 1, retryOn: 'a,5xx'}, ROUTE",
            &["SH1510 retries.retryOn"],
        ),
    ]);
}

#[test]
fn other_actions_are_checked() {
    check(&[
        ("redirect: {}", &["SH1510 redirect"]),
        (
            "redirect: {redirectCode: 200, uri: /a}",
            &["SH1510 redirect.redirectCode"],
        ),
        ("redirect: {scheme: ftp}", &["SH1510 redirect.scheme"]),
        ("redirect: {port: 70000}", &["SH1105 redirect.port"]),
        (
            "directResponse: {status: 99}",
            &["SH1510 directResponse.status"],
        ),
        ("rewrite: {}, ROUTE", &["SH1510 rewrite"]),
        (
            "rewrite: {uriRegexRewrite: {match: a}}, ROUTE",
            &["SH1510 rewrite.uriRegexRewrite"],
        ),
        (
            "rewrite: {uri: /a, uriRegexRewrite: {match: a, rewrite: b}}, ROUTE",
            &["SH1014 rewrite.uriRegexRewrite"],
        ),
        ("mirrors: [{}], ROUTE", &["SH1015 mirrors[0].destination"]),
        ("mirrorPercent: 101, ROUTE", &["SH1304 mirrorPercent"]),
        (
            "corsPolicy: {allowOrigins: [{exact: '*'}], allowMethods: [GET], maxAge: 1h}, ROUTE",
            &[],
        ),
        (
            "corsPolicy: {allowOrigins: [{}], allowMethods: [get], maxAge: 1500ms}, ROUTE",
            &[
                "SH1510 corsPolicy.allowOrigins[0]",
                "SH1510 corsPolicy.allowMethods[0]",
                "SH1303 corsPolicy.maxAge",
            ],
        ),
    ]);
}
