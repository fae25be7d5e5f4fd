//! What follows from probes, and when they are made.

use std::collections::BTreeMap;

use agent_common::abi::EndpointState;

use super::super::probes::{Place, Schedule};
use super::*;

fn probed(policy: &TrafficPolicy, count: u8) -> Monitor {
    let mut monitor = Monitor::default();
    monitor.watch(&probed_program(policy, count), seconds(0));
    monitor
}

/// A probe has ended. Who is left out, if that is different by now.
fn shown(
    monitor: &mut Monitor,
    number: u8,
    result: Result<(), Failure>,
    now: u64,
) -> Option<Vec<u8>> {
    ejected(monitor.probed(&key(), at(number), result, seconds(now)))
}

const TIMED_OUT: Result<(), Failure> = Err(Failure::TimedOut);

#[test]
fn probes_that_fail_in_a_row_eject_as_connects_do() {
    let mut monitor = probed(&detecting(|_| ()), 3);
    for now in 1..5 {
        assert_eq!(shown(&mut monitor, 1, TIMED_OUT, now), None);
    }
    assert_eq!(shown(&mut monitor, 1, TIMED_OUT, 5), Some(vec![1]));
    let record = monitor.records_of(&key())[&at(1)];
    assert_eq!((record.failure, record.in_a_row), (Failure::TimedOut, 5));
}

#[test]
fn a_probe_that_succeeds_starts_the_row_anew() {
    let mut monitor = probed(&detecting(|_| ()), 3);
    for result in [TIMED_OUT, TIMED_OUT, TIMED_OUT, TIMED_OUT, Ok(())].repeat(3) {
        assert_eq!(shown(&mut monitor, 1, result, 1), None);
    }
}

#[test]
fn probes_and_connects_have_a_row_each() {
    let mut monitor = probed(&detecting(|_| ()), 3);
    for in_a_row in 1..5 {
        assert_eq!(fail(&mut monitor, 1, in_a_row, 1), None);
        assert_eq!(shown(&mut monitor, 1, TIMED_OUT, 1), None);
    }
    assert_eq!(fail(&mut monitor, 1, 5, 1), Some(vec![1]));
}

#[test]
fn probes_leave_out_no_more_than_may_be() {
    let mut monitor = probed(&detecting(|d| d.max_ejection_percent = 40), 5);
    let mut out = Vec::new();
    for number in [1, 2, 3, 4, 5].repeat(20) {
        out = shown(&mut monitor, number, TIMED_OUT, 1).unwrap_or(out);
    }
    assert_eq!(out, [1, 2]);
    let mut alone = probed(&detecting(|_| ()), 1);
    for _ in 0..20 {
        assert_eq!(shown(&mut alone, 1, TIMED_OUT, 1), None);
    }
}

#[test]
fn what_probes_show_of_endpoints_that_are_not_probed_is_nothing() {
    let mut monitor = watching(&detecting(|_| ()), 3);
    for _ in 0..20 {
        assert_eq!(shown(&mut monitor, 1, TIMED_OUT, 1), None);
    }
}

/// Of two endpoints the first is ejected at 1 s, for 30 s.
fn one_ejected() -> Monitor {
    let mut monitor = probed(&detecting(|_| ()), 2);
    for _ in 0..5 {
        shown(&mut monitor, 1, TIMED_OUT, 1);
    }
    monitor
}

fn ticked(monitor: &mut Monitor, now: u64) -> Option<Vec<u8>> {
    let mut news = monitor.tick(seconds(now)).into_iter();
    let told = ejected(news.next());
    assert!(news.next().is_none(), "there is one service");
    told
}

#[test]
fn an_endpoint_whose_last_probe_failed_is_ejected_again_without_being_let_in() {
    let mut monitor = one_ejected();
    assert_eq!(shown(&mut monitor, 1, TIMED_OUT, 11), None);
    assert_eq!(
        ticked(&mut monitor, 40),
        Some(vec![1]),
        "told, as it is longer"
    );
    let record = monitor.records_of(&key())[&at(1)];
    assert_eq!((record.count, record.until), (2, Some(seconds(100))));
    assert_eq!(shown(&mut monitor, 1, Ok(()), 50), None);
    assert_eq!(ticked(&mut monitor, 90), None, "no shorter by a success");
    assert_eq!(ticked(&mut monitor, 100), Some(vec![]));
}

