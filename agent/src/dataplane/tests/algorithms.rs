//! Which endpoint a connect gets, by each algorithm, over tables in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use agent_common::abi::{Address, DEFAULT_SCOPE, Outbound, Port, TCP, UNCOUNTED};
use agent_common::{Client, Connect, Family, Reason, Verdict, decide};
use proptest::prelude::*;

use crate::api::{Algorithm, ConnectionPool, HashTable};
use crate::compile::{Policy, Program, Service};
use crate::dataplane::Limits;

use super::super::address;
use super::super::memory::MemoryDataplane;
use super::programs::{add, key, service};

/// A client whose numbers a test chooses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    pub first: u32,
    pub second: u32,
    pub turn: u32,
    pub source: u32,
    pub is_open: bool,
    pub kept: Option<(Address, Port)>,
}

impl Client for Numbers {
    fn random(&mut self) -> u32 {
        std::mem::replace(&mut self.first, self.second)
    }

    fn turn(&mut self, _service: u32) -> u32 {
        self.turn
    }

    fn source(&mut self) -> u32 {
        self.source
    }

    fn is_open_at(&mut self, _service: u32) -> bool {
        self.is_open
    }

    fn kept(&mut self) -> Option<(Address, Port)> {
        self.kept
    }
}

pub(super) fn policy(algorithm: Algorithm) -> Policy {
    Policy {
        algorithm,
        ..Policy::default()
    }
}

/// One service, behind 240.240.0.1.
pub(super) fn dataplane(
    endpoints: &[(&str, u64)],
    policy: Policy,
    change: impl FnOnce(&mut Service),
) -> MemoryDataplane {
    let mut program = Program::default();
    add(&mut program, "a", &["240.240.0.1"], endpoints);
    let mut service = Arc::unwrap_or_clone(service(endpoints));
    service.clusters[0].policy = Arc::new(policy);
    change(&mut service);
    program.services.insert(key("a"), Arc::new(service));
    let mut dataplane = MemoryDataplane::in_memory(&Limits::small());
    assert_eq!(dataplane.apply(&program).diagnostics, []);
    dataplane
}

pub(super) fn connect(dataplane: &MemoryDataplane, mut numbers: Numbers) -> Verdict {
    decide(dataplane.tables(), &asked(), &mut numbers)
}

fn asked() -> Connect {
    let to: IpAddr = "240.240.0.1".parse().unwrap();
    Connect {
        family: Family::V4,
        address: address::from_ip(to),
        port: Port::new(80),
        protocol: TCP,
        scope: DEFAULT_SCOPE,
        names: 0,
        outbound: Outbound::AllowAny,
    }
}

fn reached(verdict: Verdict) -> String {
    match verdict {
        Verdict::Rewrite { address, port, .. } => {
            SocketAddr::new(address::to_ip(address), port.get()).to_string()
        }
        other => format!("{other:?}"),
    }
}

/// What an unconnected socket of the family reaches that was sent to `place` the last time.
pub(super) fn reached_again(
    dataplane: &MemoryDataplane,
    family: Family,
    place: SocketAddr,
) -> String {
    let asked = Connect { family, ..asked() };
    let mut numbers = Numbers {
        kept: Some((address::from_ip(place.ip()), Port::new(place.port()))),
        ..Numbers::default()
    };
    reached(decide(dataplane.tables(), &asked, &mut numbers))
}

fn endpoint(dataplane: &MemoryDataplane, at: &str) -> u32 {
    let names = dataplane.names();
    let mut ids = names.endpoints.iter().map(|(id, _)| id);
    let is_it = |id: &u32| {
        let (_, address, port) = names.endpoint(*id).unwrap();
        format!("{address}:{port}") == at
    };
    ids.find(is_it).unwrap()
}

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";

#[test]
fn of_two_that_are_drawn_the_less_busy_for_its_weight_is_taken() {
    let mut dataplane = dataplane(&[(A, 3), (B, 1)], Policy::default(), |_| {});
    let (a, b) = (endpoint(&dataplane, A), endpoint(&dataplane, B));
    // The columns are each half of the numbers; a's is all a's, b's half b's.
    let (to_a, to_b) = (0, 1 << 31);
    let both = |dataplane: &MemoryDataplane| {
        [(to_a, to_b), (to_b, to_a)].map(|(first, second)| {
            let numbers = Numbers {
                first,
                second,
                ..Numbers::default()
            };
            reached(connect(dataplane, numbers))
        })
    };
    assert_eq!(both(&dataplane), [A, B], "nothing is open");
    for (open_a, open_b, expected) in [
        (1, 0, [B, B]),
        (0, 1, [A, A]),
        (3, 1, [A, B]),
        (4, 1, [B, B]),
        (2, 1, [A, A]),
        (u32::MAX, u32::MAX, [A, A]),
    ] {
        dataplane.store.open = BTreeMap::from([(a, open_a), (b, open_b)]);
        assert_eq!(both(&dataplane), expected, "{open_a} and {open_b} are open");
    }
}

