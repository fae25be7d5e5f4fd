//! What the resolution of a `ServiceEntry` demands of its other fields.

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::{is_wildcard, validate_fqdn};
use super::super::object::Meta;
use super::super::tree::Cursor;
use super::{Location, Protocol, Resolution, ServiceEntry};

const AUTO_ALLOCATE_LABEL: &str = "networking.istio.io/enable-autoallocate-ip";
const WAYPOINT_LABEL: &str = "istio.io/use-waypoint";

/// Reports what does not go together.
pub(super) fn check(spec: &Cursor<'_>, entry: &ServiceEntry, meta: &Meta, findings: &mut Findings) {
    if spec.has("workloadSelector") && spec.has("endpoints") {
        let message = "the ServiceEntry has both endpoints and a workloadSelector";
        findings.error(
            codes::AMBIGUOUS,
            spec.spot_of("workloadSelector"),
            message,
            "keep one of them",
        );
    }
    match entry.resolution {
        Resolution::None => check_none(spec, findings),
        Resolution::Static => {}
        Resolution::Dns | Resolution::DnsRoundRobin => check_dns(spec, entry, findings),
        Resolution::DynamicDns => check_dynamic_dns(spec, entry, meta, findings),
    }
    check_prefixes(spec, entry.resolution, findings);
    check_hosts_are_told_apart(spec, entry, findings);
    check_tcp_has_addresses(spec, entry, meta, findings);
}

fn check_none(spec: &Cursor<'_>, findings: &mut Findings) {
    // An empty list is refused as well, by Istio's schema.
    if spec.has("endpoints") {
        let message =
            "resolution NONE passes connections to where they were going, so it has no endpoints";
        let hint = "remove the endpoints, or set resolution: STATIC (addresses) or DNS (names)";
        findings.error(
            codes::SERVICE_ENDPOINTS_RESOLUTION,
            spec.spot_of("endpoints"),
            message,
            hint,
        );
    }
    if spec.has("workloadSelector") {
        let message = "resolution NONE passes connections to where they were going, so the workloadSelector has no effect";
        let hint = "remove it, or set resolution: STATIC";
        findings.warning(
            codes::SERVICE_SELECTOR_RESOLUTION,
            spec.spot_of("workloadSelector"),
            message,
            hint,
        );
    }
}

fn check_dns(spec: &Cursor<'_>, entry: &ServiceEntry, findings: &mut Findings) {
    let endpoints = spec.items("endpoints").len();
    if endpoints == 0 {
        for item in spec.items("hosts") {
            if let Err(error) = validate_fqdn(item.as_text()) {
                let message = format!(
                    "`{}` cannot be resolved ({error}), and resolution {} has no endpoints to resolve instead",
                    item.as_text(),
                    entry.resolution
                );
                let hint =
                    "write endpoints to resolve, a host without wildcard, or resolution: NONE";
                findings.error(codes::SERVICE_HOST_RESOLUTION, item.spot(), message, hint);
            }
        }
    }
    if entry.resolution == Resolution::DnsRoundRobin && endpoints > 1 {
        let message =
            format!("resolution DNS_ROUND_ROBIN takes one endpoint, and here are {endpoints}");
        findings.error(
            codes::SERVICE_ENDPOINTS_RESOLUTION,
            spec.spot_of("endpoints"),
            message,
            "keep one, or set resolution: DNS",
        );
    }
    let is_tcp = |protocol: Protocol| {
        !protocol.is_http() && !matches!(protocol, Protocol::Udp | Protocol::Unset)
    };
    let has_tcp = ports(spec).any(|(_, protocol)| is_tcp(protocol));
    if entry.hosts.len() > 1 && !entry.addresses.is_empty() && has_tcp {
        let message =
            "several hosts share the addresses of a TCP port, so connections go to the first host";
        let hint = "write a ServiceEntry with addresses of its own for each host";
        findings.warning(
            codes::SERVICE_HOSTS_UNDISTINGUISHABLE,
            spec.spot_of("hosts"),
            message,
            hint,
        );
    }
}