#[test]
fn the_only_endpoint_that_is_left_is_let_in_whatever_its_last_probe_showed() {
    let mut monitor = one_ejected();
    monitor.watch(&probed_program(&detecting(|_| ()), 1), seconds(2));
    assert_eq!(
        ticked(&mut monitor, 40),
        Some(vec![]),
        "nobody else is left"
    );
}

#[test]
fn a_row_ends_when_nobody_asks_for_probes_any_more() {
    let policy = detecting(|_| ());
    let mut monitor = one_ejected();
    monitor.watch(&program(&policy, 2), seconds(2));
    assert_eq!(ticked(&mut monitor, 40), Some(vec![]));
}

/// What the kernel counted, by the last octet.
type Counted = BTreeMap<u8, EndpointState>;

/// Who is probed at that second, and at whom connects were seen to succeed.
fn turn(schedule: &mut Schedule, now: u64, counted: Option<&Counted>) -> (Vec<u8>, Vec<u8>) {
    let number = |place: &Place| match place.at {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(_) => 0,
    };
    let state = |place: &Place| Some(counted?.get(&number(place)).copied().unwrap_or_default());
    let turn = schedule.turn(seconds(now), state);
    let mut probes: Vec<u8> = turn.probes.iter().map(|p| number(&p.place)).collect();
    probes.sort_unstable();
    (probes, turn.answered.iter().map(number).collect())
}

fn end(schedule: &mut Schedule, number: u8) {
    let service = key();
    let at = at(number);
    schedule.ended(&Place { service, at });
}

fn scheduled(count: u8) -> Schedule {
    let mut schedule = Schedule::new(1);
    schedule.watch(&probed_program(&detecting(|_| ()), count), seconds(0));
    schedule
}

fn counted(number: u8, succeeded: u32, refused: u32) -> Counted {
    let state = EndpointState {
        succeeded,
        refused,
        ..EndpointState::default()
    };
    Counted::from([(number, state)])
}

#[test]
fn nobody_is_probed_before_an_interval_without_traffic() {
    let mut schedule = scheduled(2);
    assert_eq!(
        turn(&mut schedule, 10, Some(&Counted::new())),
        (vec![], vec![])
    );
    assert_eq!(
        turn(&mut schedule, 20, Some(&Counted::new())),
        (vec![1, 2], vec![])
    );
    assert_eq!(
        turn(&mut schedule, 20, Some(&Counted::new())),
        (vec![], vec![]),
        "once"
    );
}

#[test]
fn an_endpoint_that_clients_connect_to_is_not_probed() {
    let mut schedule = scheduled(2);
    turn(&mut schedule, 10, Some(&Counted::new()));
    assert_eq!(
        turn(&mut schedule, 20, Some(&counted(1, 7, 0))),
        (vec![2], vec![1])
    );
    end(&mut schedule, 2);
    assert_eq!(
        turn(&mut schedule, 30, Some(&counted(1, 7, 1))),
        (vec![2], vec![]),
        "of a failure the kernel tells"
    );
    end(&mut schedule, 2);
    assert_eq!(
        turn(&mut schedule, 40, Some(&counted(1, 7, 1))),
        (vec![1, 2], vec![])
    );
}

#[test]
fn where_nobody_counts_connects_every_endpoint_is_probed() {
    assert_eq!(turn(&mut scheduled(3), 10, None), (vec![1, 2, 3], vec![]));
}

#[test]
fn an_endpoint_is_not_probed_twice_at_once() {
    let mut schedule = scheduled(1);
    assert_eq!(turn(&mut schedule, 10, None).0, [1]);
    assert_eq!(turn(&mut schedule, 20, None).0, [0u8; 0]);
    end(&mut schedule, 1);
    assert_eq!(turn(&mut schedule, 30, None).0, [1]);
}

