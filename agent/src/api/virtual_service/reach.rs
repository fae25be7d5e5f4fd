//! What of a valid `VirtualService` a connection of this node cannot carry out, or is never asked to.

use super::super::codes;
use super::super::findings::Findings;
use super::super::tree::Cursor;
use super::read::is_for_mesh;

pub(super) fn report(spec: &Cursor<'_>, findings: &mut Findings) {
    if !is_for_mesh(spec) {
        findings.info(
            codes::OTHER_GATEWAYS,
            spec.spot_of("gateways"),
            "the VirtualService is for gateways only, so it does not apply to this node",
            "nothing to do, or add mesh to apply it to clients as well",
        );
        return;
    }
    if spec.items("http").len() > 0 {
        findings.warning(
            codes::FIELD_NOT_CARRIED_OUT,
            spec.spot_of("http"),
            "http routes are not carried out; connections are spread as without the VirtualService",
            "write a tcp or tls route where ports and addresses suffice, or let the client do it",
        );
    }
    if spec.items("tls").len() > 0 {
        findings.info(
            codes::SNI_BY_ADDRESS,
            spec.spot_of("tls"),
            "sniHosts are compared with the host that the address the client dialled stands for, not with the SNI that it sends",
            "nothing to do, if clients send the name that they looked up",
        );
    }
    for list in ["tls", "tcp"] {
        for route in spec.items(list) {
            for item in route.items("match") {
                report_match(&item, findings);
            }
        }
    }
}

fn report_match(item: &Cursor<'_>, findings: &mut Findings) {
    if !is_for_mesh(item) {
        findings.info(
            codes::OTHER_GATEWAYS,
            item.spot_of("gateways"),
            "the match is for gateways only, so it does not apply to this node",
            "nothing to do, or add mesh to apply it to clients as well",
        );
    }
}
