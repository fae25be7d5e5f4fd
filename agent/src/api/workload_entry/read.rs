//! Reads and validates a `WorkloadEntry`, alone or as an endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::{is_dns_label, validate_fqdn};
use super::super::locality::Locality;
use super::super::object::Meta;
use super::super::rules;
use super::super::schema::{Message, Type, field};
use super::super::tree::{Cursor, Node, Path};
use super::{EndpointAddress, WorkloadEntry};

pub(in crate::api) static SCHEMA: Message = Message {
    fields: &[
        field("address", Type::Text),
        field("ports", Type::Map(&Type::Uint32)),
        field("labels", Type::Map(&Type::Text)),
        field("network", Type::Text),
        field("locality", Type::Text),
        field("weight", Type::Uint32),
        field("serviceAccount", Type::Text),
    ],
};

/// The longest address that Istio's schema accepts.
const LONGEST_ADDRESS: usize = 256;
/// Istio's schema accepts one character less in a port's name than a DNS label may have.
const LONGEST_PORT_NAME: usize = 62;
/// The label that stands for the network where the field is empty.
const NETWORK_LABEL: &str = "topology.istio.io/network";
/// Istio's annotation of workloads whose status tells their health.
const HEALTH_CHECKS: &str = "proxy.istio.io/health-checks-enabled";
/// Labels that stand for the locality where the field is empty, the first that is there.
const LOCALITY_LABELS: [&str; 2] = ["topology.istio.io/locality", "istio-locality"];

/// Which addresses the place of an endpoint allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Addresses {
    /// Of a `WorkloadEntry` of its own, which may be selected by any `ServiceEntry`.
    Any,
    /// Resolution STATIC.
    Static,
    /// Resolutions that resolve names.
    Dns,
}

/// Reads the spec of an object. `None` after an error.
pub(in crate::api) fn read_object(
    spec: &Cursor<'_>,
    meta: &Meta,
    status: Option<&Node>,
    findings: &mut Findings,
) -> Option<WorkloadEntry> {
    if !spec.text("serviceAccount").is_empty() {
        report_service_account(spec, findings);
    }
    let mut entry = read(spec, Addresses::Any, None, findings)?;
    entry.failing = is_failing(meta, status);
    entry.labels.extend(meta.labels.clone());
    entry.locality = locality(spec.text("locality"), &entry.labels);
    entry.network = network(spec.text("network"), &entry.labels);
    Some(entry)
}

/// Where health checks are on, a workload is healthy only once its status says so (Istio's `isHealthy`). Istio writes the
/// status, so what is not understood there is nobody's mistake.
fn is_failing(meta: &Meta, status: Option<&Node>) -> bool {
    if meta.annotations.get(HEALTH_CHECKS).map(String::as_str) != Some("true") {
        return false;
    }
    let Some(status) = status else {
        return true;
    };
    let passes = |condition: Cursor<'_>| {
        condition.text("type") == "Healthy"
            && (condition.text("status") == "True" || condition.flag("status") == Some(true))
    };
    let status = Cursor::new(status, Path::Root);
    !status.items("conditions").any(passes)
}

/// Reads an endpoint. `service_ports` are the names of the `ServiceEntry`'s ports, where it is part of one. `None` after
/// an error.
pub(in crate::api) fn read(
    spec: &Cursor<'_>,
    allowed: Addresses,
    service_ports: Option<&BTreeSet<&str>>,
    findings: &mut Findings,
) -> Option<WorkloadEntry> {
    let address = read_address(spec, allowed, findings);
    let ports = read_ports(spec, service_ports, findings);
    if matches!(address, Some(EndpointAddress::Unix(_))) {
        check_unix_ports(spec, service_ports, findings);
    }
    let labels = rules::labels(spec, "labels", findings);
    if spec.text("locality").split('/').count() > 3 {
        let message = "parts of the locality after region/zone/subzone are ignored";
        findings.warning(
            codes::ENDPOINT_LOCALITY,
            spec.spot_of("locality"),
            message,
            "write region/zone/subzone",
        );
    }
    Some(WorkloadEntry {
        address: address?,
        ports,
        network: network(spec.text("network"), &labels),
        locality: locality(spec.text("locality"), &labels),
        labels,
        weight: u32::try_from(spec.int("weight").unwrap_or(0)).map_or(1, |weight| weight.max(1)),
        service_account: spec.text("serviceAccount").to_owned(),
        failing: false,
        line: spec.node.line,
    })
}

/// Says that an account is not proved, which the reader of a list says once.
pub(in crate::api) fn report_service_account(spec: &Cursor<'_>, findings: &mut Findings) {
    let message = "the service account is kept, but not proved: connections are not mutual TLS";
    let hint = "nothing to do, unless the endpoint admits only mutual TLS";
    findings.info(
        codes::TLS_NOT_ORIGINATED,
        spec.spot_of("serviceAccount"),
        message,
        hint,
    );
}

