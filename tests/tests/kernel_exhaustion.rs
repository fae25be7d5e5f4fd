//! The running kernel: maps that are full, memory that runs out, and nobody who reads what is told. What fits works, what does not is
//! named and taken in when there is room, and no connect fails for it that should not.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use agent::compile::{Action, Destination, Program, RefuseReason};
use agent::dataplane::{Dataplane, Limits, LoadOptions};
use agent_common::abi::UDP;
use anyhow::Result;
use ipnet::IpNet;
use tests::lab::{self, ECONNREFUSED, Lab, limits};
use tests::memory::MemoryCgroup;
use tests::node::PATIENCE;
use tests::programs::{add, endpoint, frontend, key, service};
use tests::sockets::{Race, Request, Run, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const SERVICES: u8 = 12;

/// The address by which a service is found.
fn vip(number: u8) -> SocketAddr {
    SocketAddr::from(([240, 240, 0, number], 80))
}

fn home(number: u8) -> IpAddr {
    IpAddr::from([10, 9, 0, number])
}

/// Services of these numbers with an endpoint each, for datagrams: those need no server.
fn program(numbers: impl Iterator<Item = u8>) -> Program {
    let mut program = Program::default();
    for number in numbers {
        let vip = vip(number);
        let endpoints = vec![endpoint(SocketAddr::new(home(number), 8080), 1)];
        add(
            &mut program,
            &key(&format!("s{number}.test"), vip.port(), UDP),
            service(Action::Balance, endpoints),
            &[frontend(vip, UDP)],
        );
    }
    program
}

fn lab(limits: Limits) -> Result<Option<Lab>> {
    let options = LoadOptions {
        limits,
        ..LoadOptions::default()
    };
    let Some(mut lab) = Lab::with(CLIENT, &options)? else {
        return Ok(None);
    };
    let homes = (1..=SERVICES).map(home).collect();
    lab.client.order(&Request::AddAddresses(homes))?;
    Ok(Some(lab))
}

/// What becomes of a connect to each of these, in their order.
fn reached(lab: &mut Lab, to: impl Iterator<Item = SocketAddr>) -> Result<Vec<Run>> {
    let to: Vec<_> = to.map(|to| (Transport::Udp, to)).collect();
    lab.client.race(Race {
        threads: 1,
        connects: to.len(),
        to,
    })
}

/// The numbers of the services that are reached; connects to others are refused, as nobody has their address.
fn served(lab: &mut Lab) -> Result<BTreeSet<u8>> {
    let runs = reached(lab, (1..=SERVICES).map(vip))?;
    let served = (1..=SERVICES).zip(runs).filter(|(number, run)| {
        let expected = Ok(home(*number));
        let is_served = run.reached == expected;
        assert!(
            is_served || run.reached == Err(lab::refusal(ECONNREFUSED)),
            "{run:?}"
        );
        is_served
    });
    Ok(served.map(|(number, _)| number).collect())
}

/// Applies, and says how many services each code is said of.
fn codes(dataplane: &mut Dataplane, program: &Program, code: &str) -> usize {
    let applied = dataplane.apply(program);
    let found = applied.diagnostics.iter();
    for diagnostic in found.clone() {
        assert_eq!(diagnostic.code, code, "{diagnostic:?}");
        assert!(
            !diagnostic.hint.is_empty() && diagnostic.name == "test",
            "{diagnostic:?}"
        );
    }
    found.count()
}

#[test]
fn full_maps_hold_what_fits_and_the_rest_once_there_is_room() -> Result<()> {
    let small = [
        (
            Limits {
                frontends: 8,
                ..limits()
            },
            "SH4002",
        ),
        // A header and a slot each.
        (
            Limits {
                cells: 16,
                ..limits()
            },
            "SH4001",
        ),
    ];
    for (limits, code) in small {
        let Some(mut lab) = lab(limits)? else {
            return Ok(());
        };
        let all = program(1..=SERVICES);
        let missing = codes(&mut lab.dataplane, &all, code);
        let first = served(&mut lab)?;
        assert!(missing > 0 && first.len() >= 6, "{missing} are missing");
        assert_eq!(first.len() + missing, usize::from(SERVICES));
        // Once more changes nothing.
        assert_eq!(codes(&mut lab.dataplane, &all, code), missing);
        assert_eq!(served(&mut lab)?, first);
        // Those that found no room stay, and as many others go.
        let last: BTreeSet<u8> = (1..=SERVICES).filter(|n| !first.contains(n)).collect();
        let kept = first.iter().skip(missing).chain(&last).copied();
        let kept: BTreeSet<u8> = kept.collect();
        assert_eq!(
            codes(&mut lab.dataplane, &program(kept.iter().copied()), code),
            0
        );
        assert_eq!(served(&mut lab)?, kept);
    }
    Ok(())
}

#[test]
fn what_cannot_be_counted_is_served_all_the_same() -> Result<()> {
    let small = [
        (
            Limits {
                services: 8,
                ..limits()
            },
            "SH4004",
        ),
        (
            Limits {
                endpoints: 8,
                ..limits()
            },
            "SH4005",
        ),
    ];
    for (limits, code) in small {
        let Some(mut lab) = lab(limits)? else {
            return Ok(());
        };
        assert!(codes(&mut lab.dataplane, &program(1..=SERVICES), code) > 0);
        assert_eq!(served(&mut lab)?, (1..=SERVICES).collect());
    }
    Ok(())
}

#[test]
fn cidrs_that_find_no_room_are_named_and_others_hold() -> Result<()> {
    let Some(mut lab) = lab(Limits {
        prefixes: 8,
        ..limits()
    })?
    else {
        return Ok(());
    };
    let mut program = program(1..=SERVICES);
    let net = |number: u8| IpNet::new(IpAddr::from([240, 241, number, 0]), 24);
    let frontends = program.frontends.iter().zip(1..);
    let nets = frontends.map(|((frontend, key), number)| {
        let destination = Destination::Prefix(net(number).expect("a valid length"));
        let of_net = agent::compile::Frontend {
            destination,
            ..*frontend
        };
        (of_net, key.clone())
    });
    program.frontends = nets.collect();
    assert_eq!(codes(&mut lab.dataplane, &program, "SH4003"), 4);
    let inside = (1..=SERVICES).map(|n| SocketAddr::from(([240, 241, n, 7], 80)));
    let runs = reached(&mut lab, inside)?;
    assert_eq!(
        runs.iter().filter(|run| run.reached.is_ok()).count(),
        8,
        "{runs:?}"
    );
    Ok(())
}

/// The kernel really has no memory for the maps, and says ENOMEM.
#[test]
fn without_memory_what_is_there_holds_and_the_rest_comes_when_there_is_some() -> Result<()> {
    let Some(memory) = MemoryCgroup::new()? else {
        lab::skip("there is no memory controller of cgroup v1");
        return Ok(());
    };
    memory.enter()?;
    let loaded = lab(Limits {
        frontends: 65_536,
        ..limits()
    });
    memory.empty()?;
    let Some(mut lab) = loaded? else {
        return Ok(());
    };
    lab.apply(&program(1..=SERVICES));
    // 200 addresses in each of 250 networks for one service: some megabytes.
    let mut more = program(1..=SERVICES);
    let one = key("s1.test", 80, UDP);
    for (third, last) in (1..=250).flat_map(|third| (1..=200).map(move |last| (third, last))) {
        let to = SocketAddr::from(([240, 241, third, last], 80));
        more.frontends.insert(frontend(to, UDP), one.clone());
    }
    memory.limit(Some(256 * 1024))?;
    let applied = lab.dataplane.apply(&more);
    let found = &applied.diagnostics;
    assert!(!found.is_empty(), "{} changes were made", applied.steps);
    assert!(
        found.iter().all(|found| found.code == "SH4006"),
        "{found:?}"
    );
    assert!(found[0].message.contains("memory"), "{}", found[0].message);
    assert_eq!(served(&mut lab)?, (1..=SERVICES).collect());
    memory.limit(None)?;
    // The kernel gets what it keeps in store a moment later.
    let deadline = Instant::now() + PATIENCE;
    while !lab.dataplane.apply(&more).diagnostics.is_empty() {
        assert!(Instant::now() < deadline, "there is memory again");
    }
    let ends = [[240, 241, 1, 1], [240, 241, 250, 200]];
    let runs = reached(
        &mut lab,
        ends.map(|to| SocketAddr::from((to, 80))).into_iter(),
    )?;
    assert!(
        runs.iter().all(|run| run.reached == Ok(home(1))),
        "{runs:?}"
    );
    lab.apply(&program(1..=SERVICES));
    let runs = reached(
        &mut lab,
        ends.map(|to| SocketAddr::from((to, 80))).into_iter(),
    )?;
    assert!(runs.iter().all(|run| run.reached.is_err()), "{runs:?}");
    Ok(())
}

#[test]
fn denials_that_nobody_reads_are_counted_as_lost_and_denied_all_the_same() -> Result<()> {
    let Some(mut lab) = lab(limits())? else {
        return Ok(());
    };
    let mut program = program(1..=1);
    let denied = Arc::make_mut(
        program
            .services
            .get_mut(&key("s1.test", 80, UDP))
            .expect("it is there"),
    );
    denied.action = Action::Refuse(RefuseReason::Denied);
    denied.endpoints.clear();
    lab.apply(&program);
    let mut denials = lab.dataplane.denials()?;
    let connect = |lab: &mut Lab, connects: usize| -> Result<()> {
        let runs = lab.client.race(Race {
            threads: 2,
            connects,
            to: vec![(Transport::Udp, vip(1))],
        })?;
        assert!(runs.iter().all(|run| run.reached == Err(libc::EPERM)));
        Ok(())
    };
    connect(&mut lab, 10_000)?;
    let told = denials.drain().len() as u64;
    let lost = lab.dataplane.counts().denials_lost;
    assert!(told > 0 && lost > 0, "{told} told, {lost} lost");
    assert_eq!(told + lost, 20_000);
    // Whoever reads again hears all that comes.
    connect(&mut lab, 10)?;
    assert_eq!(denials.drain().len(), 20);
    assert_eq!(lab.dataplane.counts().denials_lost, lost);
    Ok(())
}
