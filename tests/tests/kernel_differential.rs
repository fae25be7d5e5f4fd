//! The running kernel against the decision: for random programs, what happens to a real connect is among what `decide` says
//! of the same tables, and tables in memory say the same.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use agent::api::{Algorithm, HashTable};
use agent::compile::{
    Action, Destination, Endpoint, Frontend, Policy, Program, RefuseReason, Service,
};
use agent::dataplane::{MemoryDataplane, abi_address};
use agent_common::abi::{Address, DEFAULT_SCOPE, Outbound, Port, TCP, UDP};
use agent_common::{Client, Connect, Family, Reason, Tables, Verdict, decide, source};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tests::client::Outcome;
use tests::lab::{self, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, Lab, limits};
use tests::programs::{add, endpoint, ip, key, service, under};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Endpoints, all of them addresses of the client's loopback device.
const ENDPOINTS: [&str; 6] = [
    "10.9.0.1", "10.9.0.2", "10.9.0.3", "fd00::1", "fd00::2", "fd00::3",
];
/// Destinations that exist, and so are reached when nothing rewrites them.
const EXISTING: [&str; 3] = ["10.9.1.1", "10.9.1.2", "fd00:1::1"];
const ADDRESSES: [&str; 7] = [
    "240.240.0.1",
    "240.240.0.2",
    "2001:2::1",
    "10.9.1.1",
    "fd00:1::1",
    "203.0.113.5",
    "2001:db8::5",
];
const PREFIXES: [&str; 7] = [
    "10.9.0.0/16",
    "10.9.1.0/24",
    "203.0.113.0/24",
    "203.0.0.0/16",
    "fd00::/16",
    "2001:db8::/32",
    "::/0",
];
const PORTS: [u16; 3] = [53, 80, 443];

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        2 => select(ADDRESSES.as_slice()).prop_map(|text| Destination::Address(ip(text))),
        1 => select(PREFIXES.as_slice())
            .prop_map(|text| Destination::Prefix(text.parse().expect("a valid CIDR"))),
    ]
}

fn frontend() -> impl Strategy<Value = Frontend> {
    (
        destination(),
        select(PORTS.as_slice()),
        prop_oneof![4 => Just(UDP), 1 => Just(TCP)],
    )
        .prop_map(|(destination, port, transport)| Frontend {
            destination,
            port,
            transport,
            scope: DEFAULT_SCOPE,
        })
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let one = (select(ENDPOINTS.as_slice()), 5000u16..5003, 0u64..5)
        .prop_map(|(address, port, share)| endpoint(SocketAddr::new(ip(address), port), share));
    prop::collection::vec(one, 0..6)
}

fn policy() -> impl Strategy<Value = Policy> {
    let algorithms = [
        Algorithm::LeastRequest,
        Algorithm::Random,
        Algorithm::RoundRobin,
        Algorithm::SourceHash(HashTable::Maglev { size: 97 }),
        Algorithm::SourceHash(HashTable::Ring { minimum_size: 32 }),
    ];
    select(algorithms.to_vec()).prop_map(|algorithm| Policy {
        algorithm,
        ..Policy::default()
    })
}

fn balanced() -> impl Strategy<Value = Service> {
    (endpoints(), policy(), 0u64..3).prop_map(|(endpoints, policy, unserved)| {
        let mut service = Arc::unwrap_or_clone(service(Action::Balance, endpoints));
        under(&mut service, policy);
        service.unserved = unserved;
        service
    })
}

fn behaviour() -> impl Strategy<Value = Service> {
    let without = |action| Arc::unwrap_or_clone(service(action, Vec::new()));
    prop_oneof![
        5 => balanced(),
        1 => prop::option::of(select(PORTS.as_slice()))
            .prop_map(move |port| without(Action::Original { port })),
        1 => Just(without(Action::Refuse(RefuseReason::TlsOrigination))),
    ]
}

fn program() -> impl Strategy<Value = Program> {
    let one = (behaviour(), prop::collection::vec(frontend(), 1..6));
    prop::collection::vec(one, 0..7).prop_map(|services| {
        let mut program = Program::default();
        for (number, (service, frontends)) in services.into_iter().enumerate() {
            let key = key(&format!("host-{number}"), 1, UDP);
            add(&mut program, &key, Arc::new(service), &frontends);
        }
        program
    })
}

/// Where every connect of the test goes: each address and port by a socket of its family, and IPv4 also as v4-mapped.
fn connects() -> Vec<SocketAddr> {
    let addresses: BTreeSet<IpAddr> = ADDRESSES
        .iter()
        .chain(&EXISTING)
        .chain(&["203.0.7.7", "240.240.9.9"])
        .map(|text| ip(text))
        .collect();
    let mapped = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(v4) => Some(IpAddr::V6(v4.to_ipv6_mapped())),
        IpAddr::V6(_) => None,
    });
    let mapped: Vec<IpAddr> = mapped.collect();
    let all = addresses.into_iter().chain(mapped);
    all.flat_map(|address| PORTS.map(|port| SocketAddr::new(address, port)))
        .collect()
}

/// A client that draws one number, and has one turn.
struct Draw {
    step: u32,
    source: u32,
}