#[test]
fn random_looks_at_nothing_that_is_open() {
    let mut dataplane = dataplane(&[(A, 1), (B, 1)], policy(Algorithm::Random), |_| {});
    dataplane.store.open.insert(endpoint(&dataplane, A), 1000);
    let numbers = Numbers {
        second: 1 << 31,
        ..Numbers::default()
    };
    assert_eq!(reached(connect(&dataplane, numbers)), A);
}

#[test]
fn round_robin_gives_each_its_turns() {
    let turns = |endpoints: &[(&str, u64)]| {
        let dataplane = dataplane(endpoints, policy(Algorithm::RoundRobin), |_| {});
        let turns = (0..8).map(|turn| {
            let numbers = Numbers {
                turn,
                ..Numbers::default()
            };
            reached(connect(&dataplane, numbers))
        });
        turns.collect::<Vec<_>>()
    };
    assert_eq!(turns(&[(A, 7), (B, 7), (C, 7)]), [A, B, C, A, B, C, A, B]);
    assert_eq!(turns(&[(A, 1), (B, 2), (C, 1)]), [B, A, B, C, B, A, B, C]);
    assert_eq!(turns(&[(A, 1), (B, 0)]), [A; 8]);
}

#[test]
fn a_source_keeps_its_endpoint_when_another_goes() {
    for by in [
        HashTable::Maglev { size: 4_099 },
        HashTable::Ring { minimum_size: 1024 },
    ] {
        let of = |endpoints: &[(&str, u64)]| {
            dataplane(endpoints, policy(Algorithm::SourceHash(by)), |_| {})
        };
        let (before, after) = (of(&[(A, 1), (B, 1), (C, 1)]), of(&[(A, 1), (C, 1)]));
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        let mut moved = 0;
        for step in 0..1024 {
            let numbers = Numbers {
                source: step << 22,
                ..Numbers::default()
            };
            let (was, is) = (
                reached(connect(&before, numbers)),
                reached(connect(&after, numbers)),
            );
            moved += u32::from(was != B && was != is);
            *counts.entry(was).or_default() += 1;
        }
        assert!(
            counts.values().all(|&count| count > 250),
            "{by:?}: {counts:?}"
        );
        assert!(moved < 150, "{by:?}: {moved} moved");
    }
}

#[test]
fn connects_to_clusters_without_an_endpoint_fail() {
    for algorithm in [
        Algorithm::LeastRequest,
        Algorithm::Random,
        Algorithm::RoundRobin,
        Algorithm::SourceHash(HashTable::Maglev { size: 1021 }),
    ] {
        let dataplane = dataplane(&[(A, 1), (B, 2)], policy(algorithm), |service| {
            service.unserved = 1;
        });
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for step in 0..1024 {
            let random = step << 22;
            let numbers = Numbers {
                first: random,
                second: random,
                turn: step,
                source: random,
                ..Numbers::default()
            };
            *counts
                .entry(reached(connect(&dataplane, numbers)))
                .or_default() += 1;
        }
        let failed = counts.remove(&reached(Verdict::Deny {
            service: Some(0),
            endpoint: UNCOUNTED,
            reason: Reason::NoEndpoint,
        }));
        let near = |count: u32, expected: u32| count.abs_diff(expected) <= 3;
        assert!(
            failed.is_some_and(|count| near(count, 256)),
            "{algorithm:?}: {failed:?}"
        );
        assert!(
            near(counts[A], 256) && near(counts[B], 512),
            "{algorithm:?}: {counts:?}"
        );
    }
}

#[test]
fn a_service_has_no_more_connections_than_it_may() {
    let limit = Policy {
        connection_pool: ConnectionPool {
            max_connections: Some(2),
            ..ConnectionPool::default()
        },
        ..Policy::default()
    };
    let mut dataplane = dataplane(&[(A, 1)], limit, |_| {});
    let service = dataplane.names().services.get(&key("a")).unwrap();
    dataplane.store.open.insert(service, 1);
    assert_eq!(reached(connect(&dataplane, Numbers::default())), A);

    dataplane.store.open.insert(service, 2);
    let overflow = Verdict::Deny {
        service: Some(service),
        endpoint: UNCOUNTED,
        reason: Reason::Overflow,
    };
    assert_eq!(connect(&dataplane, Numbers::default()), overflow);
    let again = Numbers {
        is_open: true,
        ..Numbers::default()
    };
    assert_eq!(
        reached(connect(&dataplane, again)),
        A,
        "it has its place already"
    );
}