fn read_address(
    spec: &Cursor<'_>,
    allowed: Addresses,
    findings: &mut Findings,
) -> Option<EndpointAddress> {
    let address = spec.text("address");
    let spot = || spec.spot_of("address");
    if address.len() > LONGEST_ADDRESS {
        let message = format!("the address is longer than {LONGEST_ADDRESS} characters");
        findings.error(codes::TOO_MANY, spot(), message, "shorten it");
        return None;
    }
    if address.is_empty() {
        return read_no_address(spec, allowed, findings);
    }
    if allowed != Addresses::Dns
        && let Some(path) = address.strip_prefix("unix://")
    {
        return read_unix_address(path, spec, findings);
    }
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Some(EndpointAddress::Ip(ip));
    }
    if allowed == Addresses::Static {
        let message = format!("`{address}` is not an IP address, which resolution STATIC needs");
        findings.error(
            codes::ENDPOINT_ADDRESS,
            spot(),
            message,
            "write an IP address, or set resolution: DNS",
        );
        return None;
    }
    match validate_fqdn(address) {
        Ok(()) => Some(EndpointAddress::Fqdn(address.to_owned())),
        Err(error) => {
            let message =
                format!("`{address}` is neither an IP address nor a domain name: {error}");
            let hint = "write an IP address or a domain name, without scheme, port or wildcard";
            findings.error(codes::ENDPOINT_ADDRESS, spot(), message, hint);
            None
        }
    }
}

fn read_no_address(
    spec: &Cursor<'_>,
    allowed: Addresses,
    findings: &mut Findings,
) -> Option<EndpointAddress> {
    let spot = spec.spot_of("address");
    match (spec.text("network"), allowed) {
        ("", _) => {
            findings.error(
                codes::REQUIRED,
                spot,
                "the endpoint has no address",
                "write its address",
            );
            None
        }
        (_, Addresses::Dns) => {
            let message = "the endpoint has no address, which the resolution needs";
            findings.error(
                codes::ENDPOINT_ADDRESS,
                spot,
                message,
                "write an IP address or a domain name",
            );
            None
        }
        (network, _) => {
            let message =
                format!("the endpoint has no address of its own, only the network `{network}`");
            let hint =
                "write its address; a network's gateway needs mutual TLS, so it cannot be used";
            findings.warning(codes::ENDPOINT_NO_ADDRESS, spot, message, hint);
            Some(EndpointAddress::Network)
        }
    }
}

fn read_unix_address(
    path: &str,
    spec: &Cursor<'_>,
    findings: &mut Findings,
) -> Option<EndpointAddress> {
    let is_file = path.starts_with('/') && !path.ends_with('/');
    if !is_file && !path.starts_with('@') {
        let message = format!("`{path}` is not an absolute path of a file");
        let hint = "write unix:///path/to/socket, or unix://@name for an abstract one";
        findings.error(codes::ENDPOINT_UNIX, spec.spot_of("address"), message, hint);
        return None;
    }
    let message =
        "a connect cannot be redirected to a Unix socket, so connects to this endpoint fail";
    findings.warning(
        codes::FIELD_NOT_CARRIED_OUT,
        spec.spot_of("address"),
        message,
        "let it listen on an IP address",
    );
    Some(EndpointAddress::Unix(path.to_owned()))
}

fn check_unix_ports(
    spec: &Cursor<'_>,
    service_ports: Option<&BTreeSet<&str>>,
    findings: &mut Findings,
) {
    if spec.entries("ports").len() != 0 {
        let message = "a Unix socket has no ports";
        findings.error(
            codes::ENDPOINT_UNIX,
            spec.spot_of("ports"),
            message,
            "remove the endpoint's ports",
        );
    }
    if service_ports.is_some_and(|ports| ports.len() != 1) {
        let message =
            "a Unix socket can stand for one port only, and the ServiceEntry has not exactly one";
        findings.error(
            codes::ENDPOINT_UNIX,
            spec.spot_of("address"),
            message,
            "leave one port in the ServiceEntry",
        );
    }
}

fn read_ports(
    spec: &Cursor<'_>,
    service_ports: Option<&BTreeSet<&str>>,
    findings: &mut Findings,
) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    for (name, number) in spec.entries("ports") {
        if !is_dns_label(name) || name.len() > LONGEST_PORT_NAME {
            let message = format!("`{name}` is not the name of a port");
            let hint = "use letters, digits and hyphens, at most 62";
            findings.error(codes::PORT_NAME, number.spot(), message, hint);
        }
        if let Some(known) = service_ports
            && !known.contains(name)
        {
            let message = format!("the ServiceEntry has no port `{name}`");
            let names = known.iter().copied().collect::<Vec<_>>().join(", ");
            let hint = super::super::likely::suggest(
                name,
                known.iter().copied(),
                &format!("its ports are: {names}"),
            );
            findings.error(codes::ENDPOINT_PORT, number.spot(), message, hint);
        }
        if let Some(port) = rules::port(number.as_int(), number.spot(), findings) {
            ports.insert(name.to_owned(), port);
        }
    }
    ports
}

fn network(field: &str, labels: &BTreeMap<String, String>) -> String {
    let label = || labels.get(NETWORK_LABEL).map_or("", String::as_str);
    if field.is_empty() { label() } else { field }.to_owned()
}

/// From the field, or else from the labels; there dots may stand for the slashes that a label cannot have.
fn locality(field: &str, labels: &BTreeMap<String, String>) -> Locality {
    if !field.is_empty() {
        return Locality::parse(field);
    }
    match LOCALITY_LABELS.iter().find_map(|name| labels.get(*name)) {
        Some(label) if label.contains('/') => Locality::parse(label),
        Some(label) => Locality::parse(&label.replace('.', "/")),
        None => Locality::default(),
    }
}
