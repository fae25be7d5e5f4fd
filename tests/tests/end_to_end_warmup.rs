//! The real agent on the real kernel: an endpoint that joins others with a warmup gets a small part at first, and its whole part
//! when the time is over.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use agent::observe::State;
use anyhow::{Context, Result, ensure};
use tests::node::{ADDRESSES, Node, vip};
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const HOST: &str = "a.test";
const NEW: &str = ADDRESSES[2];
/// A multiple of 3, and few enough that a slow machine makes them before much has changed.
const CONNECTS: u32 = 90;
/// So often the agent looks how warm an endpoint is.
const TICK: Duration = Duration::from_millis(500);

/// By turns, so that parts are exact.
const RULE: &str = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec:\n  \
    host: a.test\n  trafficPolicy:\n    \
    loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 10s, minimumPercent: 10}}\n";

fn write(node: &Node, addresses: &[&str]) -> Result<()> {
    let objects = tests::node::entry(HOST, "STATIC", addresses) + RULE;
    Ok(fs::write(node.config_dir().join("a.yaml"), objects)?)
}

/// The part of its weight that the new endpoint has, in thousandths; `None` before it has joined.
fn warmth(state: &State) -> Option<u16> {
    let services = state.compiled.program.services.values();
    let mut endpoints = services.flat_map(|service| &service.endpoints);
    let new: IpAddr = NEW.parse().expect("an address");
    let endpoint = endpoints.find(|endpoint| endpoint.address == new)?;
    Some(endpoint.vital.thousandths())
}

/// So many connects an endpoint gets beside two that have their whole weight.
fn expected(warmth: u16) -> u32 {
    let part = u32::from(warmth);
    CONNECTS * part / (2000 + part)
}

#[test]
fn an_endpoint_that_joins_has_a_small_part_until_it_is_warm() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    write(&node, &ADDRESSES[..2])?;
    node.start()?;
    let to = SocketAddr::new(vip(&node.state(), HOST)?, 80);
    // Those that there are from the start have nobody to warm up beside.
    let reached = node.client.spread(Transport::Tcp, to, CONNECTS)?;
    assert_eq!(reached.into_values().collect::<Vec<_>>(), [CONNECTS / 2; 2]);

    write(&node, &ADDRESSES)?;
    let joined = node.wait_until("the new endpoint has joined", |state| {
        warmth(state).is_some()
    })?;
    let new: IpAddr = NEW.parse()?;
    let mut before = warmth(&joined).context("it has gone again")?;
    // The first second counts as one of ten.
    ensure!(before < 500, "it begins with {before} of 1000");
    while before < 1000 {
        let start = Instant::now();
        let reached = node.client.spread(Transport::Tcp, to, CONNECTS)?;
        let time = start.elapsed();
        // What the kernel has is published a moment earlier: the last connects may have gone by what comes next.
        let next = node.wait_until("it is warmer", |state| {
            warmth(state).is_some_and(|now| now == 1000 || now > before)
        })?;
        let after = warmth(&next).context("it has gone again")?;
        let count = reached.get(&new).copied().unwrap_or(0);
        println!("{before} to {after}: {count} of {CONNECTS} in {time:?}");
        // Each change begins a round of turns anew, and the new endpoint may have had its turn in the one before it or not.
        let rounds = u32::try_from(time.as_millis() / TICK.as_millis())? + 2;
        let range = expected(before).saturating_sub(rounds)..=expected(after) + rounds;
        assert!(range.contains(&count), "{count} is not in {range:?}");
        before = after;
    }
    let reached = node.client.spread(Transport::Tcp, to, CONNECTS)?;
    assert_eq!(reached.get(&new), Some(&(CONNECTS / 3)));
    Ok(())
}
