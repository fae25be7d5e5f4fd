//! The running kernel: which endpoint a connect gets, by each algorithm.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use agent::api::{Algorithm, HashTable};
use agent::compile::{Policy, Program};
use agent::dataplane::{LoadOptions, abi_address};
use agent_common::abi::{DEFAULT_SCOPE, Outbound, Port, UDP};
use agent_common::{Client as Numbers, Connect, Family, Verdict, decide, source};
use anyhow::Result;
use tests::cgroup::TemporaryCgroup;
use tests::client::Client;
use tests::lab::{self, Lab, limits};
use tests::programs::{at, balance_by, frontend, ip};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:53";
const ENDPOINTS: [&str; 5] = [
    "10.9.0.1:53",
    "10.9.0.2:53",
    "10.9.0.3:53",
    "10.9.0.4:53",
    "10.9.0.5:53",
];
const TABLES: [HashTable; 2] = [
    HashTable::Maglev { size: 1021 },
    HashTable::Ring { minimum_size: 1024 },
];

/// One service of UDP, whose sockets reach an address without a server there.
fn program(algorithm: Algorithm, shares: &[(&str, u64)]) -> Program {
    let policy = Policy {
        algorithm,
        ..Policy::default()
    };
    let endpoints: Vec<_> = shares.iter().map(|&(to, share)| (at(to), share)).collect();
    let mut program = Program::default();
    balance_by(&mut program, policy, frontend(at(VIP), UDP), &endpoints);
    program
}

