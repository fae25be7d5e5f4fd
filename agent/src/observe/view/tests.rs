#![expect(
    clippy::needless_raw_string_hashes,
    reason = "expect_test writes golden text so"
)]

mod status;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{Diagnostic, ObjectId, Origin, Severity};
use crate::compile::Action;
use crate::dataplane::{Counts, EndpointCounts, Outcomes, ServiceCounts};
use crate::health::{Failure, Record, Records};
use crate::model::Vital;
use crate::observe::State;
use crate::observe::fixtures::{empty, passed, state, weighted};

use super::*;

fn assert_round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(view: &T) {
    let json = serde_json::to_string(view).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), view);
}

fn pretty(view: &impl Serialize) -> String {
    serde_json::to_string_pretty(view).unwrap()
}

/// Five connects, one denied, to the first endpoint of the first service.
fn counts(state: &State) -> Counts {
    let (key, service) = state.compiled.program.services.iter().next().unwrap();
    let endpoint = &service.endpoints[0];
    let of_endpoint = EndpointCounts {
        denied: 0,
        connects: 5,
        open: 2,
        outcomes: Outcomes {
            succeeded: 4,
            refused: 1,
            latency_us: 1000,
            ..Outcomes::default()
        },
    };
    let of_service = ServiceCounts {
        connects: 5,
        denied: 1,
        open: 0,
        endpoints: [((endpoint.address, endpoint.port), of_endpoint)].into(),
    };
    Counts {
        services: [(key.clone(), of_service)].into(),
        ..Counts::default()
    }
}