#[test]
fn probes_are_spread_over_the_interval() {
    let mut schedule = scheduled(200);
    let mut most = 0;
    let mut all = 0;
    for tenth in 1..=100 {
        let now = Duration::from_millis(100 * tenth);
        let turn = schedule.turn(now, |_| None);
        most = most.max(turn.probes.len());
        all += turn.probes.len();
        for probe in turn.probes {
            assert_eq!(probe.timeout, seconds(10));
            schedule.ended(&probe.place);
        }
    }
    assert_eq!(all, 200);
    assert!(most <= 12, "{most} within a tenth of a second");
}

#[test]
fn no_more_than_so_many_are_under_way_and_the_others_wait_their_turn() {
    let mut schedule = scheduled(200);
    let mut probed = BTreeMap::new();
    let mut turns = 0;
    while probed.len() < 200 {
        let turn = schedule.turn(seconds(10), |_| None);
        assert!((1..=64).contains(&turn.probes.len()));
        assert_eq!(schedule.next().is_none(), turn.probes.len() == 64);
        for probe in turn.probes {
            schedule.ended(&probe.place);
            *probed.entry(probe.place).or_insert(0) += 1;
        }
        turns += 1;
    }
    assert_eq!(turns, 4);
    assert!(probed.values().all(|times| *times == 1));
}

#[test]
fn what_compiles_anew_does_not_put_off_probes() {
    let mut schedule = scheduled(1);
    turn(&mut schedule, 10, Some(&Counted::new()));
    let due = schedule.next();
    schedule.watch(&probed_program(&detecting(|_| ()), 2), seconds(11));
    assert!(schedule.next() <= due);
    assert!(
        turn(&mut schedule, 20, Some(&Counted::new()))
            .0
            .contains(&1)
    );
    schedule.watch(&program(&detecting(|_| ()), 2), seconds(21));
    assert_eq!(schedule.next(), None, "nobody asks any more");
    end(&mut schedule, 1);
}

#[test]
fn a_probe_takes_no_longer_than_a_connect_may() {
    let policy = TrafficPolicy {
        connection_pool: Some(crate::api::ConnectionPool {
            connect_timeout: Some(seconds(3)),
            ..crate::api::ConnectionPool::default()
        }),
        ..detecting(|_| ())
    };
    let mut schedule = Schedule::new(1);
    schedule.watch(&probed_program(&policy, 1), seconds(0));
    let turn = schedule.turn(seconds(10), |_| None);
    assert_eq!(turn.probes[0].timeout, seconds(3));
}

proptest! {
    /// Whatever probes and connects show, and whenever: never are more out than may be, and whoever is seen to work comes back.
    #[test]
    fn ejections_by_probes_stay_within_bounds(
        percent in 1u32..=100,
        count in 1u8..12,
        events in proptest::collection::vec((1u8..12, 0u32..20, 0u64..40), 0..120),
    ) {
        let mut monitor = probed(&detecting(|d| d.max_ejection_percent = percent), count);
        let allowed = (usize::from(count) * percent as usize / 100).max(1).min(usize::from(count) - 1);
        let mut now = 0;
        let mut out = Vec::new();
        for (number, in_a_row, wait) in events {
            now += wait;
            out = ticked(&mut monitor, now).unwrap_or(out);
            prop_assert!(out.len() <= allowed, "{out:?} of {count}");
            let change = match in_a_row {
                0..10 => shown(&mut monitor, number, TIMED_OUT, now),
                10 => shown(&mut monitor, number, Ok(()), now),
                _ => fail(&mut monitor, number, in_a_row, now),
            };
            out = change.unwrap_or(out);
            prop_assert!(out.len() <= allowed, "{out:?} of {count}");
        }
        for number in 1..=count {
            shown(&mut monitor, number, Ok(()), now);
        }
        out = ticked(&mut monitor, now + 1000).unwrap_or(out);
        prop_assert!(out.is_empty(), "{out:?}");
    }
}
