//! Endpoints and services that policies deny, over tables in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use agent_common::abi::UNCOUNTED;
use agent_common::{Family, Reason, Verdict};

use crate::api::Algorithm;
use crate::compile::{Access, Action, RefuseReason, Ruling};

use super::super::memory::MemoryDataplane;
use super::algorithms::{Numbers, connect, dataplane, policy, reached_again};

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

/// A service of these endpoints, of which some are denied.
fn with_denied(
    endpoints: &[(&str, u64)],
    denied: &[usize],
    algorithm: Algorithm,
) -> MemoryDataplane {
    dataplane(endpoints, policy(algorithm), |service| {
        for &index in denied {
            service.endpoints[index].access = Some(Arc::new(Access {
                ruling: Ruling::Denied,
                ..Access::default()
            }));
        }
    })
}

fn name(dataplane: &MemoryDataplane, endpoint: u32) -> String {
    let (_, address, port) = dataplane.names().endpoint(endpoint).unwrap();
    SocketAddr::new(address, port).to_string()
}

/// How many of some connects get where; a denied endpoint is marked with an exclamation mark.
fn spread(dataplane: &MemoryDataplane) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let draws = (0u32..64).map(|step| step << 26);
    for first in draws.clone() {
        for second in draws.clone() {
            let numbers = Numbers {
                first,
                second,
                turn: first >> 26,
                ..Numbers::default()
            };
            let to = match connect(dataplane, numbers) {
                Verdict::Rewrite { endpoint, .. } => name(dataplane, endpoint),
                Verdict::Deny {
                    service: Some(_),
                    endpoint,
                    reason: Reason::Policy,
                } => format!("!{}", name(dataplane, endpoint)),
                other => panic!("{other:?}"),
            };
            *counts.entry(to).or_default() += 1;
        }
    }
    counts
}

#[test]
fn a_denied_endpoint_keeps_its_share_by_any_algorithm() {
    for algorithm in [
        Algorithm::Random,
        Algorithm::LeastRequest,
        Algorithm::RoundRobin,
    ] {
        let mut dataplane = with_denied(&[(A, 1), (B, 1)], &[1], algorithm);
        // It has nothing open, and must not be preferred for that.
        let ids: Vec<u32> = dataplane
            .names()
            .endpoints
            .iter()
            .map(|(id, _)| id)
            .collect();
        for id in ids {
            if name(&dataplane, id) == A {
                dataplane.store.open.insert(id, 100);
            }
        }
        let expected = [(A.to_owned(), 2048), (format!("!{B}"), 2048)];
        assert_eq!(spread(&dataplane), expected.into(), "{algorithm:?}");
    }
}

#[test]
fn an_endpoint_is_denied_if_any_of_it_is() {
    let twice = [(A, 1), (A, 1)];
    for half in [0, 1] {
        let half = with_denied(&twice, &[half], Algorithm::Random);
        assert_eq!(spread(&half), [(format!("!{A}"), 4096)].into());
    }
    let whole = with_denied(&twice, &[0, 1], Algorithm::Random);
    assert_eq!(spread(&whole), [(format!("!{A}"), 4096)].into());
}

/// A denied endpoint stands before the others of its address, whatever its port.
#[test]
fn every_endpoint_that_is_not_denied_is_kept() {
    let ports = [80, 81, 82, 83, 84].map(|port| format!("10.0.0.1:{port}"));
    let mut endpoints: Vec<(&str, u64)> = ports.iter().map(|at| (at.as_str(), 1)).collect();
    endpoints.extend([("10.0.0.0:90", 1), (B, 1), ("10.0.0.3:1", 1)]);
    for denied in 0u32..1 << endpoints.len() {
        let which = (0..endpoints.len()).filter(|index| denied >> index & 1 == 1);
        let which: Vec<usize> = which.collect();
        let dataplane = with_denied(&endpoints, &which, Algorithm::Random);
        for (index, (at, _)) in endpoints.iter().enumerate() {
            let is_kept = reached_again(&dataplane, Family::V4, at.parse().unwrap()) == *at;
            let is_denied = which.contains(&index);
            assert_eq!(is_kept, !is_denied, "{at} with {which:?} denied");
        }
    }
}

#[test]
fn a_denied_service_is_denied_as_a_whole() {
    let dataplane = dataplane(&[], policy(Algorithm::Random), |service| {
        service.action = Action::Refuse(RefuseReason::Denied);
    });
    let verdict = connect(&dataplane, Numbers::default());
    let denied = Verdict::Deny {
        service: Some(0),
        endpoint: UNCOUNTED,
        reason: Reason::Policy,
    };
    assert_eq!(verdict, denied);
}
