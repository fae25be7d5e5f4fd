//! Reads and validates a `PeerAuthentication`.

use std::collections::BTreeMap;

use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;
use super::{MtlsMode, PeerAuthentication};

/// Reads a spec that conforms to the schema.
pub(in crate::api) fn read(spec: &Cursor<'_>, findings: &mut Findings) -> PeerAuthentication {
    let selector = rules::selector(spec, "selector", "matchLabels", findings);
    let has_labels = selector.as_ref().is_some_and(|labels| !labels.is_empty());
    if spec.has("portLevelMtls") {
        check_ports(spec, has_labels, findings);
    }
    let mode = spec.field("mtls").map(|mtls| read_mode(&mtls));
    PeerAuthentication {
        selector,
        mode: mode.unwrap_or_default(),
        ports: read_ports(spec, findings),
    }
}

fn check_ports(spec: &Cursor<'_>, has_labels: bool, findings: &mut Findings) {
    let spot = spec.spot_of("portLevelMtls");
    if !has_labels {
        findings.error(
            codes::PORT_MTLS,
            spot,
            "portLevelMtls is only for selected workloads, as ports are theirs",
            "write a selector with matchLabels, or mtls for all ports",
        );
    } else if spec.entries("portLevelMtls").len() == 0 {
        findings.error(
            codes::PORT_MTLS,
            spot,
            "portLevelMtls is empty",
            "write a port of the workloads and its mode, or remove portLevelMtls",
        );
    }
}

fn read_ports(spec: &Cursor<'_>, findings: &mut Findings) -> BTreeMap<u16, MtlsMode> {
    let mut ports = BTreeMap::new();
    for (key, mtls) in spec.entries("portLevelMtls") {
        let Ok(number) = key.parse() else {
            let message = format!("`{key}` is not a port number");
            let hint = "write a number between 1 and 65535";
            findings.error(codes::PORT_NUMBER, mtls.spot(), message, hint);
            continue;
        };
        if let Some(port) = rules::port(number, mtls.spot(), findings)
            && ports.insert(port, read_mode(&mtls)).is_some()
        {
            let message = format!("port {port} is written twice");
            let hint = "remove one of them";
            findings.error(codes::DUPLICATE_FIELD, mtls.spot(), message, hint);
        }
    }
    ports
}

fn read_mode(mtls: &Cursor<'_>) -> MtlsMode {
    match mtls.text("mode") {
        "DISABLE" => MtlsMode::Disable,
        "PERMISSIVE" => MtlsMode::Permissive,
        "STRICT" => MtlsMode::Strict,
        _ => MtlsMode::Unset,
    }
}
