//! What is said of valid routes that are never used, or not as they are written.

use super::{findings, spec};

#[test]
fn routes_that_are_never_used_are_warned_of() {
    let found = |routes: &[&str]| findings(&spec("a.com", "tcp", routes));
    assert_eq!(found(&["ROUTE", "ROUTE"]), ["Warning SH1509 spec.tcp[1]"]);
    assert_eq!(
        found(&[
            "match: [{port: 1}, {port: 2}], ROUTE",
            "match: [{port: 2, gateways: []}, {port: 3}], ROUTE"
        ]),
        ["Warning SH1509 spec.tcp[1].match[0]"]
    );
    assert_eq!(
        found(&["match: [{port: 1}], ROUTE", "match: [{port: 1}], ROUTE"]),
        [
            "Warning SH1509 spec.tcp[1].match[0]",
            "Warning SH1509 spec.tcp[1]"
        ]
    );
    assert!(
        found(&[
            "match: [{port: 1}], ROUTE",
            "match: [{port: 2}], ROUTE",
            "ROUTE"
        ])
        .is_empty()
    );
}

#[test]
fn what_connections_cannot_carry_out_is_reported() {
    let tls = spec("a.com", "tls", &["match: [{sniHosts: [a.com]}], ROUTE"]);
    assert_eq!(findings(&tls), ["Info SH1514 spec.tls"]);
    let cases: &[(&str, &[&str])] = &[
        ("sourceNamespace: default", &[]),
        ("sourceNamespace: ns2", &[]),
        ("sourceLabels: {a: b}", &[]),
        ("sourceSubnet: 10.0.0.0/8", &["Warning SH1012 sourceSubnet"]),
        ("gateways: [ns1/g, mesh]", &[]),
        ("gateways: [ns1/g]", &["Info SH1512 gateways"]),
        ("sniHosts: [a.com]", &["Warning SH1010 sniHosts"]),
    ];
    for (asked, expected) in cases {
        let route = format!("match: [{{{asked}}}], ROUTE");
        let found: Vec<_> = findings(&spec("a.com", "tcp", &[&route]))
            .iter()
            .map(|finding| finding.replace("spec.tcp[0].match[0].", ""))
            .collect();
        assert_eq!(found, *expected, "{asked}");
    }
}

#[test]
fn one_for_gateways_only_says_no_more_than_that() {
    let spec = spec(
        "a.com",
        "tls",
        &["match: [{sniHosts: [a.com], sourceLabels: {a: b}}], ROUTE"],
    );
    let found = findings(&format!("  gateways: [ns1/g]\n{spec}"));
    assert_eq!(found, ["Info SH1512 spec.gateways"]);
}
