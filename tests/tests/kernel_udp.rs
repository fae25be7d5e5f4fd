//! Unconnected UDP sockets in the running kernel: where each datagram goes, and where the answer seems to come from. All of it
//! with flow records in lines, and with those at the sockets, which kernels before Linux 5.12 have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use agent::compile::{Action, Program};
use agent::dataplane::{Limits, LoadOptions};
use agent_common::abi::UDP;
use anyhow::Result;
use tests::lab::{self, ECONNREFUSED, EHOSTUNREACH, Lab, limits};
use tests::programs::{add, at, balance, frontend, key, service};
use tests::sockets::{Request, Server, Setting, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:53";
const VIP6: &str = "[2001:2::1]:53";
const FOUR: [&str; 4] = [
    "10.9.0.1:5353",
    "10.9.0.2:5353",
    "10.9.0.3:5353",
    "10.9.0.4:5353",
];

/// Runs `check` in laboratories with UDP services, whose endpoints have equal shares and tell who comes to them.
fn check(services: &[(&str, &[&str])], check: impl Fn(&mut Lab) -> Result<()>) -> Result<()> {
    Lab::with_records_anywhere(CLIENT, |lab| {
        lab.apply(&program(services));
        let endpoints: BTreeSet<&str> = services.iter().flat_map(|(_, to)| *to).copied().collect();
        let addresses: BTreeSet<_> = endpoints.iter().map(|to| at(to).ip()).collect();
        let addresses = addresses.into_iter().collect();
        lab.client.order(&Request::AddAddresses(addresses))?;
        for endpoint in endpoints {
            lab.serve(endpoint, Server::Tell(Transport::Udp))?;
        }
        check(lab)
    })
}

fn program(services: &[(&str, &[&str])]) -> Program {
    let mut program = Program::default();
    for (vip, endpoints) in services {
        let endpoints: Vec<_> = endpoints.iter().map(|to| (at(to), 1)).collect();
        balance(&mut program, vip, frontend(at(vip), UDP), &endpoints);
    }
    program
}

#[test]
fn a_datagram_reaches_an_endpoint_and_its_answer_comes_from_what_was_asked_for() -> Result<()> {
    let endpoints = ["10.9.0.1:5353", "[fd00::1]:5353"];
    check(&[(VIP, &endpoints[..1]), (VIP6, &endpoints[1..])], |lab| {
        let socket = lab.client.open_udp(false)?;
        assert_eq!(lab.client.reach(socket, VIP)?, at(endpoints[0]));
        let socket = lab.client.open_udp(true)?;
        assert_eq!(lab.client.reach(socket, VIP6)?, at(endpoints[1]));
        let mapped = "[::ffff:240.240.0.1]:53";
        assert_eq!(lab.client.reach(socket, mapped)?, at(endpoints[0]));
        assert_eq!(lab.client.reach(socket, VIP6)?, at(endpoints[1]));
        Ok(())
    })
}

#[test]
fn a_socket_keeps_its_endpoint_for_as_long_as_that_is_in_the_group() -> Result<()> {
    check(&[(VIP, &FOUR)], |lab| {
        let socket = lab.client.open_udp(false)?;
        let kept = lab.client.reach(socket, VIP)?;
        let text = kept.to_string();
        for others in [&FOUR[..], &FOUR[2..], &FOUR[..2], &[]] {
            let mut endpoints: BTreeSet<&str> = others.iter().copied().collect();
            endpoints.insert(&text);
            let endpoints: Vec<&str> = endpoints.into_iter().collect();
            lab.apply(&program(&[(VIP, &endpoints)]));
            for _ in 0..8 {
                assert_eq!(lab.client.reach(socket, VIP)?, kept, "of {endpoints:?}");
            }
        }
        let others: Vec<&str> = FOUR.into_iter().filter(|to| at(to) != kept).collect();
        lab.apply(&program(&[(VIP, &others)]));
        let next = lab.client.reach(socket, VIP)?;
        assert_ne!(next, kept);
        lab.apply(&program(&[(VIP, &FOUR)]));
        for _ in 0..8 {
            assert_eq!(lab.client.reach(socket, VIP)?, next);
        }
        lab.client.close(socket)
    })
}

#[test]
fn each_socket_is_given_an_endpoint_of_its_own() -> Result<()> {
    check(&[(VIP, &FOUR)], |lab| {
        let mut reached: BTreeMap<SocketAddr, u32> = BTreeMap::new();
        for _ in 0..100 {
            let socket = lab.client.open_udp(false)?;
            *reached.entry(lab.client.reach(socket, VIP)?).or_default() += 1;
            lab.client.close(socket)?;
        }
        // Each of four has 25 in the mean, with a standard deviation of 4.3.
        assert!(
            reached.len() == 4 && reached.values().all(|&n| n > 3),
            "{reached:?}"
        );
        Ok(())
    })
}

#[test]
fn a_socket_that_talks_to_many_in_turn_keeps_an_endpoint_of_each() -> Result<()> {
    let vips: Vec<String> = (1..=20).map(|n| format!("240.240.0.{n}:53")).collect();
    let services: Vec<(&str, &[&str])> = vips.iter().map(|vip| (vip.as_str(), &FOUR[..])).collect();
    check(&services, |lab| {
        let socket = lab.client.open_udp(false)?;
        let mut kept = BTreeMap::new();
        for _ in 0..5 {
            for vip in &vips {
                let reached = lab.client.reach(socket, vip)?;
                assert_eq!(*kept.entry(vip).or_insert(reached), reached, "{vip}");
            }
        }
        lab.client.close(socket)
    })
}

#[test]
fn of_destinations_with_one_endpoint_the_last_that_was_named_is_who_answers() -> Result<()> {
    // More than there are lines for one socket: wherever they are remembered.
    let vips: Vec<String> = (1..=8).map(|n| format!("240.240.0.{n}:53")).collect();
    let services: Vec<(&str, &[&str])> =
        vips.iter().map(|vip| (vip.as_str(), &FOUR[..1])).collect();
    check(&services, |lab| {
        for known in 1..=vips.len() {
            let socket = lab.client.open_udp(false)?;
            for vip in vips[..known].iter().cycle().take(4 * known) {
                assert_eq!(lab.client.reach(socket, vip)?, at(FOUR[0]));
            }
            lab.client.close(socket)?;
        }
        Ok(())
    })
}

#[test]
fn a_datagram_that_cannot_be_sent_says_why() -> Result<()> {
    check(&[(VIP, &[])], |lab| {
        let socket = lab.client.open_udp(false)?;
        let refused = lab.client.exchange(socket, "240.240.0.1:54")?;
        assert_eq!(refused, Err(lab::refusal(ECONNREFUSED)));
        let unreachable = lab.client.exchange(socket, VIP)?;
        assert_eq!(unreachable, Err(lab::refusal(EHOSTUNREACH)));
        Ok(())
    })
}

#[test]
fn what_is_not_ours_is_sent_and_answered_as_ever() -> Result<()> {
    check(&[(VIP, &FOUR[..1])], |lab| {
        let socket = lab.client.open_udp(false)?;
        assert_eq!(lab.client.reach(socket, FOUR[0])?, at(FOUR[0]));
        assert_eq!(lab.records(), 0);
        // Also where the same endpoint has answered for a destination of ours.
        assert_eq!(lab.client.reach(socket, VIP)?, at(FOUR[0]));
        lab.client.close(socket)
    })
}

#[test]
fn an_unconnected_ipv6_socket_is_given_ipv6_endpoints_alone() -> Result<()> {
    let mixed = ["10.9.0.1:5353", "10.9.0.2:5353", "[fd00::1]:5353"];
    check(&[(VIP6, &mixed), ("[2001:2::2]:53", &mixed[..2])], |lab| {
        for _ in 0..20 {
            let socket = lab.client.open_udp(true)?;
            assert_eq!(lab.client.reach(socket, VIP6)?, at(mixed[2]));
            lab.client.close(socket)?;
        }
        // The kernel sends no datagram from one family to the other; a connect may.
        let socket = lab.client.open_udp(true)?;
        let sent = lab.client.exchange(socket, "[2001:2::2]:53")?;
        assert_eq!(sent, Err(lab::refusal(EHOSTUNREACH)));
        lab.client.reconnect(socket, "[2001:2::2]:53")?;
        assert!(mixed[..2].contains(&lab.client.told(socket)?.server.to_string().as_str()));
        lab.client.close(socket)
    })
}

#[test]
fn resolution_none_keeps_the_address_and_may_change_the_port() -> Result<()> {
    check(&[], |lab| {
        let mut program = Program::default();
        let moved = service(Action::Original { port: Some(5353) }, Vec::new());
        let asked = frontend(at("10.9.0.1:53"), UDP);
        add(&mut program, &key("moved", 53, UDP), moved, &[asked]);
        lab.apply(&program);
        lab.client
            .order(&Request::AddAddresses(vec![at(FOUR[0]).ip()]))?;
        lab.serve(FOUR[0], Server::Tell(Transport::Udp))?;
        let socket = lab.client.open_udp(false)?;
        let exchange = lab.client.exchange(socket, "10.9.0.1:53")?;
        assert_eq!(exchange.map(|sent| sent.told.server), Ok(at(FOUR[0])));
        Ok(())
    })
}

#[test]
fn a_connected_socket_may_name_another_destination() -> Result<()> {
    let other = "240.240.0.2:53";
    check(&[(VIP, &FOUR[..1]), (other, &FOUR[1..2])], |lab| {
        let socket = lab.client.open_udp(false)?;
        lab.client.reconnect(socket, VIP)?;
        lab.client.expect_connected(socket, VIP, FOUR[0])?;
        // A connected socket hears from its peer alone.
        assert_eq!(
            lab.client.exchange(socket, VIP)?.map(|e| e.from),
            Ok(at(VIP))
        );
        lab.client.order(&Request::Disconnect(socket))?;
        assert_eq!(lab.client.reach(socket, other)?, at(FOUR[1]));
        assert_eq!(lab.client.reach(socket, VIP)?, at(FOUR[0]));
        lab.client.close(socket)
    })
}

#[test]
fn sockets_beyond_the_lines_of_the_map_are_remembered_at_themselves() -> Result<()> {
    let options = LoadOptions {
        limits: Limits {
            flows: 8,
            ..limits()
        },
        ..LoadOptions::default()
    };
    let Some(mut lab) = Lab::with(CLIENT, &options)? else {
        return Ok(());
    };
    lab.apply(&program(&[(VIP, &FOUR[..1])]));
    lab.client
        .order(&Request::AddAddresses(vec![at(FOUR[0]).ip()]))?;
    lab.serve(FOUR[0], Server::Tell(Transport::Udp))?;
    let sockets: Vec<u32> = (0..50)
        .map(|_| lab.client.open_udp(false))
        .collect::<Result<_>>()?;
    for _ in 0..2 {
        for &socket in &sockets {
            assert_eq!(lab.client.reach(socket, VIP)?, at(FOUR[0]));
        }
    }
    let counts = lab.dataplane.counts();
    assert_eq!((lab.open(), counts.flows_full), (50, 0));
    assert!(counts.flows_stored >= 42, "{counts:?}");
    for socket in sockets {
        lab.client.close(socket)?;
    }
    lab.expect_nothing_open();
    Ok(())
}

#[test]
fn a_socket_without_memory_for_its_record_is_sent_on_all_the_same() -> Result<()> {
    const ENDPOINT: &str = "[fd00::1]:8080";
    const VIP: &str = "[2001:2::1]:80";
    let options = LoadOptions {
        limits: limits(),
        flows_at_sockets: true,
        ..LoadOptions::default()
    };
    let Some(mut lab) = Lab::with(CLIENT, &options)? else {
        return Ok(());
    };
    lab.apply(&program(&[(VIP, &[ENDPOINT])]));
    lab.add_addresses(&[ENDPOINT])?;
    lab.serve(ENDPOINT, Server::Tell(Transport::Udp))?;
    let socket = lab.client.open(Transport::Udp, true)?;
    lab.client.set(socket, Setting::NoOptionMemory)?;
    lab.client.reconnect(socket, VIP)?;
    // The client sees where it was sent: nothing tells what it asked for.
    lab.client.expect_connected(socket, ENDPOINT, ENDPOINT)?;
    let counts = lab.dataplane.counts();
    assert_eq!((lab.open(), counts.flows_full), (0, 1));
    lab.client.close(socket)?;
    lab.expect_nothing_open();
    Ok(())
}