fn check_dynamic_dns(
    spec: &Cursor<'_>,
    entry: &ServiceEntry,
    meta: &Meta,
    findings: &mut Findings,
) {
    for item in spec
        .items("hosts")
        .filter(|item| !is_wildcard(item.as_text()))
    {
        let message = format!(
            "`{}` is no wildcard, which resolution DYNAMIC_DNS needs",
            item.as_text()
        );
        findings.error(
            codes::DYNAMIC_DNS,
            item.spot(),
            message,
            "set resolution: DNS for it",
        );
    }
    for name in ["addresses", "endpoints"] {
        if spec.items(name).len() > 0 {
            let message = format!("resolution DYNAMIC_DNS has no {name}");
            findings.error(
                codes::DYNAMIC_DNS,
                spec.spot_of(name),
                message,
                format!("remove the {name}"),
            );
        }
    }
    for (item, protocol) in ports(spec) {
        if !matches!(
            protocol,
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Tls
        ) {
            let message = format!(
                "protocol `{protocol}` does not tell the host, which resolution DYNAMIC_DNS needs"
            );
            findings.error(
                codes::DYNAMIC_DNS,
                item.spot_of("protocol"),
                message,
                "write HTTP, HTTP2, GRPC or TLS",
            );
        }
    }
    let waypoint = meta
        .labels
        .get(WAYPOINT_LABEL)
        .is_some_and(|waypoint| !matches!(waypoint.as_str(), "" | "none"));
    if waypoint && entry.location == Location::MeshInternal {
        let message = "resolution DYNAMIC_DNS with a waypoint is for hosts outside of the mesh";
        findings.error(
            codes::DYNAMIC_DNS,
            spec.spot_of("location"),
            message,
            "write location: MESH_EXTERNAL",
        );
    }
}

fn check_prefixes(spec: &Cursor<'_>, resolution: Resolution, findings: &mut Findings) {
    if matches!(resolution, Resolution::None | Resolution::Static) {
        return;
    }
    // Even a prefix of full length is refused.
    if let Some(item) = spec
        .items("addresses")
        .find(|item| item.as_text().contains('/'))
    {
        let message = format!("a CIDR prefix cannot go with resolution {resolution}");
        let hint = "write single addresses, or set resolution: NONE or STATIC";
        findings.error(codes::SERVICE_CIDR_RESOLUTION, item.spot(), message, hint);
    }
}

fn check_hosts_are_told_apart(spec: &Cursor<'_>, entry: &ServiceEntry, findings: &mut Findings) {
    if entry.resolution == Resolution::None || entry.hosts.len() < 2 {
        return;
    }
    for (item, protocol) in ports(spec) {
        if !protocol.is_http() && !protocol.is_tls() {
            let message = format!(
                "`{}` has a protocol that does not tell its {} hosts apart",
                item.text("name"),
                entry.hosts.len()
            );
            let hint = "write a ServiceEntry for each host, or the protocol HTTP, HTTPS or TLS if it is one";
            findings.error(
                codes::SERVICE_HOSTS_UNDISTINGUISHABLE,
                item.spot(),
                message,
                hint,
            );
            return;
        }
    }
}

/// The ports whose protocol is known.
fn ports<'a>(spec: &'a Cursor<'a>) -> impl Iterator<Item = (Cursor<'a>, Protocol)> {
    spec.items("ports")
        .filter_map(|item| Some((item, Protocol::parse(item.text("protocol"))?)))
}

/// Istio's own analyzer has this as IST0134.
fn check_tcp_has_addresses(
    spec: &Cursor<'_>,
    entry: &ServiceEntry,
    meta: &Meta,
    findings: &mut Findings,
) {
    let refused = meta
        .labels
        .get(AUTO_ALLOCATE_LABEL)
        .is_some_and(|value| value.eq_ignore_ascii_case("false"));
    let automatic = entry.resolution != Resolution::None && !refused;
    if !entry.addresses.is_empty() || automatic {
        return;
    }
    for (item, protocol) in ports(spec) {
        if matches!(protocol, Protocol::Tcp | Protocol::Unset) {
            let message = format!(
                "port `{}` has neither an address nor an automatic one, so its connections are known only by what its hosts resolve to (IST0134)",
                item.text("name")
            );
            let hint = if refused {
                format!("write addresses, or remove the label {AUTO_ALLOCATE_LABEL}")
            } else {
                "write addresses, or set a resolution other than NONE".to_owned()
            };
            findings.warning(codes::SERVICE_ADDRESS_MISSING, item.spot(), message, hint);
        }
    }
}
