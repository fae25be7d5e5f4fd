//! Whether the gateways that a `VirtualService` or a match is bound to are named as Istio names them.

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::{is_dns_label, validate_fqdn};
use super::super::tree::Cursor;

/// Checks `gateways` of `parent`.
pub(super) fn check(parent: &Cursor<'_>, findings: &mut Findings) {
    for item in parent.items("gateways") {
        let written = item.as_text();
        let Some((namespace, name)) = written.split_once('/') else {
            check_unqualified(&item, findings);
            // Istio looks no further after a name without namespace.
            return;
        };
        if let Some(part) = [namespace, name]
            .into_iter()
            .find(|part| !is_dns_label(part))
        {
            let message = format!("`{written}` names no gateway: `{part}` is not a DNS label");
            findings.error(
                codes::ROUTE_GATEWAY,
                item.spot(),
                message,
                "write namespace/name, or mesh for clients of the mesh",
            );
        }
    }
}

fn check_unqualified(item: &Cursor<'_>, findings: &mut Findings) {
    let written = item.as_text();
    if let Err(error) = validate_fqdn(written) {
        let message = format!("`{written}` names no gateway: {error}");
        findings.error(
            codes::ROUTE_GATEWAY,
            item.spot(),
            message,
            "write namespace/name, or mesh for clients of the mesh",
        );
    } else if let Some((name, rest)) = written.split_once('.') {
        let namespace = rest.split('.').next().unwrap_or_default();
        let message = format!("`{written}` names a gateway in the old form");
        let hint = format!("write {namespace}/{name}");
        findings.warning(codes::ROUTE_GATEWAY, item.spot(), message, hint);
    }
}
