//! Clients of different scopes: what each may reach, and every moment in which they become others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use agent_common::abi::{
    ClientWord, DEFAULT_SCOPE, ICMP, ICMPV6, Outbound as Mode, Port, TCP, UDP, UNCOUNTED,
};
use agent_common::{Connect, Family, Reason, Verdict, decide};
use proptest::prelude::*;
use proptest::sample::select;

use crate::compile::{Clients, Exemption, Frontend, Outbound, Program, Scope};
use crate::dataplane::Limits;

use super::super::address;
use super::super::clients::client_word;
use super::super::memory::{MemoryDataplane, MemoryTables};
use super::super::plan::{Allocators, Step, plan};
use super::super::wanted::Wanted;
use super::programs::{add, frontend, key, service};

fn verdict(tables: &MemoryTables, client: ClientWord, to: &str, protocol: u8) -> Verdict {
    let to: SocketAddr = to.parse().unwrap();
    let connect = Connect {
        family: if to.is_ipv4() { Family::V4 } else { Family::V6 },
        address: address::from_ip(to.ip()),
        port: Port::new(to.port()),
        protocol,
        scope: client.scope(),
        names: client.names(),
        outbound: client.outbound(),
    };
    decide(tables, &connect, &mut || 0)
}

const fn client(outbound: Mode) -> ClientWord {
    ClientWord::new(DEFAULT_SCOPE, 0, outbound)
}

const NOT_REGISTERED: Verdict = Verdict::Deny {
    service: None,
    endpoint: UNCOUNTED,
    reason: Reason::NotRegistered,
};

fn holding(program: &Program) -> MemoryDataplane {
    let mut dataplane = MemoryDataplane::in_memory(&Limits::small());
    assert_eq!(dataplane.apply(program).diagnostics, []);
    dataplane
}

#[test]
fn who_may_reach_what_is_registered_reaches_beyond_it_what_is_exempt() {
    let mut program = Program::default();
    add(&mut program, "a", &["10.1.0.1"], &[("10.0.0.1:80", 1)]);
    for (net, exemption) in [
        ("10.2.0.0/16", Exemption::Destination),
        ("10.2.0.53/32", Exemption::NameServer),
        ("10.3.0.53/32", Exemption::NameServer),
        ("::/0", Exemption::Destination),
    ] {
        let exempt = &mut program.clients.exempt;
        exempt.insert(net.parse().unwrap(), exemption);
    }
    let dataplane = holding(&program);
    let of = |mode, to, protocol| verdict(dataplane.tables(), client(mode), to, protocol);
    for to in [
        "127.0.0.9:80",
        "0.0.0.0:80",
        "169.254.169.254:80",
        "224.0.0.251:5353",
        "255.255.255.255:67",
        "10.2.3.4:443",
        "10.2.0.53:80",
        "10.3.0.53:53",
        "192.0.2.1:0",
        "[::1]:80",
        "[fe80::1]:80",
        "[ff02::fb]:5353",
        "[2001:db8::1]:443",
    ] {
        for protocol in [TCP, UDP] {
            for mode in [Mode::AllowAny, Mode::RegistryOnly, Mode::Audited] {
                assert_eq!(of(mode, to, protocol), Verdict::Pass, "{to}");
            }
        }
    }
    for to in [
        "192.0.2.1:443",
        "10.3.0.53:80",
        "10.3.0.54:53",
        "224.0.1.1:80",
    ] {
        assert_eq!(of(Mode::AllowAny, to, TCP), Verdict::Pass, "{to}");
        assert_eq!(of(Mode::RegistryOnly, to, TCP), NOT_REGISTERED, "{to}");
        assert_eq!(
            of(Mode::Audited, to, UDP),
            Verdict::PassUnregistered,
            "{to}"
        );
        for protocol in [ICMP, ICMPV6] {
            assert_eq!(of(Mode::RegistryOnly, to, protocol), Verdict::Pass, "{to}");
        }
    }
    for mode in [Mode::RegistryOnly, Mode::Audited] {
        let registered = of(mode, "10.1.0.1:80", TCP);
        assert!(matches!(registered, Verdict::Rewrite { .. }));
    }
}

