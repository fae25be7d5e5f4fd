//! Istio's validation of `VirtualService`, a row for each rule, and what a valid one is read as.

mod http;
mod reach;

use super::super::decode::{Decoded, decode};
use super::super::object::Spec;
use super::super::specimen;
use super::*;

fn decode_spec(spec: &str) -> Decoded {
    specimen::decode_spec("VirtualService", spec)
}

fn findings(spec: &str) -> Vec<String> {
    specimen::findings(&decode_spec(spec))
}

fn errors(spec: &str) -> Vec<String> {
    specimen::errors(&decode_spec(spec))
}

const ROUTE: &str = "route: [{destination: {host: b.com}}]";

/// A spec of these hosts and a list of routes, each of them the inside of a mapping; `ROUTE` stands for a valid one.
fn spec(hosts: &str, list: &str, routes: &[&str]) -> String {
    let routes: Vec<_> = routes
        .iter()
        .map(|route| format!("{{{}}}", route.replace("ROUTE", ROUTE)))
        .collect();
    format!("  hosts: [{hosts}]\n  {list}: [{}]\n", routes.join(", "))
}

fn read_spec(spec: &str) -> VirtualService {
    let mut decoded = decode_spec(spec);
    match decoded.objects.pop().map(|object| object.spec) {
        Some(Spec::VirtualService(service)) => service,
        other => panic!("{other:?} {:?}", decoded.diagnostics),
    }
}

#[test]
fn a_valid_one_is_read_with_all_that_connections_can_carry_out() {
    let service = read_spec(
        "  hosts: [a.com]
  gateways: [mesh, istio-system/egress]
  exportTo: ['.']
  tcp:
  - match:
    - port: 5432
      destinationSubnets: [10.1.0.0/16, 192.0.2.7]
      sourceLabels: {app: x}
      sourceNamespace: default
      gateways: [mesh]
    route:
    - destination: {host: b.com, subset: v1, port: {number: 15432}}
      weight: 75
    - destination: {host: c}
      weight: 25
  tls:
  - match: [{sni_hosts: [a.com]}]
    route: [{destination: {host: b.com}}]
",
    );
    let destination = |host: &str, weight, line| RouteDestination {
        host: host.to_owned(),
        weight,
        line,
        ..RouteDestination::default()
    };
    let tcp = Route {
        matches: vec![Match {
            port: Some(5432),
            destination_subnets: ["10.1.0.0/16", "192.0.2.7/32"]
                .map(|subnet| subnet.parse().unwrap())
                .to_vec(),
            source_labels: BTreeMap::from([("app".to_owned(), "x".to_owned())]),
            source_namespace: Some("default".to_owned()),
            gateways: vec!["mesh".to_owned()],
            sni_hosts: Vec::new(),
            line: 10,
        }],
        destinations: vec![
            RouteDestination {
                subset: Some("v1".to_owned()),
                port: Some(15432),
                ..destination("b.com", 75, 16)
            },
            destination("c", 25, 18),
        ],
        line: 9,
    };
    let tls = Route {
        matches: vec![Match {
            sni_hosts: vec!["a.com".to_owned()],
            line: 21,
            ..Match::default()
        }],
        destinations: vec![destination("b.com", 0, 22)],
        line: 21,
    };
    let expected = VirtualService {
        hosts: vec!["a.com".to_owned()],
        gateways: vec!["mesh".to_owned(), "istio-system/egress".to_owned()],
        export_to: vec![".".to_owned()],
        tcp: vec![tcp],
        tls: vec![tls],
    };
    assert_eq!(service, expected);
}

#[test]
fn the_mesh_is_meant_by_its_name_or_by_no_gateways() {
    let bound = |gateways: &str| {
        let spec = spec("a.com", "tcp", &["ROUTE"]);
        read_spec(&format!("  gateways: [{gateways}]\n{spec}")).is_for_mesh()
    };
    assert!(bound(""));
    assert!(bound("ns1/g, mesh"));
    assert!(!bound("ns1/g"));
}

