//! Whose endpoints are probed by the annotation of their entry, and what is said where that has no effect.

use std::time::Duration;

use crate::api::Algorithm;

use super::*;

fn asking(mut object: Object, interval: &str) -> Object {
    let annotation = (
        "shunt.internal/probe-interval".to_owned(),
        interval.to_owned(),
    );
    object.meta.annotations.extend([annotation]);
    object
}

fn balanced(host: &str) -> Object {
    entry(host).with_endpoints(vec![endpoint("10.0.0.1")])
}

fn detecting(host: &str, detection: OutlierDetection) -> Object {
    rule("r", host).ruling(|rule| {
        rule.traffic_policy = Some(TrafficPolicy {
            outlier_detection: Some(detection),
            ..TrafficPolicy::default()
        });
    })
}

/// Every how many milliseconds port 80 of `a.example` is probed.
fn interval(compiled: &Compiled) -> Option<u128> {
    let cluster = &service(compiled, "a.example", 80).clusters[0];
    cluster.probe_interval.as_ref().map(Duration::as_millis)
}

/// What is found about the annotation, with its hint.
fn found(compiled: &Compiled) -> Vec<String> {
    let found = compiled.diagnostics.iter();
    let of_probes = found.filter(|d| d.code == codes::PROBE_INTERVAL);
    of_probes
        .map(|d| format!("{:?} {d}\n  {}", d.severity, d.hint))
        .collect()
}

fn check(objects: &[Object], expected: &expect_test::Expect) {
    let compiled = compiled(objects, &[]);
    assert_eq!(interval(&compiled), None);
    expected.assert_eq(&found(&compiled).join("\n"));
}

#[test]
fn endpoints_are_probed_as_often_as_the_annotation_says_where_failures_count() {
    for (text, milliseconds) in [
        ("10s", 10_000),
        ("1s", 1000),
        ("1m30s", 90_000),
        ("1.5s", 1500),
    ] {
        let objects = [
            asking(balanced("a.example"), text),
            detecting("a.example", OutlierDetection::default()),
        ];
        let compiled = compiled(&objects, &[]);
        assert_eq!(interval(&compiled), Some(milliseconds), "{text}");
        assert_eq!(found(&compiled), [""; 0]);
        let reasons = &service(&compiled, "a.example", 80).reasons;
        assert!(
            reasons.iter().any(|r| r.contains("is probed every")),
            "{reasons:?}"
        );
    }
}

#[test]
fn endpoints_are_not_probed_unless_their_entry_asks_for_it() {
    let objects = [
        balanced("a.example"),
        asking(balanced("b.example"), "10s"),
        detecting("*.example", OutlierDetection::default()),
    ];
    assert_eq!(interval(&compiled(&objects, &[])), None);
}

#[test]
fn an_interval_that_is_none_is_an_error_that_says_what_to_write() {
    let rule = detecting("a.example", OutlierDetection::default());
    for text in ["", "10", "soon", "-10s", "999ms", "0"] {
        let objects = [asking(balanced("a.example"), text), rule.clone()];
        let compiled = compiled(&objects, &[]);
        assert_eq!(
            (interval(&compiled), found(&compiled).len()),
            (None, 1),
            "{text}"
        );
    }
    check(
        &[asking(balanced("a.example"), "999ms"), rule],
        &expect_test::expect![[r"
            Error [SH3019] (ServiceEntry default/a.example a.example.yaml:1) metadata.annotations[shunt.internal/probe-interval]: `999ms` is too short an interval: endpoints are not probed
              write a number with its unit, at least 1s, such as 10s or 1m"]],
    );
}

#[test]
fn without_outlier_detection_the_annotation_has_no_effect_which_is_said() {
    check(
        &[asking(balanced("a.example"), "10s")],
        &expect_test::expect![[r"
            Warning [SH3019] (ServiceEntry default/a.example a.example.yaml:1) metadata.annotations[shunt.internal/probe-interval]: nothing is probed of default/a.example:80: no outlierDetection that counts failures is in effect there
              write outlierDetection into the trafficPolicy of a DestinationRule for the host, or remove the annotation"]],
    );
}

#[test]
fn outlier_detection_that_counts_nothing_is_none() {
    let detection = OutlierDetection {
        consecutive_5xx_errors: 0,
        consecutive_gateway_errors: 0,
        ..OutlierDetection::default()
    };
    let objects = [
        asking(balanced("a.example"), "10s"),
        detecting("a.example", detection),
    ];
    let compiled = compiled(&objects, &[]);
    assert_eq!((interval(&compiled), found(&compiled).len()), (None, 1));
}

#[test]
fn where_connects_keep_their_address_nothing_is_probed_which_is_said() {
    let passing = detecting("a.example", OutlierDetection::default()).ruling(|rule| {
        let policy = rule.traffic_policy.as_mut().unwrap();
        policy.load_balancer = Some(LoadBalancer {
            algorithm: Algorithm::Passthrough,
            ..LoadBalancer::default()
        });
    });
    let entry = balanced("a.example").at_addresses(&["192.0.2.1"]);
    check(
        &[asking(entry, "10s"), passing],
        &expect_test::expect![[r"
            Warning [SH3019] (ServiceEntry default/a.example a.example.yaml:1) metadata.annotations[shunt.internal/probe-interval]: nothing is probed of default/a.example:80: connects keep their address there, so no endpoint can be left out
              have the ServiceEntry balance over endpoints (another resolution than NONE, no PASSTHROUGH), or remove the annotation"]],
    );
}

#[test]
fn an_entry_without_a_tcp_port_has_nothing_to_probe_which_is_said() {
    let udp = balanced("a.example").saying(|e| e.ports = vec![port("dns", 53, Protocol::Udp)]);
    let rule = detecting("a.example", OutlierDetection::default());
    let compiled = compiled(&[asking(udp, "10s"), rule], &[]);
    expect_test::expect![[r"
        Warning [SH3019] (ServiceEntry default/a.example a.example.yaml:1) metadata.annotations[shunt.internal/probe-interval]: there is no TCP port, and only those are probed: the annotation has no effect
          remove the annotation"]].assert_eq(&found(&compiled).join("\n"));
}

#[test]
fn addresses_of_names_are_probed_too() {
    let objects = [
        asking(entry("a.example").resolving(Resolution::Dns), "10s"),
        detecting("a.example", OutlierDetection::default()),
    ];
    let compiled = compiled(&objects, &[("a.example", &["10.0.0.1", "10.0.0.2"])]);
    assert_eq!(interval(&compiled), Some(10_000));
    assert_eq!(service(&compiled, "a.example", 80).endpoints.len(), 2);
}
