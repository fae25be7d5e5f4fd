//! Validates a `connectionPool`, none of which is carried out.

use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;

/// Reports what Istio refuses.
pub(super) fn check(pool: &Cursor<'_>, findings: &mut Findings) {
    if !pool.has("tcp") && !pool.has("http") {
        let message = "the connection pool says nothing";
        findings.error(
            codes::POLICY_EMPTY,
            pool.spot(),
            message,
            "remove it, or write tcp or http below it",
        );
    }
    if let Some(tcp) = pool.field("tcp") {
        check_tcp(&tcp, findings);
    }
    if let Some(http) = pool.field("http") {
        check_http(&http, findings);
    }
}

fn check_tcp(tcp: &Cursor<'_>, findings: &mut Findings) {
    rules::not_negative(tcp, &["maxConnections"], findings);
    rules::duration(tcp, "connectTimeout", findings);
    rules::duration(tcp, "maxConnectionDuration", findings);
    // 0 turns the timeout off.
    if tcp.int("idleTimeout") != Some(0) {
        rules::duration(tcp, "idleTimeout", findings);
    }
    if let Some(keepalive) = tcp.field("tcpKeepalive") {
        rules::duration(&keepalive, "time", findings);
        rules::duration(&keepalive, "interval", findings);
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
