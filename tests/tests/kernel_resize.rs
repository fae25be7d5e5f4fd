//! The running kernel: sockets keep what is on record of them while agents come that keep more records, or fewer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use agent::compile::Program;
use agent::dataplane::{Dataplane, Limits, LoadOptions};
use agent_common::abi::UDP;
use anyhow::{Context, Result};
use tests::lab;
use tests::pins;
use tests::programs::{at, balance, frontend};
use tests::site::Site;
use tests::sockets::{Request, Server, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIPS: u8 = 20;
const FOUR: [&str; 4] = [
    "10.9.0.1:5353",
    "10.9.0.2:5353",
    "10.9.0.3:5353",
    "10.9.0.4:5353",
];

fn vips() -> impl Iterator<Item = String> {
    (1..=VIPS).map(|n| format!("240.240.0.{n}:53"))
}

/// Every VIP leads to four endpoints.
fn program() -> Program {
    let mut program = Program::default();
    let endpoints = FOUR.map(|to| (at(to), 1));
    for vip in vips() {
        balance(&mut program, &vip, frontend(at(&vip), UDP), &endpoints);
    }
    program
}

/// With endpoints that tell who they are.
fn site() -> Result<Option<Site>> {
    let Some(mut site) = Site::new(CLIENT)? else {
        return Ok(None);
    };
    let addresses = FOUR.iter().map(|to| at(to).ip()).collect();
    site.client.order(&Request::AddAddresses(addresses))?;
    for endpoint in FOUR {
        site.client.order(&Request::Serve {
            at: at(endpoint),
            server: Server::Tell(Transport::Udp),
        })?;
    }
    Ok(Some(site))
}

/// An agent that keeps so many records takes the place of the one before it.
fn succeed(site: &Site, limits: Limits) -> Result<Dataplane> {
    let mut next = Dataplane::load(&LoadOptions {
        limits,
        ..site.options()
    })?;
    next.apply(&program());
    site.attach(&mut next)?;
    Ok(next)
}

/// Where datagrams to each VIP go. Answers must seem to come from there.
fn reached(site: &mut Site, socket: u32) -> Result<BTreeMap<String, SocketAddr>> {
    let mut reached = BTreeMap::new();
    for vip in vips() {
        let server = site.client.reach(socket, &vip)?;
        reached.insert(vip, server);
    }
    Ok(reached)
}

/// How many lines may be claimed, and whether programs look in earlier ones as well.
fn lines(site: &Site, dataplane: &Dataplane) -> Result<(u64, bool)> {
    let mut maps = dataplane.fill().into_iter();
    let flows = maps.find(|fill| fill.map == "flows");
    let earlier = pins::find(&site.pins(), |name| name == "EARLIER_FLOWS")?;
    Ok((flows.context("it is told of")?.capacity, earlier.is_some()))
}

#[test]
fn sockets_are_on_record_until_they_are_closed_however_many_records_each_agent_keeps() -> Result<()>
{
    let Some(mut site) = site()? else {
        return Ok(());
    };
    let of = |flows| Limits {
        flows,
        ..lab::limits()
    };
    let mut sockets: Vec<(u32, String)> = Vec::new();
    // Larger, back to the first, which still has records, anew, and to another, which must wait while these two have some.
    for (flows, expected, has_earlier) in [
        (8, 8, false),
        (64, 64, true),
        (8, 8, true),
        (8, 8, true),
        (32, 8, true),
    ] {
        let dataplane = succeed(&site, of(flows))?;
        if lab::has_compare_and_swap() {
            let lines = lines(&site, &dataplane)?;
            assert_eq!(lines, (expected, has_earlier), "after {flows}");
        }
        for (socket, vip) in &sockets {
            assert_eq!(site.client.peer(*socket)?, at(vip), "after {flows}");
        }
        assert_eq!(lab::open(&dataplane), sockets.len() as u64, "after {flows}");
        // Of the older ones some end, and some go elsewhere.
        for (socket, _) in sockets.drain(..sockets.len() / 3) {
            site.client.close(socket)?;
        }
        for ((socket, vip), next) in sockets.iter_mut().zip(vips()).step_by(3) {
            site.client.reconnect(*socket, &next)?;
            *vip = next;
        }
        for vip in vips() {
            sockets.push((site.connect_to(at(&vip))?, vip));
        }
        assert_eq!(lab::open(&dataplane), sockets.len() as u64, "after {flows}");
        for (socket, vip) in &sockets {
            assert_eq!(site.client.peer(*socket)?, at(vip), "after {flows}");
        }
    }

    for (socket, _) in sockets {
        site.client.close(socket)?;
    }

    // Nothing is in use, so that what waited is done, and what was looked in beside is forgotten at the start after that.
    for has_earlier in [true, false] {
        let dataplane = succeed(&site, of(32))?;
        if lab::has_compare_and_swap() {
            assert_eq!(lines(&site, &dataplane)?, (32, has_earlier));
        }
        assert_eq!(
            (lab::open(&dataplane), dataplane.tables().flows().count()),
            (0, 0)
        );
    }
    agent::dataplane::cleanup(&site.pins())?;
    Ok(())
}

#[test]
fn a_socket_keeps_its_endpoint_of_each_destination_however_many_are_remembered() -> Result<()> {
    let Some(mut site) = site()? else {
        return Ok(());
    };
    let limits = lab::limits();
    let of = |flows, replies| Limits {
        flows,
        replies,
        ..limits
    };
    // Always several times what there is to remember: each CPU takes free elements by the hundred.
    drop(succeed(&site, of(8, 2048))?);
    let mut sockets = Vec::new();
    for (flows, replies) in [(8, 4096), (64, 8192), (64, 1024), (8, 2048)] {
        let socket = site.client.open_udp(false)?;
        let before = reached(&mut site, socket)?;
        sockets.push((socket, before));

        drop(succeed(&site, of(flows, replies))?);

        for (socket, before) in &sockets {
            let now = reached(&mut site, *socket)?;
            assert_eq!(now, *before, "after {flows} lines and {replies} replies");
        }
    }
    for (socket, _) in sockets {
        site.client.close(socket)?;
    }
    let dataplane = succeed(&site, limits)?;
    assert_eq!(
        (lab::open(&dataplane), dataplane.tables().flows().count()),
        (0, 0)
    );
    drop(dataplane);
    agent::dataplane::cleanup(&site.pins())?;
    Ok(())
}
