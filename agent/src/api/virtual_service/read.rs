//! Reads and validates a `VirtualService`: its hosts, and that its parts fit together.

use std::net::IpAddr;

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::{self, HostError, validate_wildcard_domain};
use super::super::object::Meta;
use super::super::rules::{self, Exports};
use super::super::tree::Cursor;
use super::routes::{self, Layer};
use super::{MESH_GATEWAY, VirtualService, gateways, http, reach, unreachable};

/// Marks what Istio itself made of a Gateway API object, whose names need not be valid.
const SEMANTICS: &str = "internal.istio.io/route-semantics";

/// Reads a spec that conforms to the schema.
pub(in crate::api) fn read(
    spec: &Cursor<'_>,
    meta: &Meta,
    findings: &mut Findings,
) -> VirtualService {
    check_parts(spec, findings);
    if meta.annotations.get(SEMANTICS).map(String::as_str) != Some("gateway") {
        gateways::check(spec, findings);
    }
    check_hosts(spec, findings);
    http::check(spec, findings);
    let service = VirtualService {
        hosts: spec.texts("hosts"),
        gateways: spec.texts("gateways"),
        export_to: rules::export_to(
            spec,
            "exportTo",
            &meta.id.namespace,
            Exports::Rule,
            findings,
        ),
        tcp: routes::read(spec, Layer::Tcp, findings),
        tls: routes::read(spec, Layer::Tls, findings),
    };
    for list in ["http", "tls", "tcp"] {
        unreachable::check(spec, list, findings);
    }
    reach::report(spec, findings);
    service
}

fn check_parts(spec: &Cursor<'_>, findings: &mut Findings) {
    let has = |name| spec.items(name).len() > 0;
    if !["http", "tls", "tcp"].into_iter().any(has) {
        findings.error(
            codes::REQUIRED,
            spec.spot(),
            "the VirtualService has no routes",
            "write routes below tcp, tls or http",
        );
    }
    if has("hosts") {
        return;
    }
    for name in ["gateways", "tls", "tcp"] {
        if has(name) {
            let message =
                format!("a VirtualService without hosts is a delegate, which cannot have `{name}`");
            findings.error(
                codes::DELEGATE,
                spec.spot_of(name),
                message,
                "write the hosts that the routes are for",
            );
        }
    }
}

fn check_hosts(spec: &Cursor<'_>, findings: &mut Findings) {
    let for_mesh = is_for_mesh(spec);
    let has_sni = spec.items("tls").any(|route| {
        route
            .items("match")
            .any(|item| item.items("sniHosts").len() > 0)
    });
    let mut all_valid = true;
    for item in spec.items("hosts") {
        let host = item.as_text();
        let valid = if has_sni && !for_mesh {
            validate_sni(host)
        } else {
            validate_wildcard_domain(host)
        };
        match valid {
            Err(error) if host.parse::<IpAddr>().is_err() => {
                let message = format!("`{host}` is neither a host name nor an IP address: {error}");
                let hint = "write a host of a ServiceEntry, without port";
                findings.error(codes::ROUTE_HOST, item.spot(), message, hint);
                all_valid = false;
            }
            Ok(()) if for_mesh && host == "*" => {
                let message = "the host `*` would mean every name";
                let hint = "write the hosts, or a wildcard such as *.example.com; only gateways may have `*`";
                findings.error(codes::ROUTE_HOST, item.spot(), message, hint);
                all_valid = false;
            }
            _ => {}
        }
    }
    if all_valid {
        check_overlap(spec, findings);
    }
}

fn check_overlap(spec: &Cursor<'_>, findings: &mut Findings) {
    let hosts = spec.texts("hosts");
    for (index, item) in spec.items("hosts").enumerate() {
        let host = item.as_text();
        let earlier = hosts[..index]
            .iter()
            .find(|earlier| host::matches(earlier, host));
        if let Some(earlier) = earlier {
            let message = format!("`{host}` means names that `{earlier}` means as well");
            findings.error(
                codes::ROUTE_HOSTS_OVERLAP,
                item.spot(),
                message,
                "keep one of them",
            );
        }
    }
}

/// Whether what has these gateways is for clients of the mesh, as it is where it has none.
pub(super) fn is_for_mesh(parent: &Cursor<'_>) -> bool {
    parent.items("gateways").len() == 0 || names_mesh(parent)
}

/// Whether the mesh is among the gateways that are written.
pub(super) fn names_mesh(parent: &Cursor<'_>) -> bool {
    parent
        .items("gateways")
        .any(|gateway| gateway.as_text() == MESH_GATEWAY)
}

/// A domain name, perhaps with a wildcard, or a name that Istio makes for its gateways: `outbound_.80_._.a.example`.
pub(super) fn validate_sni(name: &str) -> Result<(), HostError> {
    let parts: Vec<_> = name.split('_').collect();
    if parts[0] != "outbound" || parts.len() == 1 || name.len() > 255 {
        return validate_wildcard_domain(name);
    }
    let is_generated = matches!(parts[..], [_, port, _, host, ..]
        if port.contains(|c: char| c.is_ascii_digit())
            && host.contains(|c: char| c.is_ascii_alphabetic()));
    if is_generated {
        Ok(())
    } else {
        Err(HostError::Label(name.to_owned()))
    }
}