#[test]
fn an_undeclared_port_of_an_automatic_address_and_a_captured_query_come_first() {
    let mut program = Program::default();
    program.vip_ranges.v4 = "240.240.0.0/16".parse().unwrap();
    let mut dataplane = holding(&program);
    let listener = (
        address::from_ip("127.0.0.1".parse().unwrap()),
        Port::new(5301),
    );
    dataplane
        .store
        .name_servers
        .insert("192.0.2.53".parse().unwrap(), listener);
    let of = |to| verdict(dataplane.tables(), client(Mode::RegistryOnly), to, UDP);
    let refused = Verdict::Deny {
        service: None,
        endpoint: UNCOUNTED,
        reason: Reason::PortNotDeclared,
    };
    assert_eq!(of("240.240.0.1:80"), refused);
    let (address, port) = listener;
    assert_eq!(of("192.0.2.53:53"), Verdict::Ask { address, port });
    assert_eq!(of("192.0.2.54:53"), NOT_REGISTERED);
}

#[test]
fn what_finds_no_room_is_said_and_tried_again() {
    let limits = Limits {
        cgroups: 1,
        exempt: 1,
        ..Limits::small()
    };
    let mut dataplane = MemoryDataplane::in_memory(&limits);
    let mut program = Program::default();
    program.clients.levels = vec![1];
    program.clients.cgroups = [(10u64, DEFAULT_SCOPE), (11, DEFAULT_SCOPE)]
        .into_iter()
        .collect();
    for net in ["10.2.0.0/16", "10.3.0.0/16"] {
        let exempt = &mut program.clients.exempt;
        exempt.insert(net.parse().unwrap(), Exemption::Destination);
    }
    let mut codes = |program: &Program| -> Vec<String> {
        let findings = dataplane.apply(program).diagnostics.into_iter();
        findings.map(|finding| finding.code).collect()
    };
    assert_eq!(codes(&program), ["SH4007", "SH4008"]);
    assert_eq!(codes(&program), ["SH4007", "SH4008"]);
    program.clients.cgroups.remove(&10);
    program.clients.exempt.pop_first();
    assert_eq!(codes(&program), [""; 0]);
    assert_eq!(dataplane.apply(&program).steps, 0);
}

#[test]
fn after_the_short_way_nothing_is_left_to_do() {
    let mut program = Program::default();
    let word = client_word(&program.clients, DEFAULT_SCOPE);
    let mut dataplane = holding(&program);
    assert!(!dataplane.place(&[(10, word)]), "nobody looks");
    program.clients.levels = vec![1];
    dataplane.apply(&program);
    assert!(dataplane.place(&[(10, word), (11, word), (11, None), (12, None)]));
    program.clients.cgroups.insert(10, DEFAULT_SCOPE);
    assert_eq!(dataplane.apply(&program).steps, 0);
}

/// What may become of a connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Pass,
    Told,
    Denied,
    Endpoint(SocketAddr),
}

fn fate(tables: &MemoryTables, client: ClientWord, to: &str) -> Fate {
    match verdict(tables, client, to, TCP) {
        Verdict::Pass => Fate::Pass,
        Verdict::PassUnregistered => Fate::Told,
        NOT_REGISTERED => Fate::Denied,
        Verdict::Rewrite { address, port, .. } => {
            Fate::Endpoint(SocketAddr::new(address::to_ip(address), port.get()))
        }
        other => panic!("no program here leads to {other:?}"),
    }
}

const PROBES: [&str; 4] = ["10.1.0.1:80", "10.1.0.2:80", "10.2.0.1:80", "10.3.0.1:80"];
/// Processes, by the cgroups that they are in: the workloads 10 and 11, and a container in the first.
const PROCESSES: [&[u64]; 4] = [&[1], &[1, 10], &[1, 10, 20], &[1, 11]];

fn scope() -> impl Strategy<Value = Scope> {
    let modes = [
        Outbound::AllowAny,
        Outbound::RegistryOnly,
        Outbound::Audited,
    ];
    select(modes.to_vec()).prop_map(|outbound| Scope {
        outbound,
        ..Scope::default()
    })
}

