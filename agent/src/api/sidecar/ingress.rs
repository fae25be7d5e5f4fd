//! What is wrong with `ingress` of a `Sidecar`, which is not carried out.

use std::collections::BTreeSet;

use super::super::codes;
use super::super::destination_rule::read_connection_pool;
use super::super::findings::Findings;
use super::super::rules;
use super::super::service_entry::Protocol;
use super::super::tree::Cursor;
use super::read::{UNIX, check_bind, check_port, is_unix};

/// Addresses of the workload itself.
const LOCAL: [&str; 5] = ["", "127.0.0.1", "0.0.0.0", "::1", "::"];

pub(super) fn check(spec: &Cursor<'_>, findings: &mut Findings) {
    let mut numbers = BTreeSet::new();
    for listener in spec.items("ingress") {
        let Some(port) = listener.field("port") else {
            findings.error(
                codes::REQUIRED,
                listener.spot_of("port"),
                "the ingress listener has no port",
                "write port.number, protocol and name",
            );
            continue;
        };
        let protocol = check_port(&port, findings);
        check_bind(&listener, findings);
        let number = port.int("number").unwrap_or(0);
        rules::port(number, port.spot_of("number"), findings);
        if !numbers.insert(number) {
            findings.error(
                codes::PORT_DUPLICATE,
                port.spot_of("number"),
                "another ingress listener has the same port",
                "remove one of them",
            );
        }
        check_endpoint(&listener, findings);
        if let Some(tls) = listener.field("tls") {
            check_tls(&tls, protocol, findings);
        }
        if let Some(pool) = listener.field("connectionPool") {
            read_connection_pool(&pool, findings);
            if pool.has("http") && protocol.is_some_and(|protocol| !protocol.is_http()) {
                findings.warning(
                    codes::SIDECAR_LISTENER,
                    pool.spot_of("http"),
                    "HTTP settings have no effect on a port that is not HTTP",
                    "remove them, or correct the protocol",
                );
            }
        }
    }
}

fn check_endpoint(listener: &Cursor<'_>, findings: &mut Findings) {
    let endpoint = listener.text("defaultEndpoint");
    let is_valid = match endpoint.strip_prefix(UNIX) {
        _ if endpoint.is_empty() => true,
        Some(path) => is_unix(path),
        None => endpoint.rsplit_once(':').is_some_and(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
            let is_bare_v6 = bare.is_none() && host.contains(':');
            let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
            LOCAL.contains(&bare.unwrap_or(host)) && !is_bare_v6 && is_port
        }),
    };
    if !is_valid {
        findings.error(
            codes::SIDECAR_LISTENER,
            listener.spot_of("defaultEndpoint"),
            format!("`{endpoint}` is not an endpoint of the workload itself"),
            "write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, unix:///PATH, or leave it out",
        );
    }
}

fn check_tls(tls: &Cursor<'_>, protocol: Option<Protocol>, findings: &mut Findings) {
    let mut error = |name: &str, message: String| {
        let hint = "an ingress listener has SIMPLE or MUTUAL TLS with certificates in files";
        findings.error(codes::SIDECAR_LISTENER, tls.spot_of(name), message, hint);
    };
    if !protocol.is_some_and(Protocol::is_tls) {
        error(
            "mode",
            "TLS is set on a port that is neither HTTPS nor TLS".to_owned(),
        );
    }
    let mode = tls.text("mode");
    if !matches!(
        mode,
        "" | "PASSTHROUGH" | "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL"
    ) {
        error(
            "mode",
            format!("the mode {mode} is not for ingress listeners"),
        );
    }
    for name in [
        "credentialName",
        "credentialNames",
        "tlsCertificates",
        "caCertCredentialName",
    ] {
        if tls.has(name) {
            error(name, format!("`{name}` is not for ingress listeners"));
        }
    }
    if tls.flag("httpsRedirect") == Some(true) {
        error(
            "httpsRedirect",
            "`httpsRedirect` is not for ingress listeners".to_owned(),
        );
    }
    let needs = |mode: &str, name: &str| {
        (tls.text("mode") == mode && tls.text(name).is_empty()).then(|| name.to_owned())
    };
    let missing = [
        needs("SIMPLE", "serverCertificate"),
        needs("SIMPLE", "privateKey"),
        needs("MUTUAL", "serverCertificate"),
        needs("MUTUAL", "privateKey"),
        needs("MUTUAL", "caCertificates"),
    ];
    for name in missing.into_iter().flatten() {
        error(&name, format!("{mode} TLS lacks `{name}`"));
    }
}