#[test]
fn a_service_shows_what_it_captures_and_what_was_sent() {
    let state = state(&[weighted()]);
    let views = services(&state, &counts(&state));
    assert_round_trip(&views);
    expect![[r#"
        [
          {
            "namespace": "default",
            "host": "api.example.com",
            "port": 80,
            "route": null,
            "clients": null,
            "portName": "tcp",
            "protocol": "TCP",
            "transport": "TCP",
            "resolution": "STATIC",
            "vips": [],
            "frontends": [
              "10.0.0.1:80",
              "[2001:db8::1]:80"
            ],
            "action": "balance",
            "loadBalancer": "LEAST_REQUEST",
            "endpointCount": 2,
            "ejectedCount": 0,
            "connects": 5,
            "denied": 1,
            "open": 2,
            "maxConnections": null,
            "object": {
              "kind": "ServiceEntry",
              "namespace": "default",
              "name": "api.example.com",
              "file": "api.example.com.yaml",
              "line": 7
            }
          }
        ]"#]]
    .assert_eq(&pretty(&views));
}

#[test]
fn an_endpoint_shows_its_part_and_its_connects() {
    let state = state(&[weighted()]);
    let counts = counts(&state);
    let views = endpoints(&state, Live::at(&state, &counts, state.updated));
    assert_round_trip(&views);
    expect![[r#"
        {
          "namespace": "default",
          "host": "api.example.com",
          "servicePort": 80,
          "clients": null,
          "transport": "TCP",
          "address": "192.0.2.1",
          "port": 80,
          "share": 0.75,
          "part": 3,
          "total": 4,
          "priority": 0,
          "locality": "r1/z1",
          "healthy": true,
          "health": "healthy",
          "why": null,
          "ejection": null,
          "destination": "api.example.com",
          "subset": null,
          "labels": {},
          "hostname": null,
          "connects": 5,
          "open": 2,
          "outcomes": {
            "succeeded": 4,
            "refused": 1,
            "timedOut": 0,
            "failuresInARow": 0,
            "latencyMs": 0.25
          },
          "object": {
            "kind": "ServiceEntry",
            "namespace": "default",
            "name": "api.example.com",
            "file": "api.example.com.yaml",
            "line": 9
          }
        }"#]]
    .assert_eq(&pretty(&views[0]));
    let sum: f64 = views.iter().map(|view| view.share).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    assert_eq!(views[1].connects, 0);
}

#[test]
fn an_ejected_endpoint_shows_how_long_it_stays_out_and_what_led_to_that() {
    let mut state = state(&[weighted()]);
    let (key, service) = state.compiled.program.services.iter().next().unwrap();
    let at = SocketAddr::new(service.endpoints[0].address, service.endpoints[0].port);
    let vitals = [(at, Vital::Ejected)].into();
    let (compiled, _) = state.compiled.with_vitals(key, &vitals).unwrap();
    let record = Record {
        count: 1,
        until: Some(Duration::from_secs(30)),
        failure: Failure::Refused,
        in_a_row: 5,
    };
    state.ejections = Records::unit(key.clone(), Arc::new([(at, record)].into()));
    state.compiled = Arc::new(compiled);
    let counts = Counts::default();
    let live = Live::at(&state, &counts, state.started + Duration::from_secs(10));
    let views = endpoints(&state, live);
    assert_round_trip(&views);
    assert_eq!((views[0].health.as_str(), views[0].part), ("ejected", 0));
    assert_eq!(views[0].ejection.as_ref().unwrap().seconds_left, Some(20.0));
    assert_eq!(
        views[0].why.as_deref(),
        Some("ejection 1, 20 s left: 5 failed connects in a row, the last refused")
    );
    assert_eq!((views[1].share, views[1].ejection.clone()), (1.0, None));
    assert_eq!(services(&state, &counts)[0].ejected_count, 1);
    let health = status(status::input(&state, &counts, &[])).health;
    assert_eq!((health.healthy, health.ejected), (1, 1));
}

#[test]
fn only_automatic_addresses_are_vips() {
    let state = state(&[weighted(), passed(), empty()]);
    let views = services(&state, &Counts::default());
    assert_round_trip(&views);
    let vips: Vec<usize> = views.iter().map(|view| view.vips.len()).collect();
    // api.example.com and net.example.com have addresses of their own.
    assert_eq!(vips, [0, 2, 0]);
    assert_eq!(views[2].frontends, ["10.9.0.0/16:80"]);
    let passed = ActionView::from(Action::Original { port: None });
    assert_eq!(views[2].action, passed);
}

#[test]
fn what_is_not_in_force_is_shown_with_its_reason() {
    let mut state = state(&[weighted()]);
    let mut broken = state.snapshot.objects[0].meta.clone();
    broken.id.name = "broken".to_owned();
    let error = Diagnostic::about(Severity::Error, "SH1015", &broken, "spec.hosts is missing");
    let in_force = &state.snapshot.objects[0].meta;
    let kept = Diagnostic::about(Severity::Info, "SH2003", in_force, "kept");
    let worse = Diagnostic::about(Severity::Error, "SH1001", in_force, "not YAML");
    state.file_diagnostics = [error, kept, worse].into();
    let views = objects(&state);
    assert_round_trip(&views);
    let statuses: Vec<(&str, &ObjectStatus)> =
        views.iter().map(|v| (&*v.name, &v.status)).collect();
    expect![[r#"
        [
            (
                "api.example.com",
                LastGood {
                    reason: "not YAML",
                },
            ),
            (
                "broken",
                Rejected {
                    reason: "spec.hosts is missing",
                },
            ),
        ]"#]]
    .assert_eq(&format!("{statuses:#?}"));
}

#[test]
fn the_second_declaration_of_a_port_is_shadowed_by_the_first() {
    let mut second = weighted();
    second.meta.id.name = "second".to_owned();
    second.meta.origin.line = 30;
    let views = objects(&state(&[weighted(), second]));
    let ObjectStatus::Shadowed { by } = &views[1].status else {
        panic!("{:?}", views[1])
    };
    assert!(by.contains("api.example.com"), "{by}");
    assert_eq!(views[0].status, ObjectStatus::Programmed);
}

#[test]
fn an_object_that_is_declared_twice_is_shown_twice() {
    let mut second = weighted();
    second.meta.origin.file = "b.yaml".into();
    let mut registry = crate::model::Registry::default();
    for object in [weighted(), second] {
        let path = object.meta.origin.file.to_string();
        registry.apply(crate::model::fixtures::read(&path, &[object]));
    }
    let mut state = state(&[]);
    state.snapshot = registry.snapshot().into();
    state.file_diagnostics = registry.diagnostics().into();
    let views = objects(&state);
    let statuses: Vec<(&str, bool)> = views
        .iter()
        .map(|view| {
            let is_shadowed = matches!(view.status, ObjectStatus::Shadowed { .. });
            (view.file.as_str(), is_shadowed)
        })
        .collect();
    assert_eq!(
        statuses,
        [("api.example.com.yaml", false), ("b.yaml", true)]
    );
}