/// Steps that between them draw every endpoint here: of the up to 6 columns, no part is smaller than 1 in 132, and no round of
/// turns is longer than 22.
const STEPS: u32 = 256;

impl Client for Draw {
    fn random(&mut self) -> u32 {
        self.step << 24
    }

    fn turn(&mut self, _service: u32) -> u32 {
        self.step
    }

    fn source(&mut self) -> u32 {
        self.source
    }
}

/// A verdict without what differs between two sets of tables: numbers of services and cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Pass,
    Original(Option<u16>),
    Rewrite(Address, u16),
    Refused,
    Unreachable,
}

/// What may become of connects of a client of that cgroup.
fn fates(tables: &impl Tables, to: SocketAddr, cgroup: u64) -> BTreeSet<Fate> {
    let connect = Connect {
        family: if to.is_ipv4() { Family::V4 } else { Family::V6 },
        address: abi_address(to.ip()),
        port: Port::new(to.port()),
        protocol: UDP,
        scope: DEFAULT_SCOPE,
        names: 0,
        outbound: Outbound::AllowAny,
    };
    let source = source::of_cgroup(cgroup);
    (0..STEPS)
        .map(|step| fate(decide(tables, &connect, &mut Draw { step, source })))
        .collect()
}

fn fate(verdict: Verdict) -> Fate {
    match verdict {
        Verdict::Pass | Verdict::PassUnregistered | Verdict::Ask { .. } => Fate::Pass,
        Verdict::Original { port, .. } => Fate::Original(port.map(Port::get)),
        Verdict::Rewrite { address, port, .. } => Fate::Rewrite(address, port.get()),
        Verdict::Deny {
            reason: Reason::PortNotDeclared,
            ..
        } => Fate::Refused,
        Verdict::Deny { .. } => Fate::Unreachable,
    }
}

/// Who is reached by a connect with that fate, or the errno that the client sees.
fn expected(fate: Fate, to: SocketAddr) -> Result<IpAddr, i32> {
    match fate {
        Fate::Refused => Err(lab::refusal(ECONNREFUSED)),
        Fate::Unreachable => Err(lab::refusal(EHOSTUNREACH)),
        Fate::Rewrite(address, _) => Ok(IpAddr::from(address.octets()).to_canonical()),
        Fate::Pass | Fate::Original(_) => {
            let address = to.ip().to_canonical();
            let exists = EXISTING.iter().any(|text| ip(text) == address);
            if exists {
                Ok(address)
            } else {
                Err(ENETUNREACH)
            }
        }
    }
}

fn check(
    lab: &mut Lab,
    memory: &mut MemoryDataplane,
    program: &Program,
) -> Result<(), TestCaseError> {
    let fail = |error: anyhow::Error| TestCaseError::fail(error.to_string());
    lab.apply(program);
    memory.apply(program);
    let cgroup = lab.cgroup.id().map_err(fail)?;
    for to in connects() {
        let possible = fates(lab.dataplane.tables(), to, cgroup);
        prop_assert_eq!(&possible, &fates(memory.tables(), to, cgroup), "{}", to);
        let wanted: BTreeSet<_> = possible.iter().map(|&fate| expected(fate, to)).collect();
        let happened = match lab.client.connect(Transport::Udp, to).map_err(fail)? {
            Outcome::Failed(errno) => Err(errno),
            Outcome::Connected {
                socket,
                local,
                peer,
            } => {
                let rewritten = lab.dataplane.tables().flows().next();
                let goes = rewritten.map(|flow| {
                    let port = flow.rewritten_port.get();
                    if flow.endpoint == flow.service {
                        let moved = (flow.original_port != flow.rewritten_port).then_some(port);
                        return Fate::Original(moved);
                    }
                    Fate::Rewrite(flow.rewritten, port)
                });
                let is_possible = |goes| match goes {
                    // To the very port that was asked for, or kept: that is the same.
                    Fate::Original(None) => {
                        let same = Fate::Original(Some(to.port()));
                        possible.contains(&goes) || possible.contains(&same)
                    }
                    goes => possible.contains(&goes),
                };
                prop_assert!(goes.is_none_or(is_possible), "{} to {:?}", to, goes);
                if goes.is_some() {
                    prop_assert_eq!(peer, to);
                }
                lab.client.order(&Request::Close(socket)).map_err(fail)?;
                Ok(local.ip().to_canonical())
            }
        };
        prop_assert!(
            wanted.contains(&happened),
            "{} is {:?}, expected one of {:?}",
            to,
            happened,
            wanted
        );
    }
    Ok(())
}

#[test]
fn the_kernel_does_what_the_decision_says_for_random_programs() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let own = ENDPOINTS
        .iter()
        .chain(&EXISTING)
        .map(|text| ip(text))
        .collect();
    lab.client.order(&Request::AddAddresses(own))?;
    let state = RefCell::new((lab, MemoryDataplane::in_memory(&limits())));
    let config = Config {
        cases: 32,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config).run(&program(), |program| {
        let (lab, memory) = &mut *state.borrow_mut();
        check(lab, memory, &program)
    })?;
    Ok(())
}
