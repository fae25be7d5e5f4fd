//! The real agent on the real kernel: when the near endpoints go down, connects go to the other locality, and back.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use agent::dataplane::Dataplane;
use anyhow::{Result, ensure};
use tests::lab::{self, ECONNREFUSED};
use tests::node::{ADDRESSES, Node, PATIENCE, PORT, ejected, vip};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const HOST: &str = "a.test";
const CONNECTS: u32 = 400;

/// Failures in a row after which an endpoint is left out.
const FAILURES: usize = 2;

/// Two endpoints where the node is, and one elsewhere.
fn objects() -> String {
    let [first, second, far] = ADDRESSES;
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a}}\nspec:\n  hosts: [{HOST}]\n  \
         ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {PORT}}}]\n  resolution: STATIC\n  endpoints:\n  \
         - {{address: {first}, locality: near/zone}}\n  - {{address: {second}, locality: near/zone}}\n  \
         - {{address: {far}, locality: far/zone}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec:\n  host: {HOST}\n  \
         trafficPolicy:\n    outlierDetection: {{consecutive5xxErrors: {FAILURES}, interval: 100ms, baseEjectionTime: 2s, \
         maxEjectionPercent: 100}}\n"
    )
}

#[test]
fn connects_fail_over_to_the_other_locality_and_return() -> Result<()> {
    if !Dataplane::has_compare_and_swap() {
        lab::skip("this kernel does not tell of failed connects");
        return Ok(());
    }
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let [first, second, far] = ADDRESSES.map(|address| address.parse().expect("an address"));
    let near = BTreeSet::from([first, second]);
    fs::write(node.config_dir().join("a.yaml"), objects())?;
    node.place("near/zone");
    node.start()?;
    let to = SocketAddr::new(vip(&node.state(), HOST)?, 80);
    expect_all(&mut node, to, &near)?;

    for address in &near {
        let at = SocketAddr::new(*address, PORT);
        node.client.order(&Request::StopListening(at))?;
    }
    let failures = connect_until_left_out(&mut node, to, &near)?;
    assert!(failures >= near.len() * FAILURES, "{failures}");
    expect_all(&mut node, to, &[far].into())?;

    for address in &near {
        let at = SocketAddr::new(*address, PORT);
        node.client.order(&Request::Listen(at))?;
    }
    // Whoever connects does not see them return.
    let deadline = Instant::now() + PATIENCE;
    while !ejected(&node.state()).is_empty() {
        assert!(node.attempt(to)?.is_ok());
        ensure!(Instant::now() < deadline, "they do not return");
    }
    expect_all(&mut node, to, &near)
}

/// Connects without a pause until all these are left out, and returns how many connects failed: as many as the rule says, and
/// those that came before the agent had heard of the last of these.
fn connect_until_left_out(
    node: &mut Node,
    to: SocketAddr,
    addresses: &BTreeSet<IpAddr>,
) -> Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    let mut failures = 0;
    let mut first = None;
    let mut left_out = BTreeSet::new();
    while left_out != *addresses {
        if node.attempt(to)? == Err(ECONNREFUSED) {
            first.get_or_insert_with(Instant::now);
            failures += 1;
        }
        let now = ejected(&node.state());
        if now != left_out {
            let since = first.map(|first| first.elapsed());
            println!("{now:?} left out after {failures} failures, {since:?} after the first");
            left_out = now;
        }
        ensure!(Instant::now() < deadline, "only {left_out:?} are left out");
    }
    Ok(failures)
}

/// That every connect succeeds, and that these are reached and nobody else.
fn expect_all(node: &mut Node, to: SocketAddr, addresses: &BTreeSet<IpAddr>) -> Result<()> {
    let reached = node.client.spread(Transport::Tcp, to, CONNECTS)?;
    assert_eq!(reached.into_keys().collect::<BTreeSet<_>>(), *addresses);
    Ok(())
}
