use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use crate::api::{LoadBalancer, Object, OutlierDetection, TrafficPolicy, Warmup};
use crate::compile::{Program, ServiceKey, compile};
use crate::model::fixtures::{endpoint, entry, rule, snapshot};
use crate::model::{Fact, ServiceVitals, Vital};

use super::ejection::Ejection;
use super::{Failure, Monitor, Record, warmup};

mod kept;
mod probed;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key() -> ServiceKey {
    ServiceKey {
        namespace: "default".into(),
        host: "a.example".into(),
        port: 80,
        transport: agent_common::abi::TCP,
        route: None,
        clients: None,
    }
}

fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

fn object(count: u8) -> Object {
    let endpoints = (1..=count).map(|number| endpoint(&at(number).ip().to_string()));
    entry("a.example").with_endpoints(endpoints.collect())
}

/// One service with that policy and the endpoints 10.0.0.1 to `count`.
fn program(policy: &TrafficPolicy, count: u8) -> Program {
    of_object(object(count), policy)
}

/// The same, whose endpoints are probed every 10 s.
fn probed_program(policy: &TrafficPolicy, count: u8) -> Program {
    let mut object = object(count);
    let annotation = ("shunt.internal/probe-interval".to_owned(), "10s".to_owned());
    object.meta.annotations.extend([annotation]);
    of_object(object, policy)
}

fn of_object(object: Object, policy: &TrafficPolicy) -> Program {
    let objects = [
        object,
        rule("r", "a.example").ruling(|rule| rule.traffic_policy = Some(policy.clone())),
    ];
    compile(&snapshot(&objects)).program
}

fn detecting(change: impl FnOnce(&mut OutlierDetection)) -> TrafficPolicy {
    let mut detection = OutlierDetection {
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    };
    change(&mut detection);
    TrafficPolicy {
        outlier_detection: Some(detection),
        ..TrafficPolicy::default()
    }
}

fn watching(policy: &TrafficPolicy, count: u8) -> Monitor {
    let mut monitor = Monitor::default();
    assert!(
        monitor
            .watch(&program(policy, count), seconds(0))
            .is_empty()
    );
    monitor
}

/// Who is left out, by the last octet.
fn ejected(fact: Option<Fact>) -> Option<Vec<u8>> {
    let Some(Fact::Vitals { vitals, .. }) = fact else {
        return None;
    };
    Some(numbers(&vitals))
}

fn numbers(vitals: &ServiceVitals) -> Vec<u8> {
    let number = |at: &SocketAddr| match at {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(_) => 0,
    };
    vitals.keys().map(number).collect()
}

fn fail(monitor: &mut Monitor, number: u8, in_a_row: u32, now: u64) -> Option<Vec<u8>> {
    let failure = Failure::Refused;
    ejected(monitor.failed(&key(), at(number), failure, in_a_row, seconds(now)))
}

#[test]
fn the_failure_that_crosses_the_threshold_ejects() {
    let mut monitor = watching(&detecting(|_| ()), 3);
    for in_a_row in 1..5 {
        assert_eq!(fail(&mut monitor, 1, in_a_row, 1), None);
    }
    assert_eq!(fail(&mut monitor, 1, 5, 1), Some(vec![1]));
    assert_eq!(fail(&mut monitor, 1, 6, 1), None, "it is out already");
    let record = Record {
        count: 1,
        until: Some(seconds(31)),
        failure: Failure::Refused,
        in_a_row: 5,
    };
    assert_eq!(*monitor.records_of(&key()), [(at(1), record)].into());
}

#[test]
fn an_ejected_endpoint_returns_with_the_first_interval_after_its_time() {
    let mut monitor = watching(&detecting(|d| d.base_ejection_time = seconds(15)), 2);
    fail(&mut monitor, 1, 5, 1);
    assert!(monitor.tick(seconds(10)).is_empty());
    assert!(
        monitor.tick(seconds(16)).is_empty(),
        "between two intervals"
    );
    let news = monitor.tick(seconds(20));
    assert_eq!(
        news.into_iter().map(Some).map(ejected).collect::<Vec<_>>(),
        [Some(vec![])]
    );
    let record = monitor.records()[&key()][&at(1)];
    assert_eq!((record.count, record.until), (1, None));
}

#[test]
fn each_ejection_is_longer_and_each_interval_without_one_shorter() {
    let detection = OutlierDetection::default();
    let mut ejection = Ejection::default();
    for times in 1..=12 {
        ejection.eject(seconds(0), &detection);
        assert_eq!(
            ejection.duration(&detection),
            seconds(30 * times).min(seconds(300))
        );
        assert!(
            ejection.sweep(seconds(1000), &detection),
            "its time is over"
        );
    }
    assert_eq!(
        ejection.multiplier, 11,
        "once above the cap it does not grow"
    );
    for _ in 0..20 {
        ejection.sweep(seconds(2000), &detection);
    }
    ejection.eject(seconds(3000), &detection);
    assert_eq!(ejection.duration(&detection), seconds(30));
}

#[test]
fn a_base_time_above_the_cap_is_the_cap() {
    let detection = OutlierDetection {
        base_ejection_time: seconds(900),
        ..OutlierDetection::default()
    };
    let mut ejection = Ejection::default();
    for _ in 0..3 {
        ejection.eject(seconds(0), &detection);
        assert_eq!(ejection.duration(&detection), seconds(900));
    }
}

