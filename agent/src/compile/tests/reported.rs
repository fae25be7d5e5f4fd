//! What comes of each field of a policy, from the text of a rule to the report.

use crate::api::decode;

use super::*;

/// What is reported of a service with the rule's policy, written in one line, but for what every service has.
fn reported(policy: &str) -> String {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: default}}\nspec: {{host: a.example, trafficPolicy: {policy}}}\n"
    );
    let decoded = decode("r.yaml", &text);
    let entry = entry("a.example")
        .at_addresses(&["192.0.2.1"])
        .with_endpoints(vec![endpoint("10.0.0.1")]);
    let objects: Vec<Object> = decoded.objects.into_iter().chain([entry]).collect();
    let mut service = report(&compiled(&objects, &[]), &[]).services.remove(0);
    service.endpoints.clear();
    let serde_json::Value::Object(fields) = serde_json::to_value(&service).unwrap() else {
        panic!("{service:?}")
    };
    let common = [
        "namespace",
        "host",
        "port",
        "protocol",
        "resolution",
        "frontends",
        "endpoints",
        "reasons",
    ];
    let special = fields
        .iter()
        .filter(|(name, _)| !common.contains(&name.as_str()));
    let lines: Vec<String> = special
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    lines.join("\n")
}

#[test]
fn each_algorithm_is_reported_by_istios_name() {
    for (balancer, expected) in [
        ("simple: UNSPECIFIED", "LEAST_REQUEST"),
        ("simple: LEAST_CONN", "LEAST_REQUEST"),
        ("simple: LEAST_REQUEST", "LEAST_REQUEST"),
        ("simple: ROUND_ROBIN", "ROUND_ROBIN"),
        ("simple: RANDOM", "RANDOM"),
        ("simple: PASSTHROUGH", "PASSTHROUGH"),
        (
            "consistentHash: {useSourceIp: true}",
            "CONSISTENT_HASH/RING_HASH",
        ),
        (
            "consistentHash: {useSourceIp: true, maglev: {tableSize: 251}}",
            "CONSISTENT_HASH/MAGLEV",
        ),
        ("consistentHash: {httpHeaderName: x}", "RANDOM"),
    ] {
        let policy = format!("{{loadBalancer: {{{balancer}}}}}");
        assert_eq!(reported(&policy), format!("loadBalancer \"{expected}\""));
    }
}

#[test]
fn the_warmup_is_reported() {
    expect_test::expect![[r#"
        loadBalancer "ROUND_ROBIN"
        warmup {"aggression":1.5,"duration":"90s","minimumPercent":5}"#]].assert_eq(&reported(
        "{loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 90s, minimumPercent: 5, aggression: 1.5}}}",
    ));
}

#[test]
fn the_connection_pool_is_reported() {
    expect_test::expect![[r#"
        connectionPool {"connectTimeout":"250ms","idleTimeout":"0s","maxConnectionDuration":"3600s","maxConnections":9,"tcpKeepalive":{"interval":"1500ms","probes":3,"time":"120s"}}
        loadBalancer "LEAST_REQUEST""#]].assert_eq(&reported(
        "{connectionPool: {tcp: {maxConnections: 9, connectTimeout: 250ms, idleTimeout: 0s, maxConnectionDuration: 1h, tcpKeepalive: {probes: 3, time: 2m, interval: 1500ms}}}}",
    ));
    assert_eq!(
        reported("{connectionPool: {tcp: {maxConnections: 0}}}"),
        "loadBalancer \"LEAST_REQUEST\""
    );
}

#[test]
fn outlier_detection_is_reported_with_the_timeout_that_it_needs() {
    expect_test::expect![[r#"
        connectionPool {"connectTimeout":"10s"}
        loadBalancer "LEAST_REQUEST"
        outlierDetection {"baseEjectionTime":"30s","consecutiveFailures":5,"interval":"10s","maxEjectionPercent":10,"minHealthPercent":0}"#]].assert_eq(&reported("{outlierDetection: {}}"));
    expect_test::expect![[r#"
        connectionPool {"connectTimeout":"1s"}
        loadBalancer "LEAST_REQUEST"
        outlierDetection {"baseEjectionTime":"300s","interval":"1s","maxEjectionPercent":50,"minHealthPercent":20}"#]].assert_eq(&reported(
        "{outlierDetection: {consecutive5xxErrors: 0, interval: 1s, baseEjectionTime: 5m, maxEjectionPercent: 50, minHealthPercent: 20}, connectionPool: {tcp: {connectTimeout: 1s}}}",
    ));
    expect_test::expect![[r#"
        connectionPool {"connectTimeout":"10s"}
        loadBalancer "LEAST_REQUEST"
        outlierDetection {"baseEjectionTime":"30s","consecutiveFailures":2,"interval":"10s","maxEjectionPercent":10,"minHealthPercent":0}"#]].assert_eq(&reported(
        "{outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2}}",
    ));
}

#[test]
fn tls_is_reported_as_refused() {
    expect_test::expect![[r#"
        loadBalancer "LEAST_REQUEST"
        refused "TLS_ORIGINATION""#]]
    .assert_eq(&reported("{tls: {mode: SIMPLE}}"));
}
