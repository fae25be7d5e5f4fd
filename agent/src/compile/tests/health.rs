//! What an object says of the health of its endpoints, and those that are to be emptied.

use crate::model::{Fact, ServiceVitals, Vital};

use super::*;

fn draining(mut object: Object) -> Object {
    let annotation = ("shunt.internal/drain".to_owned(), "true".to_owned());
    object.meta.annotations.extend([annotation]);
    object
}

/// An entry that selects the workloads with `app: a`.
fn selecting(host: &str) -> Object {
    entry(host).saying(|e| e.workload_selector = Some(labels(&[("app", "a")])))
}

fn selected(name: &str, address: &str) -> Object {
    workload(name, address).being(|w| w.labels = labels(&[("app", "a")]))
}

/// `address share vital` of each endpoint.
fn states(compiled: &Compiled, host: &str) -> Vec<String> {
    let endpoints = service(compiled, host, 80).endpoints.iter();
    endpoints
        .map(|e| format!("{} {} {:?}", e.address, e.share, e.vital))
        .collect()
}

#[test]
fn a_workload_that_fails_its_checks_gets_nothing_whatever_is_observed_of_it() {
    let objects = [
        selecting("a.example"),
        selected("one", "10.0.0.1").being(|w| w.failing = true),
        selected("two", "10.0.0.2"),
        selected("three", "10.0.0.3"),
    ];
    let mut registry = Registry::new(Node::default(), VipRanges::default(), VipTable::default());
    registry.apply(read("x.yaml", &objects));
    let vitals: ServiceVitals = [
        ("10.0.0.1:80".parse().unwrap(), Vital::Warming(500)),
        ("10.0.0.2:80".parse().unwrap(), Vital::Ejected),
    ]
    .into();
    registry.apply(Fact::Vitals {
        service: key("a.example", 80),
        vitals: vitals.clone(),
    });
    let snapshot = registry.snapshot();
    let known = compile(&snapshot);
    assert_eq!(
        states(&known, "a.example"),
        [
            "10.0.0.1 0 Failing",
            "10.0.0.3 1 Healthy",
            "10.0.0.2 0 Ejected",
        ]
    );
    let service = service(&known, "a.example", 80);
    assert_eq!(*service, service.with_vitals(&vitals));
}

#[test]
fn an_endpoint_that_drains_stays_and_gets_no_new_connects() {
    let objects = [
        selecting("a.example"),
        draining(selected("one", "10.0.0.1").being(|w| w.weight = 7)),
        selected("two", "10.0.0.2"),
    ];
    assert_eq!(
        states(&compiled(&objects, &[]), "a.example"),
        ["10.0.0.1 0 Healthy", "10.0.0.2 1 Healthy"]
    );
}

#[test]
fn an_entry_that_drains_has_no_endpoint_to_connect_to() {
    let inline = entry("a.example").with_endpoints(vec![endpoint("10.0.0.1")]);
    let implicit = entry("b.example").resolving(Resolution::Dns);
    let answers: &[(&str, &[&str])] = &[("b.example", &["10.0.0.2"])];
    let compiled = compiled(&[draining(inline), draining(implicit)], answers);
    assert_eq!(states(&compiled, "a.example"), ["10.0.0.1 0 Healthy"]);
    assert_eq!(states(&compiled, "b.example"), ["10.0.0.2 0 Healthy"]);
    assert_eq!(service(&compiled, "a.example", 80).total(), 0);
}

#[test]
fn load_goes_past_a_locality_that_drains() {
    let near = selected("near", "10.0.0.1").being(|w| w.locality = locality("r1"));
    let far = selected("far", "10.0.0.2").being(|w| w.locality = locality("r2"));
    let rules = |setting| {
        rule("r", "a.example").ruling(|rule| {
            rule.traffic_policy = Some(TrafficPolicy {
                outlier_detection: Some(OutlierDetection::default()),
                load_balancer: Some(LoadBalancer {
                    locality_lb: Some(setting),
                    ..LoadBalancer::default()
                }),
                ..TrafficPolicy::default()
            });
        })
    };
    let distribute = LocalityLbSetting {
        distribute: vec![Distribute {
            from: "r1".to_owned(),
            to: [("r1".to_owned(), 80), ("r2".to_owned(), 20)].into(),
        }],
        ..LocalityLbSetting::default()
    };
    for (setting, before) in [(LocalityLbSetting::default(), [1, 0]), (distribute, [4, 1])] {
        let seen = |near: Object| {
            let objects = [
                selecting("a.example"),
                near,
                far.clone(),
                rules(setting.clone()),
            ];
            let mut snapshot = snapshot(&objects);
            snapshot.node.locality = locality("r1");
            let compiled = compile(&snapshot);
            let mut endpoints = service(&compiled, "a.example", 80).endpoints.clone();
            endpoints.sort_by_key(|endpoint| endpoint.address);
            let shares = endpoints.iter().map(|endpoint| endpoint.share);
            shares.collect::<Vec<u64>>()
        };
        assert_eq!(seen(near.clone()), before, "{setting:?}");
        assert_eq!(seen(draining(near.clone())), [0, 1], "{setting:?}");
    }
}

fn locality(text: &str) -> crate::api::Locality {
    crate::api::Locality::parse(text)
}
