//! The real agent on the real kernel: an endpoint that joins others with a warmup gets a small part at first, and its whole part
//! when the time is over.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use agent::model::Vital;
use agent::observe::State;
use anyhow::{Context, Result, ensure};
use tests::node::{ADDRESSES, Node, vip};
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const HOST: &str = "a.test";
const NEW: &str = ADDRESSES[2];
/// A multiple of 3, and of the 9 of a round in which the new endpoint has a quarter of its weight.
const CONNECTS: u32 = 360;

/// By turns, so that parts are exact.
const RULE: &str = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec:\n  \
    host: a.test\n  trafficPolicy:\n    \
    loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 4s, minimumPercent: 10}}\n";

fn write(node: &Node, addresses: &[&str]) -> Result<()> {
    let objects = tests::node::entry(HOST, "STATIC", addresses) + RULE;
    Ok(fs::write(node.config_dir().join("a.yaml"), objects)?)
}

/// How the new endpoint is; `None` before it has joined.
fn vital(state: &State) -> Option<Vital> {
    let services = state.compiled.program.services.values();
    let mut endpoints = services.flat_map(|service| &service.endpoints);
    let new: IpAddr = NEW.parse().expect("an address");
    let endpoint = endpoints.find(|endpoint| endpoint.address == new)?;
    Some(endpoint.vital)
}

/// How many connects the new endpoint gets, and how it is all the while.
fn measure(node: &mut Node, to: SocketAddr) -> Result<(u32, Vital)> {
    let new: IpAddr = NEW.parse()?;
    loop {
        let before = node.state();
        let reached = node.client.spread(Transport::Tcp, to, CONNECTS)?;
        if Arc::ptr_eq(&before, &node.state()) {
            let count = reached.get(&new).copied().unwrap_or(0);
            let vital = vital(&before).context("it has gone again")?;
            return Ok((count, vital));
        }
    }
}

/// So many connects an endpoint gets beside two that have their whole weight. Of a round of turns that is begun and not ended,
/// it may have its turn or not: that is one more or less.
fn expected(vital: Vital) -> u32 {
    let part = u32::from(vital.thousandths());
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
    node.wait_until("the new endpoint has joined", |state| {
        vital(state).is_some()
    })?;
    let mut parts = Vec::new();
    let mut warmth = Vital::Warming(0);
    while warmth != Vital::Healthy {
        let (count, found) = measure(&mut node, to)?;
        println!("{found:?}: {count} of {CONNECTS}");
        parts.push(found.thousandths());
        warmth = found;
        if found != Vital::Healthy {
            let next = node.wait_until("it is warmer", |state| {
                vital(state).is_some_and(|now| now != found)
            })?;
            warmth = vital(&next).context("it has gone again")?;
        }
        // What the kernel has is published a moment later: the last connects may have gone by what comes next.
        let range = expected(found) - 1..=expected(warmth) + 1;
        assert!(range.contains(&count), "{count} is not in {range:?}");
    }
    assert_eq!(measure(&mut node, to)?, (CONNECTS / 3, Vital::Healthy));
    // The first second counts as one of four.
    ensure!(parts[0] <= 500, "it begins with {} of 1000", parts[0]);
    ensure!(parts.is_sorted() && parts.len() > 2, "{parts:?}");
    Ok(())
}
