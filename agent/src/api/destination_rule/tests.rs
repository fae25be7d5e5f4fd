//! Istio's validation of `DestinationRule`, a row for each rule.

use super::super::decode::Decoded;
use super::super::specimen;

mod reading;

fn decode_spec(spec: &str) -> Decoded {
    specimen::decode_spec("DestinationRule", spec)
}

fn findings(spec: &str) -> Vec<String> {
    specimen::findings(&decode_spec(spec))
}

fn errors(spec: &str) -> Vec<String> {
    specimen::errors(&decode_spec(spec))
}

/// Errors within a trafficPolicy written in one line, with paths from there.
fn policy_errors(policy: &str) -> Vec<String> {
    errors(&format!("  host: a.com\n  trafficPolicy: {policy}\n"))
        .into_iter()
        .map(|error| error.replace("spec.trafficPolicy.", ""))
        .collect()
}

fn check(cases: &[(&str, &[&str])]) {
    for (policy, expected) in cases {
        assert_eq!(policy_errors(policy), *expected, "{policy}");
    }
}

#[test]
fn the_rule_itself_is_checked() {
    let cases: &[(&str, &[&str])] = &[
        ("  host: '*'\n", &[]),
        ("  host: '*.a.com'\n", &[]),
        ("  host: a_b\n", &["SH1301 spec.host"]),
        (
            "  trafficPolicy: {tls: {mode: DISABLE}}\n",
            &["SH1015 spec.host"],
        ),
        (
            "  host: a\n  trafficPolicy: {}\n",
            &["SH1302 spec.trafficPolicy"],
        ),
        (
            "  host: a\n  exportTo: ['~']\n",
            &["SH1118 spec.exportTo[0]"],
        ),
        (
            "  host: a\n  workloadSelector: {matchLabels: {a: b}}\n  exportTo: ['.']\n",
            &[],
        ),
        (
            "  host: a\n  workloadSelector: {matchLabels: {a: b}}\n  exportTo: [ns2]\n",
            &["SH1118 spec.exportTo"],
        ),
        (
            "  host: a\n  workloadSelector: {matchLabels: {a: '*'}}\n",
            &["SH1116 spec.workloadSelector.matchLabels.a"],
        ),
        (
            "  host: a\n  subsets: [{name: a}, {name: b, labels: {v: '1'}}]\n",
            &[],
        ),
        (
            "  host: a\n  subsets: [{name: a}, {name: a}]\n",
            &["SH1314 spec.subsets[1].name"],
        ),
        (
            "  host: a\n  subsets: [{labels: {v: '1'}}]\n",
            &["SH1314 spec.subsets[0].name"],
        ),
        (
            "  host: a\n  subsets: [{name: a_b}]\n",
            &["SH1314 spec.subsets[0].name"],
        ),
        (
            "  host: a\n  subsets: [{name: a, trafficPolicy: {connectionPool: {}}}]\n",
            &["SH1302 spec.subsets[0].trafficPolicy.connectionPool"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(errors(spec), *expected, "{spec}");
    }
}

#[test]
fn load_balancers_are_checked() {
    check(&[
        ("{loadBalancer: {simple: ROUND_ROBIN}}", &[]),
        (
            "{loadBalancer: {simple: FASTEST}}",
            &["SH1011 loadBalancer.simple"],
        ),
        (
            "{loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}",
            &["SH1014 loadBalancer.consistentHash"],
        ),
        (
            "{loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: x}}}",
            &["SH1014 loadBalancer.consistentHash.useSourceIp"],
        ),
        (
            "{loadBalancer: {consistentHash: {httpCookie: {ttl: 0s}}}}",
            &["SH1015 loadBalancer.consistentHash.httpCookie.name"],
        ),
        (
            "{loadBalancer: {consistentHash: {maglev: {tableSize: 65537}}}}",
            &[],
        ),
        (
            "{loadBalancer: {consistentHash: {maglev: {tableSize: 65536}}}}",
            &["SH1305 loadBalancer.consistentHash.maglev.tableSize"],
        ),
        (
            "{loadBalancer: {consistentHash: {maglev: {}}}}",
            &["SH1305 loadBalancer.consistentHash.maglev.tableSize"],
        ),
        (
            "{loadBalancer: {consistentHash: {minimumRingSize: 4, ringHash: {}}}}",
            &["SH1305 loadBalancer.consistentHash.minimumRingSize"],
        ),
        (
            "{loadBalancer: {localityLbSetting: {}, zoneAwareLbSetting: {}}}",
            &["SH1014 loadBalancer.zoneAwareLbSetting"],
        ),
        (
            "{loadBalancer: {warmup: {duration: 1s, minimumPercent: 50}}}",
            &[],
        ),
        (
            "{loadBalancer: {warmup: {minimumPercent: 101}}}",
            &[
                "SH1015 loadBalancer.warmup.duration",
                "SH1304 loadBalancer.warmup.minimumPercent",
            ],
        ),
        (
            "{loadBalancer: {warmup: {duration: 1s, aggression: 0}}}",
            &["SH1304 loadBalancer.warmup.aggression"],
        ),
        (
            "{loadBalancer: {warmupDurationSecs: 1us}}",
            &["SH1303 loadBalancer.warmupDurationSecs"],
        ),
    ]);
}

#[test]
fn locality_settings_are_checked() {
    let setting = |setting: &str| {
        format!("{{outlierDetection: {{}}, loadBalancer: {{localityLbSetting: {setting}}}}}")
    };
    let cases: &[(&str, &[&str])] = &[
        ("{distribute: [{from: a/*, to: {a/*: 80, b/*: 20}}]}", &[]),
        (
            "{distribute: [{from: a/z1, to: {a: 100}}, {from: a/*, to: {a: 100}}, {from: '*', to: {a: 100}}]}",
            &[],
        ),
        (
            "{distribute: [{from: '*', to: {a: 100}}, {from: a, to: {a: 100}}]}",
            &["SH1307 distribute[1].from"],
        ),
        (
            "{distribute: [{from: a/z, to: {a: 100}}, {from: a, to: {a: 100}}]}",
            &["SH1307 distribute[1].from"],
        ),
        (
            "{distribute: [{from: a/*, to: {a: 100}}, {from: a/z, to: {a: 100}}]}",
            &["SH1307 distribute[1].from"],
        ),
        (
            "{distribute: [{from: a/z/s, to: {a: 100}}, {from: a/z/*, to: {a: 100}}]}",
            &[],
        ),
        (
            "{distribute: [{from: a, to: {b/z/*: 50, b/z/s: 50}}]}",
            &["SH1307 distribute[0].to[\"b/z/s\"]"],
        ),
        (
            "{distribute: [{from: a//c, to: {a: 100}}]}",
            &["SH1307 distribute[0].from"],
        ),
        (
            "{distribute: [{from: a/*/c, to: {a: 100}}]}",
            &["SH1307 distribute[0].from"],
        ),
        (
            "{distribute: [{from: a, to: {a: 99}}]}",
            &["SH1307 distribute[0].to"],
        ),
        ("{distribute: [{from: a}]}", &["SH1307 distribute[0].to"]),
        (
            "{distribute: [{from: a, to: {a: 100, b: 0}}]}",
            &["SH1307 distribute[0].to.b"],
        ),
        (
            "{distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]}",
            &["SH1306 failover"],
        ),
        ("{failover: [{from: a, to: b}]}", &[]),
        ("{failover: [{from: a, to: a}]}", &["SH1308 failover[0].to"]),
        (
            "{failover: [{from: a/z, to: b}]}",
            &["SH1308 failover[0].from"],
        ),
        (
            "{failover: [{from: a, to: 'b*'}]}",
            &["SH1308 failover[0].to"],
        ),
        (
            "{failover: [{from: a, to: b}], failoverPriority: [topology.istio.io/network]}",
            &[],
        ),
        (
            "{failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]}",
            &["SH1306 failoverPriority[0]"],
        ),
    ];
    for (text, expected) in cases {
        let found: Vec<_> = policy_errors(&setting(text))
            .iter()
            .map(|e| e.replace("loadBalancer.localityLbSetting.", ""))
            .collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn failover_without_outlier_detection_is_pointed_out() {
    let spec = "  host: a\n  trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}\n";
    assert_eq!(
        findings(spec),
        ["Warning SH1309 spec.trafficPolicy.loadBalancer.localityLbSetting.failover"]
    );
}

#[test]
fn connection_pools_are_checked() {
    check(&[
        ("{connectionPool: {tcp: {idleTimeout: 0s}, http: {}}}", &[]),
        ("{connectionPool: {}}", &["SH1302 connectionPool"]),
        (
            "{connectionPool: {tcp: {maxConnections: -1}}}",
            &["SH1304 connectionPool.tcp.maxConnections"],
        ),
        (
            "{connectionPool: {tcp: {connectTimeout: 2.000000005s}}}",
            &["SH1303 connectionPool.tcp.connectTimeout"],
        ),
        (
            "{connectionPool: {tcp: {maxConnectionDuration: 500us}}}",
            &["SH1303 connectionPool.tcp.maxConnectionDuration"],
        ),
        (
            "{connectionPool: {tcp: {tcpKeepalive: {time: 0s}}}}",
            &["SH1303 connectionPool.tcp.tcpKeepalive.time"],
        ),
        (
            "{connectionPool: {http: {maxRetries: -1}}}",
            &["SH1304 connectionPool.http.maxRetries"],
        ),
        (
            "{connectionPool: {http: {idleTimeout: 0s}}}",
            &["SH1303 connectionPool.http.idleTimeout"],
        ),
        (
            "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}",
            &["SH1014 connectionPool.http.useClientProtocol"],
        ),
        (
            "{connectionPool: {http: {http2KeepAlive: {interval: 1s}}}}",
            &["SH1015 connectionPool.http.http2KeepAlive.timeout"],
        ),
    ]);
}

#[test]
fn outlier_detection_tunnels_and_budgets_are_checked() {
    check(&[
        (
            "{outlierDetection: {consecutive_5xx_errors: 5, interval: 1s, maxEjectionPercent: 100}}",
            &[],
        ),
        (
            "{outlierDetection: {interval: 0s}}",
            &["SH1303 outlierDetection.interval"],
        ),
        (
            "{outlierDetection: {maxEjectionPercent: 105}}",
            &["SH1304 outlierDetection.maxEjectionPercent"],
        ),
        (
            "{outlierDetection: {minHealthPercent: -1}}",
            &["SH1304 outlierDetection.minHealthPercent"],
        ),
        (
            "{outlierDetection: {consecutiveLocalOriginFailures: 5}}",
            &["SH1310 outlierDetection.consecutiveLocalOriginFailures"],
        ),
        (
            "{outlierDetection: {consecutiveLocalOriginFailures: 5, splitExternalLocalOriginErrors: true}}",
            &[],
        ),
        ("{tunnel: {targetHost: a.com, targetPort: 80}}", &[]),
        (
            "{tunnel: {protocol: GET, targetHost: '*', targetPort: 0}}",
            &[
                "SH1304 tunnel.protocol",
                "SH1301 tunnel.targetHost",
                "SH1105 tunnel.targetPort",
            ],
        ),
        (
            "{tunnel: {targetHost: a.com, targetPort: 80}, proxyProtocol: {version: V2}}",
            &["SH1014 proxyProtocol"],
        ),
        (
            "{retryBudget: {percent: 101}}",
            &["SH1304 retryBudget.percent"],
        ),
    ]);
}

#[test]
fn tls_settings_are_checked() {
    check(&[
        ("{tls: {mode: SIMPLE}}", &[]),
        (
            "{tls: {mode: SIMPLE, insecureSkipVerify: false, caCertificates: x}}",
            &[],
        ),
        (
            "{tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: x}}",
            &["SH1312 tls.caCertificates"],
        ),
        (
            "{tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [x]}}",
            &["SH1312 tls.subjectAltNames"],
        ),
        (
            "{tls: {mode: MUTUAL, insecureSkipVerify: true, credentialName: x}}",
            &[],
        ),
        (
            "{tls: {mode: MUTUAL}}",
            &["SH1312 tls.clientCertificate", "SH1312 tls.privateKey"],
        ),
        (
            "{tls: {mode: MUTUAL, clientCertificate: x, privateKey: x}}",
            &[],
        ),
        (
            "{tls: {mode: MUTUAL, credentialName: x, privateKey: x}}",
            &["SH1312 tls.privateKey"],
        ),
        ("{tls: {mode: ISTIO_MUTUAL}}", &[]),
    ]);
}
