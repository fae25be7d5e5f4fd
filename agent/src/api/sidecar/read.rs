//! Reads and validates a `Sidecar` as Istio does (`ValidateSidecar`).

use std::net::IpAddr;

use super::super::codes;
use super::super::destination_rule::read_connection_pool;
use super::super::findings::Findings;
use super::super::host::validate_fqdn;
use super::super::object::Meta;
use super::super::outbound_policy::{self, ALLOW_ANY_DYNAMIC_DNS};
use super::super::rules;
use super::super::service_entry::Protocol;
use super::super::tree::Cursor;
use super::{Sidecar, egress, ingress};

/// What the address of a Unix socket starts with.
pub(super) const UNIX: &str = "unix://";

pub(in crate::api) fn read(spec: &Cursor<'_>, meta: &Meta, findings: &mut Findings) -> Sidecar {
    let has_lists = spec.items("egress").len() + spec.items("ingress").len() > 0;
    if !has_lists && !spec.has("outboundTrafficPolicy") && !spec.has("inboundConnectionPool") {
        findings.error(
            codes::SIDECAR_EMPTY,
            spec.spot(),
            "the Sidecar says nothing",
            "write egress, or outboundTrafficPolicy",
        );
    }
    let selector = rules::selector(spec, "workloadSelector", "labels", findings);
    ingress::check(spec, findings);
    if let Some(pool) = spec.field("inboundConnectionPool") {
        read_connection_pool(&pool, findings);
    }
    let egress = egress::read(spec, meta, findings);
    check_outbound(spec, findings);
    Sidecar {
        selector: selector.unwrap_or_default(),
        egress,
        outbound: outbound_policy::read(spec),
    }
}

fn check_outbound(spec: &Cursor<'_>, findings: &mut Findings) {
    let Some(policy) = spec.field("outboundTrafficPolicy") else {
        return;
    };
    let mode = policy.text("mode");
    if mode == ALLOW_ANY_DYNAMIC_DNS {
        findings.error(
            codes::SIDECAR_OUTBOUND,
            policy.spot_of("mode"),
            format!("`{ALLOW_ANY_DYNAMIC_DNS}` is for the mesh only"),
            "write ALLOW_ANY or REGISTRY_ONLY",
        );
    }
    let Some(proxy) = policy.field("egressProxy") else {
        return;
    };
    if mode != "ALLOW_ANY" {
        findings.error(
            codes::SIDECAR_OUTBOUND,
            proxy.spot(),
            "an egressProxy needs the mode ALLOW_ANY",
            "write mode: ALLOW_ANY beside it, or remove it",
        );
    }
    let host = proxy.text("host");
    let has_port = proxy.field("port").is_some_and(|port| port.has("number"));
    if validate_fqdn(host).is_err() || !has_port {
        findings.error(
            codes::SIDECAR_OUTBOUND,
            proxy.spot(),
            "the egressProxy lacks a host name or a port",
            "write host and port.number",
        );
    }
}

/// What both kinds of listeners ask of a port: a name, if it has one, and a protocol.
pub(super) fn check_port(port: &Cursor<'_>, findings: &mut Findings) -> Option<Protocol> {
    if !port.text("name").is_empty() {
        rules::port_name(port, findings);
    }
    rules::protocol(port, findings)
}

/// Reports an address to listen at that is none.
pub(super) fn check_bind(listener: &Cursor<'_>, findings: &mut Findings) {
    let bind = listener.text("bind");
    if !bind.is_empty() && bind.parse::<IpAddr>().is_err() {
        findings.error(
            codes::SIDECAR_LISTENER,
            listener.spot_of("bind"),
            format!("`{bind}` is not an IP address"),
            "write the IP address to listen at, or leave it out",
        );
    }
}

/// Whether what follows `unix://` is a path or an abstract name.
pub(super) fn is_unix(path: &str) -> bool {
    match path.strip_prefix('@') {
        Some(name) => !name.is_empty(),
        None => path.starts_with('/') && !path.ends_with('/'),
    }
}
