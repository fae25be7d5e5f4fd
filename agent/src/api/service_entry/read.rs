//! Reads and validates a `ServiceEntry`, field by field.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::{is_partial_wildcard, validate_wildcard_domain};
use super::super::object::Meta;
use super::super::rules::{self, Exports};
use super::super::schema::{Message, Type, field};
use super::super::tree::{Cursor, Node, Path};
use super::super::workload_entry::{self, Addresses, WorkloadEntry};
use super::resolution;
use super::{Location, Resolution, ServiceEntry, ServicePort};

pub(in crate::api) static SCHEMA: Message = Message {
    fields: &[
        field("hosts", Type::List(&Type::Text)),
        field("addresses", Type::List(&Type::Text)),
        field("ports", Type::List(&Type::Message(&PORT))),
        field(
            "location",
            Type::Enum(&[("MESH_EXTERNAL", 0), ("MESH_INTERNAL", 1)]),
        ),
        field("resolution", Type::Enum(&RESOLUTIONS)),
        field(
            "endpoints",
            Type::List(&Type::Message(&workload_entry::SCHEMA)),
        ),
        field("workloadSelector", Type::Message(&SELECTOR)),
        field("exportTo", Type::List(&Type::Text)),
        field("subjectAltNames", Type::List(&Type::Text)),
    ],
};

static PORT: Message = Message {
    fields: &[
        field("name", Type::Text),
        field("number", Type::Uint32),
        field("protocol", Type::Text),
        field("targetPort", Type::Uint32),
    ],
};

static SELECTOR: Message = Message {
    fields: &[field("labels", Type::Map(&Type::Text))],
};

const RESOLUTIONS: [(&str, i32); 5] = [
    ("NONE", 0),
    ("STATIC", 1),
    ("DNS", 2),
    ("DNS_ROUND_ROBIN", 3),
    ("DYNAMIC_DNS", 4),
];

/// What Istio's schema limits.
const MOST_IN_LIST: usize = 256;
const MOST_ENDPOINTS: usize = 4096;
const LONGEST_ADDRESS: usize = 64;

/// Reads a spec that conforms to [`SCHEMA`]. `None` after an error that leaves no meaning.
pub(in crate::api) fn read(
    spec: &Cursor<'_>,
    meta: &Meta,
    status: Option<&Node>,
    findings: &mut Findings,
) -> Option<ServiceEntry> {
    let resolution = read_resolution(spec);
    check_counts(spec, findings);
    let hosts = read_hosts(spec, resolution, findings);
    let addresses = read_addresses(spec, findings);
    let ports = read_ports(spec, findings);
    let endpoints = read_endpoints(spec, resolution, findings);
    report_what_needs_tls(spec, findings);
    let entry = ServiceEntry {
        hosts,
        addresses,
        ports,
        location: if spec.text("location") == "MESH_INTERNAL" {
            Location::MeshInternal
        } else {
            Location::MeshExternal
        },
        resolution,
        endpoints: endpoints?,
        workload_selector: rules::selector(spec, "workloadSelector", "labels", findings),
        export_to: rules::export_to(
            spec,
            "exportTo",
            &meta.id.namespace,
            Exports::Service,
            findings,
        ),
        subject_alt_names: spec.texts("subjectAltNames"),
        status_addresses: read_status(status),
    };
    resolution::check(spec, &entry, meta, findings);
    Some(entry)
}

fn read_resolution(spec: &Cursor<'_>) -> Resolution {
    match spec.text("resolution") {
        "STATIC" => Resolution::Static,
        "DNS" => Resolution::Dns,
        "DNS_ROUND_ROBIN" => Resolution::DnsRoundRobin,
        "DYNAMIC_DNS" => Resolution::DynamicDns,
        _ => Resolution::None,
    }
}

fn check_counts(spec: &Cursor<'_>, findings: &mut Findings) {
    let limits = [
        ("hosts", MOST_IN_LIST),
        ("addresses", MOST_IN_LIST),
        ("ports", MOST_IN_LIST),
        ("endpoints", MOST_ENDPOINTS),
    ];
    for (name, most) in limits {
        let count = spec.items(name).len();
        if count > most {
            let message = format!("there are {count} {name}, and Istio accepts {most}");
            findings.error(
                codes::TOO_MANY,
                spec.spot_of(name),
                message,
                "spread them over several ServiceEntries",
            );
        }
    }
}

fn read_hosts(spec: &Cursor<'_>, resolution: Resolution, findings: &mut Findings) -> Vec<String> {
    if spec.items("hosts").len() == 0 {
        findings.error(
            codes::REQUIRED,
            spec.spot_of("hosts"),
            "the ServiceEntry has no host",
            "write at least one host",
        );
    }
    for item in spec.items("hosts") {
        let host = item.as_text();
        if host == "*" {
            let message = "the host `*` would mean every name";
            findings.error(
                codes::SERVICE_HOST,
                item.spot(),
                message,
                "write the domain, such as *.example.com",
            );
        } else if let Err(error) = validate_wildcard_domain(host) {
            let message = format!("`{host}` is not a host name: {error}");
            let hint =
                "write a domain name, perhaps with `*.` before it, without scheme, port or path";
            findings.error(codes::SERVICE_HOST, item.spot(), message, hint);
        } else if is_partial_wildcard(host) && resolution != Resolution::DynamicDns {
            let message = format!(
                "the wildcard of `{host}` is not followed by a dot, so it means more than names below a domain"
            );
            findings.warning(
                codes::SERVICE_HOST_PARTIAL_WILDCARD,
                item.spot(),
                message,
                "write `*.` and a domain",
            );
        }
    }
    spec.texts("hosts")
}