const ENDPOINTS: [&str; 6] = [
    "10.0.0.1:80",
    "10.0.0.2:80",
    "10.0.0.3:80",
    "10.0.0.4:80",
    "10.0.0.5:80",
    "[fd00::1]:80",
];

proptest! {
    /// Whatever is open, a connect stays in the pool that was drawn first, and goes to no busier endpoint than that.
    #[test]
    fn pools_keep_their_shares(
        endpoints in prop::collection::vec((0u32..3, 0u64..5, 0u32..5), 1..=ENDPOINTS.len()),
        first: u32, second: u32,
    ) {
        let shares: Vec<(&str, u64)> =
            ENDPOINTS.iter().zip(&endpoints).map(|(at, (_, share, _))| (*at, *share)).collect();
        let priorities = |service: &mut Service| {
            for (endpoint, (priority, ..)) in service.endpoints.iter_mut().zip(&endpoints) {
                endpoint.priority = *priority;
            }
        };
        let mut dataplane = dataplane(&shares, Policy::default(), priorities);
        let of = |verdict| {
            let reached = reached(verdict);
            ENDPOINTS.iter().position(|at| *at == reached)
        };
        let numbers = Numbers { first, second, ..Numbers::default() };
        let alone = of(connect(&dataplane, numbers));
        for (at, (.., open)) in ENDPOINTS.iter().zip(&endpoints) {
            let ids = dataplane.names().endpoints.iter();
            let is_it = |(_, at): &(u32, &(u32, _, Port))| {
                SocketAddr::new(address::to_ip(at.1), at.2.get()).to_string()
            };
            let id = ids.map(|entry| (is_it(&entry), entry.0)).find(|(name, _)| name == at);
            dataplane.store.open.insert(id.unwrap().1, *open);
        }
        let busy = of(connect(&dataplane, numbers));
        prop_assert_eq!(alone.is_some(), busy.is_some());
        if let (Some(alone), Some(busy)) = (alone, busy) {
            let (pool, share, open) = endpoints[alone];
            prop_assert_eq!(pool, endpoints[busy].0);
            prop_assert!(u64::from(endpoints[busy].2) * share <= u64::from(open) * endpoints[busy].1);
        }
    }
}

#[test]
fn an_endpoint_that_is_kept_stays_by_any_algorithm() {
    for algorithm in [Algorithm::LeastRequest, Algorithm::RoundRobin] {
        let dataplane = dataplane(&[(A, 1), (B, 1), (C, 1)], policy(algorithm), |service| {
            service.unserved = 1;
        });
        assert_eq!(reached_again(&dataplane, Family::V4, B.parse().unwrap()), B);
    }
}

/// Few addresses and ports, so that many differ in one alone, of which bytes and halves are as well the least as the greatest.
fn place() -> impl Strategy<Value = SocketAddr> {
    let word = prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(1 << 63), 0..4_u64];
    let v6 = (word.clone(), word).prop_map(|(high, low)| {
        let number = u128::from(high) << 64 | u128::from(low);
        IpAddr::V6(Ipv6Addr::from_bits(number | 1 << 120))
    });
    let v4 = (0..4_u8).prop_map(|last| IpAddr::from([10, 0, 0, last]));
    let port = prop_oneof![1..4_u16, Just(256), Just(u16::MAX)];
    (prop_oneof![v4, v6], port).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn where_a_socket_was_sent_is_found_among_any_endpoints(
        endpoints in prop::collection::btree_set(place(), 1..40),
        other in place(),
    ) {
        let texts: Vec<String> = endpoints.iter().map(SocketAddr::to_string).collect();
        let weighed: Vec<(&str, u64)> = texts.iter().map(|text| (&**text, 1)).collect();
        let dataplane = dataplane(&weighed, Policy::default(), |_| {});
        for (endpoint, text) in endpoints.iter().zip(&texts) {
            prop_assert_eq!(&reached_again(&dataplane, Family::V6, *endpoint), text);
        }
        prop_assert!(texts.contains(&reached_again(&dataplane, Family::V6, other)));
    }
}
