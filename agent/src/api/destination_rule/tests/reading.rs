//! What is read of a valid `DestinationRule`, and which of it is said not to be carried out.

use std::time::Duration;

use super::super::super::object::Spec;
use super::super::*;
use super::{decode_spec, findings};

fn read(spec: &str) -> DestinationRule {
    let decoded = decode_spec(spec);
    match decoded.objects.into_iter().next().map(|object| object.spec) {
        Some(Spec::DestinationRule(rule)) => rule,
        other => panic!("{other:?} {:?}", decoded.diagnostics),
    }
}

/// The policy written in one line.
fn policy(text: &str) -> TrafficPolicy {
    let rule = read(&format!("  host: a.com\n  trafficPolicy: {text}\n"));
    rule.traffic_policy.unwrap()
}

fn balancer(text: &str) -> LoadBalancer {
    policy(&format!("{{loadBalancer: {text}}}"))
        .load_balancer
        .unwrap()
}

/// What is found of a load balancer written in one line.
fn balancer_findings(text: &str) -> Vec<String> {
    let spec = format!("  host: a\n  trafficPolicy: {{loadBalancer: {text}}}\n");
    let found = findings(&spec).into_iter();
    found
        .map(|finding| finding.replace("spec.trafficPolicy.loadBalancer", ""))
        .collect()
}

#[test]
fn what_is_not_carried_out_is_named() {
    let spec = "  host: a
  trafficPolicy:
    loadBalancer: {zoneAwareLbSetting: {enabled: true}}
    connectionPool: {tcp: {maxConnections: 1}, http: {maxRetries: 1}}
    outlierDetection: {outlierDetectionHttpErrorCodes: {}}
    tls: {mode: SIMPLE}
    retryBudget: {percent: 1}
    portLevelSettings:
    - port: {number: 70000}
      loadBalancer: {consistentHash: {useSourceIp: true}}
  subsets: [{name: a}]
";
    assert_eq!(
        findings(spec),
        [
            "Warning SH1012 spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
            "Warning SH1012 spec.trafficPolicy.connectionPool.http",
            "Warning SH1012 spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes",
            "Warning SH1012 spec.trafficPolicy.retryBudget",
            "Warning SH1313 spec.trafficPolicy.tls",
            "Warning SH1304 spec.trafficPolicy.portLevelSettings[0].port.number",
        ]
    );
}

#[test]
fn what_concerns_connections_is_carried_out_without_a_word() {
    let spec = "  host: a
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 1s}}
    connectionPool: {tcp: {maxConnections: 1}}
    outlierDetection: {consecutiveGatewayErrors: 1}
  subsets: [{name: a, labels: {v: '1'}}]
";
    assert_eq!(findings(spec), [""; 0]);
}

#[test]
fn algorithms_are_read_by_istios_names() {
    for (text, expected) in [
        ("{}", Algorithm::LeastRequest),
        ("{simple: UNSPECIFIED}", Algorithm::LeastRequest),
        ("{simple: LEAST_CONN}", Algorithm::LeastRequest),
        ("{simple: LEAST_REQUEST}", Algorithm::LeastRequest),
        ("{simple: ROUND_ROBIN}", Algorithm::RoundRobin),
        ("{simple: RANDOM}", Algorithm::Random),
        ("{simple: PASSTHROUGH}", Algorithm::Passthrough),
    ] {
        assert_eq!(balancer(text).algorithm, expected, "{text}");
        assert_eq!(balancer_findings(text), [""; 0], "{text}");
    }
}

#[test]
fn clients_are_hashed_by_their_address_into_the_table_that_is_asked_for() {
    let ring = |minimum_size| Algorithm::SourceHash(HashTable::Ring { minimum_size });
    let maglev = |size| Algorithm::SourceHash(HashTable::Maglev { size });
    for (table, expected) in [
        ("", ring(1024)),
        (", ringHash: {}", ring(1024)),
        (", ringHash: {minimumRingSize: 64}", ring(64)),
        (", minimumRingSize: 128", ring(128)),
        (", maglev: {tableSize: 251}", maglev(251)),
    ] {
        let text = format!("{{consistentHash: {{useSourceIp: true{table}}}}}");
        assert_eq!(balancer(&text).algorithm, expected, "{text}");
    }
}

#[test]
fn what_only_requests_have_is_not_hashed() {
    for (key, field) in [
        ("httpHeaderName: x", ".httpHeaderName"),
        ("httpCookie: {name: x}", ".httpCookie"),
        ("httpQueryParameterName: x", ".httpQueryParameterName"),
        ("useSourceIp: false", ""),
        ("ringHash: {}", ""),
    ] {
        let text = format!("{{consistentHash: {{{key}}}}}");
        assert_eq!(balancer(&text).algorithm, Algorithm::Random, "{text}");
        assert_eq!(
            balancer_findings(&text),
            [format!("Warning SH1315 .consistentHash{field}")]
        );
    }
}

#[test]
fn warmup_is_read_with_istios_defaults() {
    let warmup = |text: &str| balancer(text).warmup;
    let expected = |seconds, minimum_percent, aggression| {
        Some(Warmup {
            duration: Duration::from_secs(seconds),
            minimum_percent,
            aggression,
        })
    };
    assert_eq!(
        warmup("{simple: ROUND_ROBIN, warmup: {duration: 60s}}"),
        expected(60, 10, 1000)
    );
    assert_eq!(
        warmup("{warmup: {duration: 2m, minimumPercent: 20.4, aggression: 1.5}}"),
        expected(120, 20, 1500)
    );
    assert_eq!(
        warmup("{warmup: {duration: 1s, minimumPercent: 0}}"),
        expected(1, 0, 1000)
    );
    assert_eq!(warmup("{warmupDurationSecs: 30s}"), expected(30, 10, 1000));
    assert_eq!(
        warmup("{warmupDurationSecs: 30s, warmup: {duration: 1s}}"),
        expected(1, 10, 1000)
    );
}

