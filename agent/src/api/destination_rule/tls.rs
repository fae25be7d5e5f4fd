//! Reads and validates `tls`. Nothing here originates TLS, so every mode but DISABLE makes connects fail.

use super::super::codes;
use super::super::findings::Findings;
use super::super::tree::Cursor;
use super::TlsMode;

pub(super) fn read(settings: &Cursor<'_>, findings: &mut Findings) -> TlsMode {
    let mode = match settings.text("mode") {
        "SIMPLE" => TlsMode::Simple,
        "MUTUAL" => TlsMode::Mutual,
        "ISTIO_MUTUAL" => TlsMode::IstioMutual,
        _ => TlsMode::Disable,
    };
    check_verification(settings, mode, findings);
    check_credentials(settings, mode, findings);
    if mode != TlsMode::Disable {
        let message = "TLS cannot be originated here, and is never left out, so connects to the host are refused";
        let hint = "let the client speak TLS itself and remove tls";
        findings.warning(codes::TLS_ORIGINATION, settings.spot(), message, hint);
    }
    mode
}

/// What would be verified cannot be given where nothing is to be verified.
fn check_verification(settings: &Cursor<'_>, mode: TlsMode, findings: &mut Findings) {
    if settings.flag("insecureSkipVerify") != Some(true) {
        return;
    }
    let excluded: &[&str] = match mode {
        TlsMode::Simple => &["caCertificates", "credentialName", "subjectAltNames"],
        TlsMode::Mutual => &["caCertificates", "subjectAltNames"],
        TlsMode::Disable | TlsMode::IstioMutual => &[],
    };
    if let Some(name) = first_set(settings, excluded) {
        let message = format!("`{name}` is for verification, which insecureSkipVerify turns off");
        findings.error(
            codes::TLS_SETTING,
            settings.spot_of(name),
            message,
            "remove insecureSkipVerify, or this",
        );
    }
}

/// Certificates come from files or from a secret.
fn check_credentials(settings: &Cursor<'_>, mode: TlsMode, findings: &mut Findings) {
    if !matches!(mode, TlsMode::Simple | TlsMode::Mutual) {
        return;
    }
    if !settings.text("credentialName").is_empty() {
        if let Some(name) = first_set(
            settings,
            &["clientCertificate", "caCertificates", "privateKey", "caCrl"],
        ) {
            let message = format!("`{name}` and credentialName exclude each other");
            findings.error(
                codes::TLS_SETTING,
                settings.spot_of(name),
                message,
                "keep one of them",
            );
        }
        return;
    }
    if mode == TlsMode::Mutual {
        for name in ["clientCertificate", "privateKey"] {
            if settings.text(name).is_empty() {
                let message = format!("mutual TLS needs `{name}`");
                findings.error(
                    codes::TLS_SETTING,
                    settings.spot_of(name),
                    message,
                    "write it, or credentialName",
                );
            }
        }
    }
}

fn first_set<'a>(settings: &Cursor<'_>, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .copied()
        .find(|name| !settings.text(name).is_empty() || settings.items(name).len() > 0)
}
