//! Istio's validation of `ServiceEntry` and endpoints, a row for each rule, and what a valid entry is read as.

use std::net::IpAddr;

use super::super::decode::{Decoded, decode};
use super::super::object::Spec;
use super::super::workload_entry::EndpointAddress;
use super::*;

fn decode_spec(labels: &str, spec: &str) -> Decoded {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: x\n  namespace: ns1\n  labels: {labels}\nspec:\n{spec}"
    );
    decode("test.yaml", &text)
}

/// Findings but the Info ones, as `severity code field`.
fn findings(labels: &str, spec: &str) -> Vec<String> {
    decode_spec(labels, spec)
        .diagnostics
        .iter()
        .filter(|d| d.severity != super::super::Severity::Info)
        .map(|d| format!("{:?} {} {}", d.severity, d.code, d.field))
        .collect()
}

fn read(spec: &str) -> ServiceEntry {
    let decoded = decode_spec("{}", spec);
    match decoded.objects.into_iter().next().map(|object| object.spec) {
        Some(Spec::ServiceEntry(entry)) => entry,
        other => panic!("{other:?} {:?}", decoded.diagnostics),
    }
}

const HTTP: &str = "  ports: [{number: 80, name: http, protocol: HTTP}]\n";
const TCP: &str = "  ports: [{number: 80, name: tcp, protocol: TCP}]\n";