#[test]
fn hosts_are_checked() {
    let cases: &[(&str, &[&str])] = &[
        ("a.com, '*.b.com', short, 1.2.3.4, '::1'", &[]),
        ("a_b", &["SH1501 spec.hosts[0]"]),
        ("a.com, 'a.*.com'", &["SH1501 spec.hosts[1]"]),
        ("'*'", &["SH1501 spec.hosts[0]"]),
        ("a.com, a.com", &["SH1502 spec.hosts[1]"]),
        (
            "'*.com', b.com, '*.a.com'",
            &["SH1502 spec.hosts[1]", "SH1502 spec.hosts[2]"],
        ),
        ("a.com, A.com", &[]),
        ("", &["SH1503 spec.tcp"]),
    ];
    for (hosts, expected) in cases {
        assert_eq!(
            errors(&spec(hosts, "tcp", &["ROUTE"])),
            *expected,
            "{hosts}"
        );
    }
}

#[test]
fn gateways_may_have_hosts_that_the_mesh_may_not() {
    let for_gateways = |hosts: &str, sni: &str| {
        let route = format!("match: [{{sniHosts: [{sni}]}}], ROUTE");
        let spec = spec(hosts, "tls", &[&route]);
        errors(&format!("  gateways: [ns1/g]\n{spec}"))
    };
    let generated = "outbound_.80_._.a.com";
    assert!(for_gateways("'*'", "a.com").is_empty());
    assert!(for_gateways(generated, generated).is_empty());
    assert_eq!(
        for_gateways("outbound_.x_._.a.com", "a.com"),
        [
            "SH1501 spec.hosts[0]",
            "SH1507 spec.tls[0].match[0].sniHosts[0]"
        ]
    );
    let route = format!("match: [{{sniHosts: [{generated}]}}], ROUTE");
    assert_eq!(
        errors(&format!(
            "  gateways: [mesh]\n{}",
            spec("'*.a.com'", "tls", &[&route])
        )),
        ["SH1507 spec.tls[0].match[0].sniHosts[0]"]
    );
}

#[test]
fn gateway_names_are_checked_as_far_as_istio_does() {
    let cases: &[(&str, &[&str])] = &[
        ("ns1/g, mesh", &[]),
        ("ns1/g_1", &["Error SH1504 spec.gateways[0]"]),
        ("/g, mesh", &["Error SH1504 spec.gateways[0]"]),
        ("g_1, mesh", &["Error SH1504 spec.gateways[0]"]),
        (
            "g.ns1.svc.cluster.local, mesh",
            &["Warning SH1504 spec.gateways[0]"],
        ),
        ("mesh, g_1", &[]),
    ];
    for (gateways, expected) in cases {
        let spec = spec("a.com", "tcp", &["ROUTE"]);
        let mut found = findings(&format!("  gateways: [{gateways}]\n{spec}"));
        found.retain(|finding| !finding.starts_with("Info"));
        assert_eq!(found, *expected, "{gateways}");
    }
}

#[test]
fn gateways_that_istio_made_itself_may_have_any_name() {
    let text = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x, annotations: {internal.istio.io/route-semantics: gateway}}
spec: {hosts: ['*'], gateways: [ns1/a~b], tcp: [{route: [{destination: {host: b.com}}]}]}
";
    assert_eq!(decode("test.yaml", text).objects.len(), 1);
}