pub(super) fn any_clients() -> impl Strategy<Value = Clients> {
    let scopes = prop::collection::vec(scope(), 4);
    let cgroups = prop::collection::btree_map(select(vec![10u64, 11, 20]), 0u32..4, 0..4);
    let nets = ["10.2.0.0/16", "10.2.0.1/32", "10.3.0.0/16", "0.0.0.0/0"];
    let exemptions = [Exemption::Destination, Exemption::NameServer];
    let exempt = prop::collection::btree_map(
        select(nets.to_vec()).prop_map(|net| net.parse().unwrap()),
        select(exemptions.to_vec()),
        0..3,
    );
    let levels = select(vec![vec![], vec![1]]);
    (scopes, cgroups, exempt, levels).prop_map(|(scopes, cgroups, exempt, levels)| Clients {
        scopes: (0..).zip(scopes).collect(),
        cgroups: cgroups.into_iter().collect(),
        levels,
        exempt,
    })
}

/// Services at the first of [`PROBES`], for some scopes each.
fn any() -> impl Strategy<Value = Program> {
    let frontends = prop::collection::btree_map(
        (select(vec!["10.1.0.1", "10.1.0.2"]), 0u32..4),
        select(vec!["a", "b"]),
        0..6,
    );
    (frontends, any_clients()).prop_map(|(frontends, clients)| {
        let mut program = Program {
            clients,
            ..Program::default()
        };
        for ((at, scope), host) in frontends {
            let to = if host == "a" {
                "10.9.0.1:80"
            } else {
                "10.9.0.2:80"
            };
            program.services.insert(key(host), service(&[(to, 1)]));
            let frontend = Frontend {
                scope,
                ..frontend(at)
            };
            program.frontends.insert(frontend, key(host));
        }
        program
    })
}

/// What becomes of the connects of that client where the program is in effect, with what its scope may do there.
fn fates(dataplane: &MemoryDataplane, program: &Program, client: ClientWord) -> Vec<Fate> {
    let client = client_word(&program.clients, client.scope()).unwrap_or(client);
    let fate = |to: &&str| fate(dataplane.tables(), client, to);
    PROBES.iter().map(fate).collect()
}

proptest! {
    #[test]
    fn after_every_step_each_client_has_its_old_scope_or_its_new_one(old in any(), new in any()) {
        let (before, after) = (holding(&old), holding(&new));
        let mut dataplane = holding(&old);
        let wanted = Wanted::new(&new);
        let base = dataplane.live.config;
        let alloc = &mut Allocators { names: &mut dataplane.names, space: &mut dataplane.space };
        let steps = plan(&dataplane.live, &wanted, &base, alloc).steps;
        // Whom readers may take each process for: all that it has been since the last grace period.
        let mut held: BTreeMap<usize, BTreeSet<ClientWord>> = BTreeMap::new();
        for step in steps {
            if matches!(step, Step::Grace) {
                held.clear();
            }
            for (process, cgroups) in PROCESSES.iter().enumerate() {
                held.entry(process).or_default().insert(dataplane.tables().client(cgroups));
            }
            prop_assert!(dataplane.execute(step).is_ok());
            for (process, cgroups) in PROCESSES.iter().enumerate() {
                let was = before.tables().client(cgroups);
                let will_be = after.tables().client(cgroups);
                let is = dataplane.tables().client(cgroups);
                prop_assert!(is == was || is == will_be, "{cgroups:?}: {is:?}");
                let readers = held.entry(process).or_default();
                readers.insert(is);
                for &client in readers.iter() {
                    let old_fates = fates(&before, &old, client);
                    let new_fates = fates(&after, &new, client);
                    for ((to, old), new) in PROBES.iter().zip(old_fates).zip(new_fates) {
                        let now = fate(dataplane.tables(), client, to);
                        // Who is to be another sees nothing go that it has.
                        let is_new = if client == will_be {
                            now == new
                        } else {
                            now == new && matches!(new, Fate::Endpoint(_))
                                || now == Fate::Pass && matches!(old, Fate::Denied | Fate::Told)
                        };
                        prop_assert!(now == old || is_new, "{client:?} {to}: {now:?}, {old:?}, {new:?}");
                    }
                }
            }
        }
        for cgroups in PROCESSES {
            let (is, should) = (dataplane.tables().client(cgroups), after.tables().client(cgroups));
            prop_assert_eq!(is, should);
            prop_assert_eq!(fates(&dataplane, &new, is), fates(&after, &new, should));
        }
    }
}
