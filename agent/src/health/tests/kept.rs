//! What becomes of an ejection, or of a warm-up, when the agent is killed and another one goes on.

use crate::health::{KeptHealth, ServiceRecords};

use super::*;

/// A monitor, and what a store holds that has taken in all its changes.
struct Bench {
    policy: TrafficPolicy,
    monitor: Monitor,
    store: KeptHealth,
}

impl Bench {
    fn new(policy: TrafficPolicy, count: u8) -> Self {
        let mut bench = Self {
            monitor: Monitor::default(),
            store: KeptHealth::new(),
            policy,
        };
        bench.watch(count, 0);
        bench
    }

    fn watch(&mut self, count: u8, now: u64) {
        self.monitor
            .watch(&program(&self.policy, count), seconds(now));
        self.keep();
    }

    fn fail(&mut self, number: u8, in_a_row: u32, now: u64) -> Option<Vec<u8>> {
        let out = fail(&mut self.monitor, number, in_a_row, now);
        self.keep();
        out
    }

    fn tick(&mut self, now: u64) {
        self.monitor.tick(seconds(now));
        self.keep();
    }

    /// Returns of how many services something was to be kept.
    fn keep(&mut self) -> usize {
        let changes = self.monitor.take_changes();
        let count = changes.len();
        self.store.extend(changes);
        self.store.retain(|_, kept| !kept.is_empty());
        count
    }

    /// Another monitor, which knows no endpoint yet. What is kept is read as it was written.
    fn restart(&mut self) {
        let json: Vec<String> = self
            .store
            .values()
            .map(|kept| serde_json::to_string(kept).unwrap())
            .collect();
        let read = json.iter().map(|json| serde_json::from_str(json).unwrap());
        let keys = self.store.keys().cloned();
        self.monitor = Monitor::recalling(keys.zip(read).collect());
    }

    fn vitals(&mut self, count: u8, now: u64) -> ServiceVitals {
        let news = self
            .monitor
            .watch(&program(&self.policy, count), seconds(now));
        match news.into_iter().next() {
            Some(Fact::Vitals { vitals, .. }) => vitals,
            None => ServiceVitals::new(),
            other => panic!("{other:?}"),
        }
    }

    fn records(&self) -> ServiceRecords {
        self.monitor.records_of(&key())
    }
}

#[test]
fn an_ejection_goes_on_for_as_long_as_it_would_have() {
    let mut bench = Bench::new(detecting(|_| ()), 3);
    bench.fail(1, 5, 100);
    let before = bench.records();
    bench.restart();

    assert_eq!(
        bench.vitals(3, 110),
        [(at(1), Vital::Ejected)].into(),
        "it is out from the first"
    );
    assert_eq!(bench.records(), before);
    assert_eq!(bench.keep(), 0, "it is kept already");
    bench.tick(125);
    assert!(bench.records()[&at(1)].until.is_some());
    bench.tick(136);
    assert_eq!(bench.records()[&at(1)].until, None);
    assert_eq!(fail(&mut bench.monitor, 1, 9, 137), None, "5 were counted");
    bench.fail(1, 10, 138);
    let record = bench.records()[&at(1)];
    assert_eq!(
        (record.count, record.until),
        (2, Some(seconds(198))),
        "the second is twice as long"
    );
}

#[test]
fn an_ejection_that_ends_while_no_agent_runs_is_over_at_once() {
    let mut bench = Bench::new(detecting(|_| ()), 3);
    bench.fail(1, 5, 100);
    bench.restart();
    assert_eq!(bench.vitals(3, 130), ServiceVitals::new());
    assert_eq!(bench.records()[&at(1)].until, None);
    assert_eq!(bench.records()[&at(1)].count, 1);
    assert_eq!(bench.keep(), 1);
    bench.restart();
    bench.watch(3, 131);
    assert_eq!(bench.records()[&at(1)].count, 1);
}

