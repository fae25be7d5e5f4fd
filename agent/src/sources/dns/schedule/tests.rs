use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

fn names(list: &[&str]) -> BTreeSet<Arc<str>> {
    list.iter().map(|name| Arc::from(*name)).collect()
}

fn question(host: &str, family: Family) -> Question {
    Question {
        host: host.into(),
        family,
    }
}

fn addresses(list: &[&str], ttl: u64) -> Outcome {
    Outcome::Addresses {
        addresses: list.iter().map(|addr| addr.parse().unwrap()).collect(),
        ttl: Duration::from_secs(ttl),
    }
}

fn no_record() -> Outcome {
    Outcome::Negative {
        reason: "none".to_owned(),
        ttl: Some(Duration::from_secs(30)),
    }
}

fn failed() -> Outcome {
    Outcome::Failed("time-out".to_owned())
}

/// A schedule of the one name `a`, with both questions asked.
fn asked(start: Instant) -> Schedule {
    let mut schedule = Schedule::new(Timing::default());
    schedule.demand(&names(&["a"]), start);
    assert_eq!(schedule.take_due(start, 10).len(), 2);
    schedule
}

fn conclude(
    schedule: &mut Schedule,
    family: Family,
    outcome: Outcome,
    now: Instant,
) -> Option<Answer> {
    schedule.conclude(question("a", family), outcome, now, 0.0)
}