fn equal(endpoints: &[&'static str]) -> Vec<(&'static str, u64)> {
    endpoints.iter().map(|&to| (to, 1)).collect()
}

fn add_addresses(client: &mut Client) -> Result<()> {
    let addresses = ENDPOINTS.iter().map(|to| at(to).ip()).collect();
    client.order(&Request::AddAddresses(addresses))
}

fn spread(client: &mut Client, count: u32) -> Result<BTreeMap<IpAddr, u32>> {
    client.spread(Transport::Udp, at(VIP), count)
}

#[test]
fn connects_go_to_the_endpoint_whose_connections_end() -> Result<()> {
    const CONNECTS: u32 = 400;
    Lab::with_records_anywhere(CLIENT, |lab| {
        lab.apply(&program(Algorithm::LeastRequest, &equal(&ENDPOINTS[..2])));
        add_addresses(&mut lab.client)?;
        let slow = ip("10.9.0.1");
        let mut held = Vec::new();
        for _ in 0..CONNECTS {
            let socket = lab.client.connect(Transport::Udp, at(VIP))?.socket();
            if lab.client.local(socket)?.ip() == slow {
                held.push(socket);
            } else {
                lab.client.order(&Request::Close(socket))?;
            }
        }
        // A quarter has no choice: both draws are of the slow one. The standard deviation is 9.
        let count = held.len();
        assert!((50..150).contains(&count), "{count} of {CONNECTS}");
        for socket in held {
            lab.client.order(&Request::Close(socket))?;
        }
        Ok(())
    })
}

#[test]
fn each_endpoint_has_its_turn() -> Result<()> {
    for flows_at_sockets in [false, true] {
        let options = LoadOptions {
            limits: limits(),
            flows_at_sockets,
            ..LoadOptions::default()
        };
        let Some(mut lab) = Lab::with(CLIENT, &options)? else {
            return Ok(());
        };
        add_addresses(&mut lab.client)?;
        lab.apply(&program(Algorithm::RoundRobin, &equal(&ENDPOINTS)));
        for _ in 0..3 {
            let reached = spread(&mut lab.client, 5)?;
            assert_eq!(reached.len(), 5, "{reached:?}");
        }

        let shares = [(ENDPOINTS[0], 3), (ENDPOINTS[1], 1), (ENDPOINTS[2], 2)];
        lab.apply(&program(Algorithm::RoundRobin, &shares));
        let reached = spread(&mut lab.client, 60)?;
        let wanted = [("10.9.0.1", 30), ("10.9.0.2", 10), ("10.9.0.3", 20)];
        assert_eq!(reached, wanted.map(|(to, count)| (ip(to), count)).into());
    }
    Ok(())
}

/// A client by its hash.
struct Source(u32);

impl Numbers for Source {
    fn random(&mut self) -> u32 {
        panic!("nothing is drawn")
    }

    fn turn(&mut self, _service: u32) -> u32 {
        panic!("nobody takes turns")
    }

    fn source(&mut self) -> u32 {
        self.0
    }
}

/// Where the decision sends a client of that hash.
fn expected(lab: &Lab, source: u32) -> IpAddr {
    let connect = Connect {
        family: Family::V4,
        address: abi_address(at(VIP).ip()),
        port: Port::new(at(VIP).port()),
        protocol: UDP,
        scope: DEFAULT_SCOPE,
        names: 0,
        outbound: Outbound::AllowAny,
    };
    match decide(lab.dataplane.tables(), &connect, &mut Source(source)) {
        Verdict::Rewrite { address, .. } => IpAddr::from(address.octets()).to_canonical(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_clients_of_a_cgroup_go_to_one_endpoint_and_stay_there() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let cgroups: Vec<_> = (0..8)
        .map(|_| TemporaryCgroup::below(lab.cgroup.path()))
        .collect::<Result<_>>()?;
    let mut clients = Vec::new();
    for cgroup in &cgroups {
        let mut client = Client::start(CLIENT, cgroup.path())?;
        add_addresses(&mut client)?;
        clients.push((client, source::of_cgroup(cgroup.id()?)));
    }
    for by in TABLES {
        lab.apply(&program(Algorithm::SourceHash(by), &equal(&ENDPOINTS)));
        let mut homes = Vec::new();
        for (client, source) in &mut clients {
            let home = expected(&lab, *source);
            assert_eq!(spread(client, 20)?, [(home, 20)].into());
            homes.push(home);
        }
        let used: BTreeSet<IpAddr> = homes.iter().copied().collect();
        assert!(used.len() > 1, "all go to {used:?}");

        let left: Vec<_> = ENDPOINTS
            .into_iter()
            .filter(|to| at(to).ip() != homes[0])
            .collect();
        lab.apply(&program(Algorithm::SourceHash(by), &equal(&left)));
        let mut moved = 0;
        for ((client, source), was) in clients.iter_mut().zip(&homes) {
            let home = expected(&lab, *source);
            assert_eq!(spread(client, 20)?, [(home, 20)].into());
            moved += usize::from(home != *was && *was != homes[0]);
        }
        // The ring has as many points of each as before, or twice as many.
        assert!(moved <= 2, "{moved} of 8 moved without need");
    }
    drop(clients);
    Ok(())
}

#[test]
fn a_socket_that_is_bound_to_an_address_goes_by_that() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    add_addresses(&mut lab.client)?;
    let by = HashTable::Maglev { size: 1021 };
    lab.apply(&program(Algorithm::SourceHash(by), &equal(&ENDPOINTS)));
    for bound in ENDPOINTS {
        let home = expected(&lab, source::of_address(abi_address(at(bound).ip())));
        let socket = lab.client.open(Transport::Udp, false)?;
        let mut own = at(bound);
        own.set_port(0);
        lab.client.order(&Request::Bind { socket, at: own })?;
        lab.client.connect_socket(socket, Transport::Udp, at(VIP))?;
        let goes = lab.dataplane.tables().flows().map(|flow| flow.rewritten);
        let goes: Vec<_> = goes
            .map(|to| IpAddr::from(to.octets()).to_canonical())
            .collect();
        if lab::has_compare_and_swap() {
            assert_eq!(goes, [home]);
        }
        lab.client.order(&Request::Close(socket))?;
        lab.expect_no_records();
    }
    Ok(())
}