#[test]
fn warmup_goes_only_with_algorithms_that_istio_warms_up() {
    for algorithm in [
        "simple: RANDOM",
        "simple: PASSTHROUGH",
        "consistentHash: {useSourceIp: true}",
    ] {
        let text = format!("{{{algorithm}, warmup: {{duration: 1s}}}}");
        assert_eq!(balancer(&text).warmup, None, "{text}");
        assert_eq!(balancer_findings(&text), ["Warning SH1315 .warmup"]);
    }
}

#[test]
fn connection_pools_are_read_with_what_is_not_limited_left_out() {
    let pool = |text: &str| {
        policy(&format!("{{connectionPool: {text}}}"))
            .connection_pool
            .unwrap()
    };
    assert_eq!(pool("{http: {maxRetries: 3}}"), ConnectionPool::default());
    assert_eq!(
        pool("{tcp: {maxConnections: 0, tcpKeepalive: {}}}"),
        ConnectionPool {
            keepalive: Some(Keepalive::default()),
            ..ConnectionPool::default()
        }
    );
    assert_eq!(
        pool(
            "{tcp: {maxConnections: 7, connectTimeout: 250ms, idleTimeout: 0s, maxConnectionDuration: 1h, tcpKeepalive: {probes: 3, time: 2m, interval: 5s}}}"
        ),
        ConnectionPool {
            max_connections: Some(7),
            connect_timeout: Some(Duration::from_millis(250)),
            keepalive: Some(Keepalive {
                probes: Some(3),
                time: Some(Duration::from_mins(2)),
                interval: Some(Duration::from_secs(5)),
            }),
            idle_timeout: Some(Duration::ZERO),
            max_connection_duration: Some(Duration::from_hours(1)),
        }
    );
}

#[test]
fn outlier_detection_has_envoys_defaults_where_nothing_is_written() {
    let detection = |text: &str| {
        policy(&format!("{{outlierDetection: {text}}}"))
            .outlier_detection
            .unwrap()
    };
    assert_eq!(detection("{}"), OutlierDetection::default());
    assert_eq!(
        detection("{maxEjectionPercent: 0, consecutiveLocalOriginFailures: 0}"),
        OutlierDetection::default()
    );
    assert_eq!(
        detection(
            "{consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, interval: 1s, baseEjectionTime: 1m, maxEjectionPercent: 50, minHealthPercent: 20}"
        ),
        OutlierDetection {
            consecutive_5xx_errors: 0,
            consecutive_gateway_errors: 2,
            split_external_local_origin_errors: true,
            consecutive_local_origin_failures: 3,
            interval: Duration::from_secs(1),
            base_ejection_time: Duration::from_mins(1),
            max_ejection_percent: 50,
            min_health_percent: 20,
        }
    );
}

#[test]
fn subsets_are_read_in_their_order_with_their_policies() {
    let rule = read(
        "  host: a.com
  subsets:
  - name: v2
    labels: {version: v2}
    trafficPolicy:
      loadBalancer: {simple: RANDOM}
      portLevelSettings:
      - port: {number: 80}
        connectionPool: {tcp: {maxConnections: 3}}
  - name: v1
    labels: {version: v1}
",
    );
    let [v2, v1] = &rule.subsets[..] else {
        panic!("{rule:?}")
    };
    assert_eq!((&*v2.name, &*v1.name), ("v2", "v1"));
    assert_eq!((v2.line, v1.line), (7, 14));
    assert_eq!(v2.labels["version"], "v2");
    let balancer = v2.traffic_policy.as_ref().unwrap().load_balancer.as_ref();
    assert_eq!(balancer.unwrap().algorithm, Algorithm::Random);
    let pool = v2.port_policies[&80].connection_pool.unwrap();
    assert_eq!(pool.max_connections, Some(3));
    assert!(v1.traffic_policy.is_none() && v1.port_policies.is_empty());
}

#[test]
fn a_valid_rule_is_read_as_it_is_written() {
    let decoded = decode_spec(
        "  host: a.com
  exportTo: ['.']
  workloadSelector: {matchLabels: {app: x}}
  trafficPolicy:
    outlierDetection: {}
    loadBalancer:
      localityLbSetting:
        distribute: [{from: a/*, to: {b: 100}}]
    portLevelSettings:
    - port: {number: 80}
      tls: {mode: MUTUAL, credentialName: x}
    - port: {number: 80}
      tls: {mode: DISABLE}
",
    );
    let Spec::DestinationRule(rule) = &decoded.objects[0].spec else {
        panic!("{decoded:?}")
    };
    let policy = rule.traffic_policy.as_ref().unwrap();
    assert!(policy.outlier_detection.is_some());
    assert_eq!(policy.tls, None);
    let setting = policy.load_balancer.as_ref().unwrap();
    let setting = setting.locality_lb.as_ref().unwrap();
    assert!(setting.enabled);
    assert_eq!(setting.distribute[0].to["b"], 100);
    assert_eq!(rule.port_policies[&80].tls, Some(TlsMode::Mutual));
    assert!(
        rule.port_policies[&80].outlier_detection.is_none(),
        "a port's policy inherits nothing"
    );
    assert_eq!(rule.workload_selector.as_ref().unwrap()["app"], "x");
}
