//! What least request is good for: clients of two endpoints, of which one is slow, in simulated time.

use std::collections::BTreeMap;

use agent_common::Verdict;

use crate::api::Algorithm;

use super::algorithms::{Numbers, connect, dataplane, policy};

const REQUESTS: usize = 20_000;
/// Microseconds that a connection is open where nobody waits before it.
const FAST: u64 = 1_000;
const SLOW: u64 = 10 * FAST;
/// Microseconds between connects, on the average.
const PAUSE: u32 = 6_000;

/// Numbers that are the same in every run (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 32).expect("half of it")
    }
}

struct Course {
    /// Of 1000 connects.
    to_the_slow: usize,
    /// Time from connect to close that 99 of 100 did not exceed.
    p99: u64,
}

/// Each endpoint serves one connection at a time, in their order.
fn simulate(algorithm: Algorithm) -> Course {
    let endpoints = [("10.0.0.1:80", 1), ("10.0.0.2:80", 1)];
    let mut dataplane = dataplane(&endpoints, policy(algorithm), |_| {});
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut now, mut free) = (0u64, BTreeMap::new());
    let mut open: Vec<(u64, u32)> = Vec::new();
    let (mut times, mut to_the_slow) = (Vec::new(), 0);
    let slow = dataplane.names().endpoints.iter().map(|(id, _)| id).max();
    for _ in 0..REQUESTS {
        now += u64::from(random.next() % (2 * PAUSE));
        open.retain(|(until, _)| *until > now);
        dataplane.store.open.clear();
        for (_, endpoint) in &open {
            *dataplane.store.open.entry(*endpoint).or_default() += 1;
        }
        let numbers = Numbers {
            first: random.next(),
            second: random.next(),
            ..Numbers::default()
        };
        let Verdict::Rewrite { endpoint, .. } = connect(&dataplane, numbers) else {
            panic!("every connect is sent on");
        };
        let is_slow = Some(endpoint) == slow;
        let free = free.entry(endpoint).or_insert(0);
        *free = now.max(*free) + if is_slow { SLOW } else { FAST };
        open.push((*free, endpoint));
        times.push(*free - now);
        to_the_slow += usize::from(is_slow);
    }
    times.sort_unstable();
    Course {
        to_the_slow: to_the_slow * 1000 / REQUESTS,
        p99: times[REQUESTS * 99 / 100],
    }
}

#[test]
fn least_request_spares_an_endpoint_that_is_slow() {
    let random = simulate(Algorithm::Random);
    let least = simulate(Algorithm::LeastRequest);

    assert!(
        random.to_the_slow.abs_diff(500) < 15,
        "{}",
        random.to_the_slow
    );
    assert!(least.to_the_slow < 400, "{}", least.to_the_slow);
    assert!(
        least.p99 * 2 < random.p99,
        "{} µs instead of {} µs",
        least.p99,
        random.p99
    );
}