fn texts(answer: &Answer) -> Vec<String> {
    answer.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_name_is_asked_for_at_once_and_only_once() {
    let start = Instant::now();
    let mut schedule = asked(start);
    assert_eq!(schedule.take_due(start, 10), []);
    schedule.demand(&names(&["a"]), start);
    assert_eq!(schedule.take_due(start, 10), []);
    assert_eq!(schedule.next_wake(), None);
}

#[test]
fn no_more_questions_are_taken_than_there_is_room_for() {
    let start = Instant::now();
    let mut schedule = Schedule::new(Timing::default());
    schedule.demand(&names(&["a", "b", "c"]), start);
    assert_eq!(schedule.take_due(start, 4).len(), 4);
    assert_eq!(schedule.take_due(start, 4).len(), 2);
}

#[test]
fn ipv4_comes_first_and_each_family_keeps_the_order_of_its_answer() {
    let start = Instant::now();
    let mut schedule = asked(start);
    assert_eq!(
        conclude(
            &mut schedule,
            Family::V6,
            addresses(&["::2", "::1"], 30),
            start
        ),
        None,
        "IPv4 may yet come"
    );
    let answer = conclude(
        &mut schedule,
        Family::V4,
        addresses(&["10.0.0.2", "10.0.0.1"], 30),
        start,
    );
    assert_eq!(
        texts(&answer.unwrap()),
        ["10.0.0.2", "10.0.0.1", "::2", "::1"]
    );
}

#[test]
fn a_failing_family_does_not_hide_the_other() {
    let start = Instant::now();
    let mut schedule = asked(start);
    conclude(&mut schedule, Family::V4, failed(), start);
    let answer = conclude(&mut schedule, Family::V6, addresses(&["::1"], 30), start).unwrap();
    assert_eq!(
        (texts(&answer), answer.failure),
        (vec!["::1".to_owned()], None)
    );
}

#[test]
fn a_failure_keeps_the_last_good_answer_and_says_why() {
    let start = Instant::now();
    let mut schedule = asked(start);
    conclude(
        &mut schedule,
        Family::V4,
        addresses(&["10.0.0.1"], 5),
        start,
    );
    conclude(&mut schedule, Family::V6, no_record(), start);
    let later = start + Duration::from_secs(5);
    assert_eq!(schedule.take_due(later, 10), [question("a", Family::V4)]);
    let answer = conclude(&mut schedule, Family::V4, failed(), later).unwrap();
    assert_eq!(texts(&answer), ["10.0.0.1"]);
    assert_eq!(answer.failure.as_deref(), Some("A: time-out"));
    assert_eq!(schedule.next_wake(), Some(later + Duration::from_secs(1)));
}

#[test]
fn a_negative_answer_takes_the_addresses_away() {
    let start = Instant::now();
    let mut schedule = asked(start);
    conclude(&mut schedule, Family::V6, no_record(), start);
    conclude(
        &mut schedule,
        Family::V4,
        addresses(&["10.0.0.1"], 5),
        start,
    );
    let later = start + Duration::from_secs(5);
    schedule.take_due(later, 10);
    let answer = conclude(&mut schedule, Family::V4, no_record(), later).unwrap();
    assert_eq!(answer.addresses, Vec::<IpAddr>::new());
    assert_eq!(answer.failure.as_deref(), Some("A: none; AAAA: none"));
}

#[test]
fn retries_double_up_to_the_refresh_rate() {
    let start = Instant::now();
    let mut schedule = asked(start);
    let mut now = start;
    let waits: Vec<u64> = (0..8)
        .map(|_| {
            conclude(&mut schedule, Family::V4, failed(), now);
            let at = schedule.next_wake().unwrap();
            let wait = at - now;
            now = at;
            schedule.take_due(now, 10);
            wait.as_secs()
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn an_outcome_for_a_name_that_is_no_longer_wanted_is_dropped() {
    let start = Instant::now();
    let mut schedule = asked(start);
    schedule.demand(&BTreeSet::new(), start);
    assert_eq!(
        conclude(
            &mut schedule,
            Family::V4,
            addresses(&["10.0.0.1"], 5),
            start
        ),
        None
    );
    assert_eq!(schedule.next_wake(), None);
    assert_eq!(schedule.status(start), []);
}

#[test]
fn expiry_makes_everything_due_but_what_is_being_asked() {
    let start = Instant::now();
    let mut schedule = asked(start);
    conclude(
        &mut schedule,
        Family::V4,
        addresses(&["10.0.0.1"], 300),
        start,
    );
    schedule.expire_all(start);
    assert_eq!(schedule.take_due(start, 10), [question("a", Family::V4)]);
}

#[test]
fn status_tells_age_next_question_and_failures() {
    let start = Instant::now();
    let mut schedule = asked(start);
    conclude(
        &mut schedule,
        Family::V4,
        addresses(&["10.0.0.1"], 30),
        start,
    );
    let status = schedule.status(start + Duration::from_secs(10));
    let v4 = &status[0].families[0];
    assert_eq!(v4.age, Some(Duration::from_secs(10)));
    assert_eq!(v4.next, Some(Duration::from_secs(20)));
    assert_eq!((v4.failures, v4.reason.clone()), (0, None));
    assert_eq!(status[0].families[1].next, None, "AAAA is being asked");
}

#[derive(Clone, Debug)]
enum Step {
    Demand(BTreeSet<Arc<str>>),
    Take(usize),
    Conclude(prop::sample::Index, Outcome, f64),
    Wait(u64),
    Expire,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (0..100_000_u64, 1..5_u8).prop_map(|(ttl, count)| Outcome::Addresses {
            addresses: (0..count)
                .map(|n| Ipv4Addr::new(10, 0, 0, n).into())
                .collect(),
            ttl: Duration::from_secs(ttl),
        }),
        prop::option::of(0..100_000_u64).prop_map(|ttl| Outcome::Negative {
            reason: "none".to_owned(),
            ttl: ttl.map(Duration::from_secs),
        }),
        Just(failed()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4)
            .prop_map(|list| Step::Demand(names(&list))),
        (0..6_usize).prop_map(Step::Take),
        (any::<prop::sample::Index>(), outcome(), 0.0..1.0)
            .prop_map(|(i, o, r)| Step::Conclude(i, o, r)),
        (0..400_000_u64).prop_map(Step::Wait),
        Just(Step::Expire),
    ]
}

/// Every question of every wanted name is either asked or in the queue, and nothing else is.
fn assert_consistent(schedule: &Schedule) {
    let mut waiting = BTreeSet::new();
    for (host, name) in &schedule.names {
        for family in Family::ALL {
            if let Next::At(at) = name.family(family).next {
                waiting.insert((
                    at,
                    Question {
                        host: Arc::clone(host),
                        family,
                    },
                ));
            }
        }
    }
    assert_eq!(waiting, schedule.queue);
}

proptest! {
    #[test]
    fn no_question_is_ever_lost_or_asked_twice_at_once(steps in prop::collection::vec(step(), 1..80)) {
        let mut schedule = Schedule::new(Timing::default());
        let mut now = Instant::now();
        let mut flying: Vec<Question> = Vec::new();
        for step in steps {
            match step {
                Step::Demand(wanted) => {
                    schedule.demand(&wanted, now);
                    flying.retain(|question| wanted.contains(&question.host));
                }
                Step::Take(room) => {
                    let due = schedule.take_due(now, room);
                    prop_assert!(due.len() <= room);
                    for question in due {
                        prop_assert!(!flying.contains(&question));
                        flying.push(question);
                    }
                }
                Step::Conclude(index, outcome, random) if !flying.is_empty() => {
                    let question = flying.swap_remove(index.index(flying.len()));
                    schedule.conclude(question, outcome, now, random);
                }
                Step::Conclude(..) => {}
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Expire => schedule.expire_all(now),
            }
            assert_consistent(&schedule);
        }
    }

    #[test]
    fn every_wait_is_within_its_bounds(outcome in outcome(), random in 0.0..1.0, failures in 0..200_u32) {
        let timing = Timing::default();
        let wait = timing.wait_after(&outcome, failures);
        let (floor, ceiling) = match outcome {
            Outcome::Failed(_) => (timing.retry_first, timing.refresh_rate),
            _ => (timing.ttl_floor, timing.ttl_ceiling),
        };
        prop_assert!(floor <= wait && wait <= ceiling);

        let start = Instant::now();
        let mut schedule = asked(start);
        schedule.conclude(question("a", Family::V4), outcome, start, random);
        let wait = schedule.next_wake().unwrap() - start;
        prop_assert!(floor <= wait && wait < ceiling.mul_f64(1.0 + JITTER));
    }
}