#[test]
fn the_percentage_bounds_how_many_are_out_but_one_always_may_be() {
    for (percent, count, expected) in [(10, 3, 1), (50, 4, 2), (10, 20, 2), (49, 4, 1)] {
        let mut monitor = watching(&detecting(|d| d.max_ejection_percent = percent), count);
        let mut out = Vec::new();
        for number in 1..=count {
            out = fail(&mut monitor, number, 5, 1).unwrap_or(out);
        }
        assert_eq!(out.len(), expected, "{percent} % of {count}");
    }
}

#[test]
fn the_last_endpoint_that_is_in_is_never_ejected() {
    let mut monitor = watching(&detecting(|_| ()), 2);
    assert_eq!(fail(&mut monitor, 1, 5, 1), Some(vec![1]));
    assert_eq!(fail(&mut monitor, 2, 5, 1), None);
    let mut alone = watching(&detecting(|_| ()), 1);
    assert_eq!(fail(&mut alone, 1, 500, 1), None);
}

#[test]
fn failures_that_ejected_do_not_count_again_after_the_return() {
    let mut monitor = watching(&detecting(|_| ()), 2);
    fail(&mut monitor, 1, 5, 1);
    monitor.tick(seconds(40));
    assert_eq!(fail(&mut monitor, 1, 6, 41), None);
    assert_eq!(fail(&mut monitor, 1, 9, 41), None);
    assert_eq!(fail(&mut monitor, 1, 10, 41), Some(vec![1]));
}

#[test]
fn a_success_in_between_starts_the_count_anew() {
    let mut monitor = watching(&detecting(|_| ()), 2);
    fail(&mut monitor, 1, 5, 1);
    monitor.tick(seconds(40));
    assert_eq!(fail(&mut monitor, 1, 1, 41), None);
    assert_eq!(fail(&mut monitor, 1, 5, 41), Some(vec![1]));
}

#[test]
fn endpoints_keep_their_ejection_when_others_come_and_go() {
    let policy = detecting(|_| ());
    let mut monitor = watching(&policy, 3);
    fail(&mut monitor, 1, 5, 1);
    assert!(monitor.watch(&program(&policy, 4), seconds(2)).is_empty());
    assert_eq!(monitor.records_of(&key())[&at(1)].count, 1);
    let news = monitor.watch(&program(&TrafficPolicy::default(), 4), seconds(3));
    assert_eq!(
        news.into_iter().map(Some).map(ejected).collect::<Vec<_>>(),
        [Some(vec![])],
        "without detection nobody is out"
    );
}

#[test]
fn a_service_that_asks_for_nothing_is_not_watched() {
    let mut monitor = watching(&TrafficPolicy::default(), 3);
    assert_eq!(fail(&mut monitor, 1, 500, 1), None);
}

fn warming(aggression: u32, minimum_percent: u32) -> Warmup {
    Warmup {
        duration: seconds(100),
        minimum_percent,
        aggression,
    }
}

#[test]
fn a_new_endpoint_warms_up_as_envoy_has_it() {
    let linear = warming(1000, 10);
    for (age, expected) in [
        (0, 100),
        (10, 100),
        (25, 250),
        (99, 990),
        (100, 1000),
        (500, 1000),
    ] {
        assert_eq!(
            warmup::thousandths(&linear, seconds(age)),
            expected,
            "at {age} s"
        );
    }
    // (25 / 100) ^ (1 / 2)
    assert_eq!(warmup::thousandths(&warming(2000, 10), seconds(25)), 500);
    // The first second counts as one.
    assert_eq!(warmup::thousandths(&warming(1000, 0), seconds(0)), 10);
}

#[test]
fn only_who_joins_others_warms_up() {
    let policy = TrafficPolicy {
        load_balancer: Some(LoadBalancer {
            warmup: Some(warming(1000, 10)),
            ..LoadBalancer::default()
        }),
        ..TrafficPolicy::default()
    };
    let mut monitor = watching(&policy, 2);
    let told = |facts: Vec<Fact>| -> Vec<ServiceVitals> {
        let vitals = |fact| match fact {
            Fact::Vitals { vitals, .. } => vitals,
            _ => panic!("health is told of alone"),
        };
        facts.into_iter().map(vitals).collect()
    };
    let joined = told(monitor.watch(&program(&policy, 3), seconds(50)));
    assert_eq!(
        joined,
        [ServiceVitals::from([(at(3), Vital::Warming(100))])]
    );
    let later = told(monitor.tick(seconds(100)));
    assert_eq!(later, [ServiceVitals::from([(at(3), Vital::Warming(500))])]);
    assert_eq!(told(monitor.tick(seconds(150))), [ServiceVitals::new()]);
}

proptest! {
    /// Whatever fails whenever: never are more out than may be, and nobody is out for ever.
    #[test]
    fn ejections_stay_within_bounds(
        percent in 1u32..=100,
        count in 1u8..12,
        events in proptest::collection::vec((1u8..12, 1u32..20, 0u64..40), 0..60),
    ) {
        let mut monitor = watching(&detecting(|d| d.max_ejection_percent = percent), count);
        let allowed = (usize::from(count) * percent as usize / 100).max(1).min(usize::from(count) - 1);
        let mut now = 0;
        let mut out = Vec::new();
        for (number, in_a_row, wait) in events {
            now += wait;
            for fact in monitor.tick(seconds(now)) {
                out = ejected(Some(fact)).unwrap();
            }
            out = fail(&mut monitor, number, in_a_row, now).unwrap_or(out);
            prop_assert!(out.len() <= allowed, "{out:?} of {count}");
        }
        for fact in monitor.tick(seconds(now + 1000)) {
            out = ejected(Some(fact)).unwrap();
        }
        prop_assert!(out.is_empty(), "{out:?}");
    }
}
