//! Reads and validates a `connectionPool`, of which `tcp` is carried out.

use std::time::Duration;

use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;
use super::{ConnectionPool, Keepalive};

/// Reads a pool that conforms to its schema.
pub(in crate::api) fn read(pool: &Cursor<'_>, findings: &mut Findings) -> ConnectionPool {
    if !pool.has("tcp") && !pool.has("http") {
        let message = "the connection pool says nothing";
        findings.error(
            codes::POLICY_EMPTY,
            pool.spot(),
            message,
            "remove it, or write tcp or http below it",
        );
    }
    if let Some(http) = pool.field("http") {
        check_http(&http, findings);
    }
    pool.field("tcp")
        .map(|tcp| read_tcp(&tcp, findings))
        .unwrap_or_default()
}

fn read_tcp(tcp: &Cursor<'_>, findings: &mut Findings) -> ConnectionPool {
    rules::not_negative(tcp, &["maxConnections"], findings);
    // 0 turns the timeout off.
    let idle_timeout = if tcp.int("idleTimeout") == Some(0) {
        Some(Duration::ZERO)
    } else {
        rules::duration(tcp, "idleTimeout", findings)
    };
    ConnectionPool {
        max_connections: rules::count(tcp, "maxConnections").filter(|most| *most > 0),
        connect_timeout: rules::duration(tcp, "connectTimeout", findings),
        keepalive: tcp
            .field("tcpKeepalive")
            .map(|keepalive| read_keepalive(&keepalive, findings)),
        idle_timeout,
        max_connection_duration: rules::duration(tcp, "maxConnectionDuration", findings),
    }
}

/// Reads a `tcpKeepalive`, of a rule or of the mesh.
pub(in crate::api) fn read_keepalive(keepalive: &Cursor<'_>, findings: &mut Findings) -> Keepalive {
    Keepalive {
        // As in Istio, 0 leaves it to the system.
        probes: rules::count(keepalive, "probes").filter(|probes| *probes > 0),
        time: rules::duration(keepalive, "time", findings),
        interval: rules::duration(keepalive, "interval", findings),
    }
}

fn check_http(http: &Cursor<'_>, findings: &mut Findings) {
    let counts = [
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "maxConcurrentStreams",
    ];
    rules::not_negative(http, &counts, findings);
    rules::duration(http, "idleTimeout", findings);
    if http.text("h2UpgradePolicy") == "UPGRADE" && http.flag("useClientProtocol") == Some(true) {
        let message = "the client's protocol cannot be kept and upgraded at once";
        let hint = "remove useClientProtocol or h2UpgradePolicy";
        findings.error(
            codes::AMBIGUOUS,
            http.spot_of("useClientProtocol"),
            message,
            hint,
        );
    }
    if let Some(keepalive) = http.field("http2KeepAlive") {
        rules::duration(&keepalive, "interval", findings);
        rules::duration(&keepalive, "timeout", findings);
        if !keepalive.has("timeout") {
            let message = "the HTTP/2 keepalive has no timeout";
            findings.error(
                codes::REQUIRED,
                keepalive.spot_of("timeout"),
                message,
                "write how long to wait for an answer",
            );
        }
    }
}