#[test]
fn intervals_without_an_agent_are_forgiven_like_others() {
    for (away, expected) in [(0, 120), (15, 90), (1000, 30)] {
        let mut bench = Bench::new(detecting(|_| ()), 3);
        for times in 1..=3 {
            bench.fail(1, 5 * times, 0);
            bench.tick(u64::from(times) * 1000);
        }
        bench.restart();
        bench.watch(3, 3000 + away);
        bench.fail(1, 100, 3000 + away);
        let until = bench.records()[&at(1)].until;
        assert_eq!(until, Some(seconds(3000 + away + expected)), "{away} s");
    }
}

#[test]
fn no_clock_makes_an_ejection_longer_than_it_was_to_be() {
    let mut bench = Bench::new(detecting(|_| ()), 3);
    bench.fail(1, 5, 1_000_000);
    bench.restart();
    bench.watch(3, 50);
    assert_eq!(bench.records()[&at(1)].until, Some(seconds(80)));
}

#[test]
fn who_comes_later_is_known_until_all_had_their_time() {
    for (is_settled, expected) in [(false, vec![at(2)]), (true, vec![])] {
        let mut bench = Bench::new(detecting(|_| ()), 4);
        bench.fail(2, 5, 10);
        bench.restart();
        // As of a name that has no answer yet.
        bench.watch(1, 11);
        bench.restart();
        bench.watch(1, 12);
        if is_settled {
            bench.monitor.settle(seconds(12));
            bench.keep();
            assert_eq!(bench.store, KeptHealth::new());
        }
        let vitals = bench.vitals(4, 13);
        assert_eq!(vitals.into_keys().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_is_kept_of_a_service_goes_with_it() {
    for is_known in [true, false] {
        let mut bench = Bench::new(detecting(|_| ()), 3);
        bench.fail(1, 5, 10);
        assert_eq!(bench.store.len(), 1);
        if !is_known {
            bench.restart();
        }
        bench.monitor.watch(&Program::default(), seconds(11));
        bench.monitor.settle(seconds(11));
        bench.keep();
        assert_eq!(bench.store, KeptHealth::new());
    }
}

#[test]
fn a_warm_up_goes_on_and_is_kept_once() {
    let policy = TrafficPolicy {
        load_balancer: Some(LoadBalancer {
            warmup: Some(warming(1000, 10)),
            ..LoadBalancer::default()
        }),
        ..TrafficPolicy::default()
    };
    let mut bench = Bench::new(policy, 2);
    bench.watch(3, 50);
    assert_eq!(bench.store.len(), 1);
    bench.monitor.tick(seconds(90));
    assert_eq!(bench.keep(), 0);
    bench.restart();
    assert_eq!(bench.vitals(3, 100), [(at(3), Vital::Warming(500))].into());
    bench.tick(151);
    assert_eq!(bench.store, KeptHealth::new(), "it is warm");
}

proptest! {
    /// Whatever happened: an agent that is killed and started again at once knows what it knew.
    #[test]
    fn a_restart_at_any_moment_changes_nothing(
        percent in 1u32..=100,
        count in 2u8..8,
        events in proptest::collection::vec((1u8..8, 1u32..20, 0u64..40), 1..40),
    ) {
        let mut bench = Bench::new(detecting(|d| d.max_ejection_percent = percent), count);
        let mut now = 0;
        for (number, in_a_row, wait) in events {
            now += wait;
            // Whose time is over while no agent runs comes back at once, and not with an interval.
            bench.tick(now);
            let is_over = |until: Duration| until <= seconds(now);
            let is_late = bench.records().values().any(|record| record.until.is_some_and(is_over));
            bench.fail(number, in_a_row, now);
            let (records, vitals) = (bench.records(), numbers(&out(&bench)));
            if !is_late {
                bench.restart();
                prop_assert_eq!(numbers(&bench.vitals(count, now)), vitals);
                prop_assert_eq!(bench.records(), records);
                prop_assert_eq!(bench.keep(), 0);
            }
        }
    }
}

/// Who is out, as records say.
fn out(bench: &Bench) -> ServiceVitals {
    let records = bench.records();
    let out = records.iter().filter(|(_, record)| record.until.is_some());
    out.map(|(at, _)| (*at, Vital::Ejected)).collect()
}