#[test]
fn tcp_routes_are_checked() {
    let cases: &[(&str, &[&str])] = &[
        ("ROUTE", &[]),
        ("match: [{port: 0}], ROUTE", &[]),
        ("match: [{port: 65536}], ROUTE", &["SH1105 match[0].port"]),
        (
            "match: [{destinationSubnets: [10.0.0.0/33]}], ROUTE",
            &["SH1508 match[0].destinationSubnets[0]"],
        ),
        (
            "match: [{destinationSubnets: [a.com, '2001:db8::/32']}], ROUTE",
            &["SH1508 match[0].destinationSubnets[0]"],
        ),
        (
            "match: [{sourceLabels: {'a b': c}}], ROUTE",
            &["SH1205 match[0].sourceLabels.a b"],
        ),
        (
            "match: [{gateways: [a/b_c]}], ROUTE",
            &["SH1504 match[0].gateways[0]"],
        ),
        ("match: [null], ROUTE", &["SH1011 match[0]"]),
        ("match: [{port: 1}]", &["SH1015 route"]),
        ("route: [{}]", &["SH1015 route[0].destination"]),
        (
            "route: [{destination: {}}]",
            &["SH1015 route[0].destination.host"],
        ),
        (
            "route: [{destination: {host: '*'}}]",
            &["SH1505 route[0].destination.host"],
        ),
        (
            "route: [{destination: {host: 'a.*'}}]",
            &["SH1505 route[0].destination.host"],
        ),
        ("route: [{destination: {host: '*-a.com'}}]", &[]),
        (
            "route: [{destination: {host: a, subset: a_b}}]",
            &["SH1505 route[0].destination.subset"],
        ),
        (
            "route: [{destination: {host: a, port: {}}}]",
            &["SH1105 route[0].destination.port.number"],
        ),
        (
            "route: [{destination: {host: a}, weight: -1}]",
            &["SH1506 route[0].weight"],
        ),
        ("route: [{destination: {host: a}, weight: 0}]", &[]),
        (
            "route: [{destination: {host: a}}, {destination: {host: b}}]",
            &["SH1506 route"],
        ),
        (
            "route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 900}]",
            &[],
        ),
    ];
    for (route, expected) in cases {
        let found: Vec<_> = errors(&spec("a.com", "tcp", &[route]))
            .iter()
            .map(|error| error.replace("spec.tcp[0].", ""))
            .collect();
        assert_eq!(found, *expected, "{route}");
    }
}

#[test]
fn tls_routes_are_checked() {
    let cases: &[(&str, &[&str])] = &[
        ("match: [{sniHosts: [a.com]}], ROUTE", &[]),
        (
            "match: [{sniHosts: [x.b.com, '*.x.b.com', '*.b.com']}], ROUTE",
            &[],
        ),
        ("ROUTE", &["Error SH1015 match"]),
        (
            "match: [{port: 443}], ROUTE",
            &["Error SH1015 match[0].sniHosts"],
        ),
        ("match: [{sniHosts: [a.com]}]", &["Error SH1015 route"]),
        (
            "match: [{sniHosts: ['a.*.com']}], ROUTE",
            &["Error SH1507 match[0].sniHosts[0]"],
        ),
        (
            "match: [{sniHosts: ['*.com']}], ROUTE",
            &["Error SH1507 match[0].sniHosts[0]"],
        ),
        (
            "match: [{sniHosts: [c.com]}], ROUTE",
            &["Error SH1507 match[0].sniHosts[0]"],
        ),
        (
            "match: [{sniHosts: [1.1.1.1]}], ROUTE",
            &["Warning SH1507 match[0].sniHosts[0]"],
        ),
        (
            "match: [{sniHosts: [a.com], port: 70000}], ROUTE",
            &["Error SH1105 match[0].port"],
        ),
    ];
    for (route, expected) in cases {
        let found: Vec<_> = findings(&spec("a.com, '*.b.com'", "tls", &[route]))
            .iter()
            .filter(|finding| !finding.starts_with("Info"))
            .map(|finding| finding.replace("spec.tls[0].", ""))
            .collect();
        assert_eq!(found, *expected, "{route}");
    }
}

#[test]
fn one_without_routes_is_an_error() {
    assert_eq!(errors("  hosts: [a.com]\n"), ["SH1015 spec"]);
    assert_eq!(errors("  hosts: [a.com]\n  tcp: []\n"), ["SH1015 spec"]);
}

#[test]
fn exports_are_checked() {
    let exported = |to: &str| {
        errors(&format!(
            "  exportTo: [{to}]\n{}",
            spec("a", "tcp", &["ROUTE"])
        ))
    };
    assert!(exported("ns2, '.'").is_empty());
    assert_eq!(exported("'~'"), ["SH1118 spec.exportTo[0]"]);
}