fn read_addresses(spec: &Cursor<'_>, findings: &mut Findings) -> Vec<IpNet> {
    let mut addresses = Vec::new();
    for item in spec.items("addresses") {
        let address = item.as_text();
        if address.len() > LONGEST_ADDRESS {
            let message = format!("the address is longer than {LONGEST_ADDRESS} characters");
            findings.error(
                codes::TOO_MANY,
                item.spot(),
                message,
                "write an IP address or a prefix such as 10.1.0.0/16",
            );
        } else if let Some(address) = rules::address_or_prefix(address) {
            addresses.push(address);
        } else {
            let message = format!("`{address}` is neither an IP address nor a CIDR prefix");
            let hint =
                "write an IP address or a prefix such as 10.1.0.0/16; names belong into hosts";
            findings.error(codes::SERVICE_ADDRESS, item.spot(), message, hint);
        }
    }
    addresses
}

fn read_ports(spec: &Cursor<'_>, findings: &mut Findings) -> Vec<ServicePort> {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut ports = Vec::new();
    if spec.items("ports").len() == 0 {
        let message = "the ServiceEntry has no ports, so it captures nothing";
        findings.warning(
            codes::SERVICE_WITHOUT_PORTS,
            spec.spot_of("ports"),
            message,
            "write the ports that clients connect to",
        );
    }
    for item in spec.items("ports") {
        let port = read_port(&item, findings);
        if !names.insert(item.text("name")) {
            let message = format!("another port is named `{}` as well", item.text("name"));
            findings.error(
                codes::PORT_DUPLICATE,
                item.spot_of("name"),
                message,
                "give each port a name of its own",
            );
        }
        if !numbers.insert(item.int("number").unwrap_or(0)) {
            let message = "another port has the same number";
            findings.error(
                codes::PORT_DUPLICATE,
                item.spot_of("number"),
                message,
                "remove one of them",
            );
        }
        ports.extend(port);
    }
    ports
}

fn read_port(item: &Cursor<'_>, findings: &mut Findings) -> Option<ServicePort> {
    let name = item.text("name");
    if name.is_empty() {
        findings.error(
            codes::REQUIRED,
            item.spot_of("name"),
            "the port has no name",
            "write a name, such as tcp-5432",
        );
    } else {
        rules::port_name(item, findings);
    }
    let target_port = match item.int("targetPort") {
        None | Some(0) => None,
        Some(value) => rules::port(value, item.spot_of("targetPort"), findings),
    };
    let protocol = rules::protocol(item, findings);
    let number = match item.int("number") {
        None => {
            findings.error(
                codes::REQUIRED,
                item.spot_of("number"),
                "the port has no number",
                "write its number",
            );
            None
        }
        Some(value) => rules::port(value, item.spot_of("number"), findings),
    };
    Some(ServicePort {
        name: name.to_owned(),
        number: number?,
        protocol: protocol?,
        target_port,
        line: item.node.line,
    })
}

/// `None` after an error in some endpoint.
fn read_endpoints(
    spec: &Cursor<'_>,
    resolution: Resolution,
    findings: &mut Findings,
) -> Option<Vec<WorkloadEntry>> {
    let allowed = match resolution {
        Resolution::Static => Addresses::Static,
        Resolution::Dns | Resolution::DnsRoundRobin => Addresses::Dns,
        // Neither may have any, which is said once and not for each.
        Resolution::None | Resolution::DynamicDns => return Some(Vec::new()),
    };
    let names: BTreeSet<&str> = spec.items("ports").map(|port| port.text("name")).collect();
    // A full walk before the verdict, so that every endpoint's findings are made.
    let endpoints: Vec<_> = spec
        .items("endpoints")
        .map(|item| workload_entry::read(&item, allowed, Some(&names), findings))
        .collect();
    endpoints.into_iter().collect()
}

/// What matters only to a TLS connection, which is the application's to make.
fn report_what_needs_tls(spec: &Cursor<'_>, findings: &mut Findings) {
    if spec.items("subjectAltNames").len() > 0 {
        let message = "server certificates are not checked against subjectAltNames: TLS is left to the application";
        let hint = "let the application check the certificate of its server";
        findings.warning(
            codes::TLS_NOT_ORIGINATED,
            spec.spot_of("subjectAltNames"),
            message,
            hint,
        );
    }
    if let Some(endpoint) = spec
        .items("endpoints")
        .find(|endpoint| !endpoint.text("serviceAccount").is_empty())
    {
        workload_entry::report_service_account(&endpoint, findings);
    }
}

/// Istio writes the status, so what is not understood there is nobody's mistake.
fn read_status(status: Option<&Node>) -> Vec<(IpAddr, String)> {
    let Some(status) = status else {
        return Vec::new();
    };
    let status = Cursor::new(status, Path::Root);
    status
        .items("addresses")
        .filter_map(|item| {
            Some((
                item.text("value").parse().ok()?,
                item.text("host").to_owned(),
            ))
        })
        .collect()
}