#[test]
fn hosts_addresses_and_lists_are_checked_one_by_one() {
    let cases: &[(&str, &[&str])] = &[
        ("  hosts: [a.com]\n", &[]),
        ("  hosts: ['*.a.com']\n", &[]),
        ("  hosts: ['*a.com']\n", &["Warning SH1102 spec.hosts[0]"]),
        ("  hosts: ['*']\n", &["Error SH1101 spec.hosts[0]"]),
        ("  hosts: [a.com, '-']\n", &["Error SH1101 spec.hosts[1]"]),
        ("  hosts: ['']\n", &["Error SH1101 spec.hosts[0]"]),
        ("  hosts: [1.2.3.4]\n", &["Error SH1101 spec.hosts[0]"]),
        ("  hosts: []\n", &["Error SH1015 spec.hosts"]),
        (
            "  hosts: [a.com]\n  addresses: [1.2.3.4, 10.0.0.1/8, '2001:db8::1', '001:db8::/32']\n",
            &[],
        ),
        (
            "  hosts: [a.com]\n  addresses: [1.2.3]\n",
            &["Error SH1103 spec.addresses[0]"],
        ),
        (
            "  hosts: [a.com]\n  addresses: [1.2.3.4/33]\n",
            &["Error SH1103 spec.addresses[0]"],
        ),
        (
            "  hosts: [a.com]\n  addresses: [1.2.3.4/08]\n",
            &["Error SH1103 spec.addresses[0]"],
        ),
        (
            "  hosts: [a.com]\n  addresses: [1.2.3.4/8/8]\n",
            &["Error SH1103 spec.addresses[0]"],
        ),
        ("  hosts: [a.com]\n  exportTo: ['.', ns2]\n", &[]),
        ("  hosts: [a.com]\n  exportTo: ['~']\n", &[]),
        (
            "  hosts: [a.com]\n  exportTo: ['.', ns1]\n",
            &["Error SH1118 spec.exportTo[1]"],
        ),
        (
            "  hosts: [a.com]\n  exportTo: [a, a]\n",
            &["Error SH1118 spec.exportTo[1]"],
        ),
        (
            "  hosts: [a.com]\n  exportTo: ['*', '.']\n",
            &["Error SH1118 spec.exportTo"],
        ),
        (
            "  hosts: [a.com]\n  exportTo: ['~', '.']\n",
            &["Error SH1118 spec.exportTo"],
        ),
        (
            "  hosts: [a.com]\n  exportTo: [a_b]\n",
            &["Error SH1118 spec.exportTo[0]"],
        ),
        (
            "  hosts: [a.com]\n  subjectAltNames: [x]\n",
            &["Warning SH1207 spec.subjectAltNames"],
        ),
        (
            "  hosts: [a.com]\n  workloadSelector: {labels: {'': x}}\n  resolution: STATIC\n",
            &["Error SH1116 spec.workloadSelector.labels[\"\"]"],
        ),
        (
            "  hosts: [a.com]\n  workloadSelector: {labels: {a: 'x*'}}\n  resolution: STATIC\n",
            &["Error SH1116 spec.workloadSelector.labels.a"],
        ),
        (
            "  hosts: [a.com]\n  workloadSelector: {}\n  resolution: STATIC\n",
            &["Warning SH1117 spec.workloadSelector"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(
            findings("{}", &format!("{spec}{HTTP}")),
            *expected,
            "{spec}"
        );
    }
}

#[test]
fn ports_are_checked_one_by_one() {
    let cases: &[(&str, &[&str])] = &[
        ("[]", &["Warning SH1115 spec.ports"]),
        ("[{number: 80, name: a, protocol: grpc-web}]", &[]),
        (
            "[{number: 80, name: a, protocol: HTTP, targetPort: 0}]",
            &[],
        ),
        (
            "[{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, protocol: HTTP, targetPort: 80}]",
            &[],
        ),
        (
            "[{number: 0, name: a, protocol: HTTP}]",
            &["Error SH1105 spec.ports[0].number"],
        ),
        (
            "[{name: a, protocol: HTTP}]",
            &["Error SH1015 spec.ports[0].number"],
        ),
        (
            "[{number: 65536, name: a, protocol: HTTP}]",
            &["Error SH1105 spec.ports[0].number"],
        ),
        (
            "[{number: 80, name: a, protocol: HTTP, targetPort: 65536}]",
            &["Error SH1105 spec.ports[0].targetPort"],
        ),
        (
            "[{number: 80, protocol: HTTP}]",
            &["Error SH1015 spec.ports[0].name"],
        ),
        (
            "[{number: 80, name: a_b, protocol: HTTP}]",
            &["Error SH1106 spec.ports[0].name"],
        ),
        (
            "[{number: 80, name: a, protocol: HTPP}]",
            &["Error SH1107 spec.ports[0].protocol"],
        ),
        (
            "[{number: 80, name: a, protocol: HTTP}, {number: 81, name: a, protocol: HTTP}]",
            &["Error SH1108 spec.ports[1].name"],
        ),
        (
            "[{number: 80, name: a, protocol: HTTP}, {number: 80, name: b, protocol: HTTP}]",
            &["Error SH1108 spec.ports[1].number"],
        ),
    ];
    for (ports, expected) in cases {
        assert_eq!(
            findings("{}", &format!("  hosts: [a.com]\n  ports: {ports}\n")),
            *expected,
            "{ports}"
        );
    }
}

/// Istio's table of what goes together, each cell as `V`alid, with `W`arning, or in`X`.
#[test]
fn fields_go_together_as_istio_s_table_has_it() {
    const COLUMNS: [&str; 8] = [
        "  hosts: [a.com]\n",
        "  hosts: [HOST]\n  endpoints: [{address: 1.2.3.4}]\n",
        "  hosts: [HOST]\n  endpoints: [{address: b.com}]\n",
        "  hosts: [HOST]\n  endpoints: [{address: 'unix:///a/b'}]\n",
        "  hosts: [HOST]\n  workloadSelector: {labels: {a: b}}\n",
        "  hosts: [HOST]\n  addresses: [1.2.3.0/24]\n",
        "  hosts: ['*.a.com']\n",
        "  hosts: [HOST, 'b.com']\n",
    ];
    let rows = [
        ("NONE", "V X X X W V V V"),
        ("STATIC", "V V X V V V V X"),
        ("DNS", "V V V X V X X X"),
        ("DNS_ROUND_ROBIN", "V V V X V X X X"),
        ("DYNAMIC_DNS", "X X X X V X V X"),
    ];
    for (resolution, cells) in rows {
        for (column, expected) in COLUMNS.iter().zip(cells.split(' ')) {
            let dynamic = resolution == "DYNAMIC_DNS";
            let several = column.contains("b.com']");
            let spec = column.replace("HOST", if dynamic { "'*.a.com'" } else { "a.com" });
            let ports = if several { TCP } else { HTTP };
            let found = findings("{}", &format!("{spec}{ports}  resolution: {resolution}\n"));
            let noise =
                |finding: &&String| !finding.contains("SH1012") && !finding.contains("SH1113");
            let verdict = match found
                .iter()
                .filter(noise)
                .map(|finding| &finding[..1])
                .max_by_key(|s| *s == "E")
            {
                None => "V",
                Some("E") => "X",
                Some(_) => "W",
            };
            assert_eq!(verdict, expected, "{resolution}: {spec} {found:?}");
        }
    }
}

#[test]
fn rules_between_fields_name_the_field() {
    let cases: &[(&str, &[&str])] = &[
        (
            "  resolution: NONE\n  endpoints: []\n",
            &["Error SH1109 spec.endpoints"],
        ),
        (
            "  resolution: STATIC\n  endpoints: []\n  workloadSelector: {labels: {a: b}}\n",
            &["Error SH1014 spec.workloadSelector"],
        ),
        (
            "  resolution: DNS\n  addresses: [1.2.3.4/32]\n",
            &["Error SH1104 spec.addresses[0]"],
        ),
        (
            "  resolution: DNS_ROUND_ROBIN\n  endpoints: [{address: 1.1.1.1}, {address: 1.1.1.2}]\n",
            &["Error SH1109 spec.endpoints"],
        ),
        (
            "  resolution: DNS\n  endpoints: [{address: '*.b.com'}]\n",
            &["Error SH1201 spec.endpoints[0].address"],
        ),
        (
            "  resolution: DNS\n  endpoints: [{network: n}]\n",
            &["Error SH1201 spec.endpoints[0].address"],
        ),
        (
            "  resolution: STATIC\n  endpoints: [{network: n}]\n",
            &["Warning SH1202 spec.endpoints[0].address"],
        ),
        (
            "  resolution: STATIC\n  endpoints: [{}]\n",
            &["Error SH1015 spec.endpoints[0].address"],
        ),
        (
            "  resolution: STATIC\n  endpoints: [{address: 1.1.1.1, ports: {htp: 80}}]\n",
            &["Error SH1204 spec.endpoints[0].ports.htp"],
        ),
        (
            "  resolution: DNS\n  endpoints: [{address: 1.1.1.1, ports: {htp: 80}}]\n",
            &["Error SH1204 spec.endpoints[0].ports.htp"],
        ),
        (
            "  resolution: DNS\n  endpoints: [{address: 1.1.1.1, ports: {http: 0}}]\n",
            &["Error SH1105 spec.endpoints[0].ports.http"],
        ),
        (
            "  resolution: STATIC\n  endpoints: [{address: 1.1.1.1, labels: {'a b': c}}]\n",
            &["Error SH1205 spec.endpoints[0].labels.a b"],
        ),
        (
            "  resolution: STATIC\n  endpoints: [{address: 1.1.1.1, labels: {a/b/c: c}}]\n",
            &["Error SH1205 spec.endpoints[0].labels[\"a/b/c\"]"],
        ),
        (
            "  resolution: STATIC\n  endpoints: [{address: 1.1.1.1, locality: a/b/c/d}]\n",
            &["Warning SH1206 spec.endpoints[0].locality"],
        ),
        (
            "  resolution: STATIC\n  endpoints: [{address: 'unix:///a', ports: {http: 1}}]\n",
            &[
                "Warning SH1012 spec.endpoints[0].address",
                "Error SH1203 spec.endpoints[0].ports",
            ],
        ),
        (
            "  resolution: STATIC\n  endpoints: [{address: 'unix://a'}]\n",
            &["Error SH1203 spec.endpoints[0].address"],
        ),
    ];
    for (spec, expected) in cases {
        let found = findings("{}", &format!("  hosts: [a.com]\n{spec}{HTTP}"));
        assert_eq!(found, *expected, "{spec}");
    }
}

#[test]
fn dynamic_dns_needs_wildcards_and_protocols_that_name_the_host() {
    let spec = |ports: &str| {
        format!("  hosts: ['*.a.com']\n  resolution: DYNAMIC_DNS\n  ports: {ports}\n")
    };
    assert_eq!(
        findings("{}", &spec("[{number: 1, name: a, protocol: TLS}]")),
        [""; 0]
    );
    let refused = findings("{}", &spec("[{number: 1, name: a, protocol: HTTPS}]"));
    assert_eq!(refused, ["Error SH1114 spec.ports[0].protocol"]);
    let internal = format!(
        "{}  location: MESH_INTERNAL\n",
        spec("[{number: 1, name: a, protocol: TLS}]")
    );
    assert_eq!(
        findings("{istio.io/use-waypoint: none}", &internal),
        [""; 0]
    );
    assert_eq!(
        findings("{istio.io/use-waypoint: w}", &internal),
        ["Error SH1114 spec.location"]
    );
}

#[test]
fn a_tcp_port_without_any_address_is_pointed_out() {
    let spec = |resolution: &str| format!("  hosts: [a.com]\n  resolution: {resolution}\n{TCP}");
    assert_eq!(findings("{}", &spec("DNS")), Vec::<String>::new());
    assert_eq!(
        findings("{}", &spec("NONE")),
        ["Warning SH1113 spec.ports[0]"]
    );
    let refused = "{networking.istio.io/enable-autoallocate-ip: 'FALSE'}";
    assert_eq!(
        findings(refused, &spec("DNS")),
        ["Warning SH1113 spec.ports[0]"]
    );
}

#[test]
fn hosts_that_share_an_address_are_pointed_out() {
    let spec = "  hosts: [a.com, b.com]\n  addresses: [1.2.3.4]\n  resolution: DNS\n  ports: [{number: 443, name: a, protocol: HTTPS}]\n";
    assert_eq!(findings("{}", spec), ["Warning SH1112 spec.hosts"]);
}

#[test]
fn a_valid_entry_is_read_as_it_is_written() {
    let entry = read(
        "  hosts: [a.com, b.com]
  addresses: [10.0.0.1/8, 1.2.3.4]
  location: MESH_INTERNAL
  resolution: STATIC
  exportTo: ['.']
  ports:
  - number: 443
    name: tls
    protocol: tls
    targetPort: 8443
  endpoints:
  - address: 10.1.1.1
    weight: 0
    labels: {istio-locality: eu.a.1, version: v1}
    ports: {tls: 9443}
  - address: 2001:db8::1
    weight: 7
    network: n
    locality: eu/b
",
    );
    assert_eq!(entry.location, Location::MeshInternal);
    assert_eq!(
        entry
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["10.0.0.1/8", "1.2.3.4/32"]
    );
    assert_eq!(
        (
            entry.ports[0].number,
            entry.ports[0].target_port,
            entry.ports[0].line
        ),
        (443, Some(8443), 14)
    );
    let [first, second] = &entry.endpoints[..] else {
        panic!("{:?}", entry.endpoints)
    };
    assert_eq!(
        first.address,
        EndpointAddress::Ip(IpAddr::from([10, 1, 1, 1]))
    );
    assert_eq!(
        (first.weight, first.line, first.ports["tls"]),
        (1, 19, 9443)
    );
    assert_eq!(first.locality.to_string(), "eu/a/1");
    assert_eq!(
        (second.weight, second.line, second.network.as_str()),
        (7, 23, "n")
    );
    assert_eq!(second.locality.to_string(), "eu/b");
}

#[test]
fn allocated_addresses_come_from_the_status() {
    let spec = format!(
        "  hosts: [a.com]\n{HTTP}status:\n  addresses:\n  - {{value: 240.240.0.1, host: a.com}}\n  - {{value: none}}\n"
    );
    assert_eq!(
        read(&spec).status_addresses,
        [(IpAddr::from([240, 240, 0, 1]), "a.com".to_owned())]
    );
}
