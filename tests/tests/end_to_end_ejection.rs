//! The real agent on the real kernel: which endpoints count as failing, when one of five is a blackhole, or takes connections
//! and resets them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use agent::dataplane::Dataplane;
use anyhow::Result;
use tests::lab::{self, ECONNREFUSED};
use tests::node::{ADDRESSES, Node, PATIENCE, PORT, ejected, vip};
use tests::sockets::{Request, Server, Setting, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const HOST: &str = "a.test";
/// Where another endpoint listens, beside those that a node has.
const FOURTH: &str = "10.9.0.4";
/// The fifth endpoint, which does what the test is about.
const FIFTH: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 5);

/// Each endpoint has its turn, and is left out after so many failures; a connect is given up after 300 ms.
fn rule(failures: u32) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec:\n  host: {HOST}\n  \
         trafficPolicy:\n    loadBalancer: {{simple: ROUND_ROBIN}}\n    \
         connectionPool: {{tcp: {{connectTimeout: 300ms}}}}\n    \
         outlierDetection: {{consecutive5xxErrors: {failures}}}\n"
    )
}

/// A node with four endpoints that accept connections, and a fifth that `prepare` makes what it is.
fn node(
    failures: u32,
    prepare: impl FnOnce(&mut Node) -> Result<()>,
) -> Result<Option<(Node, SocketAddr)>> {
    if !Dataplane::has_compare_and_swap() {
        lab::skip("this kernel does not tell of failed connects");
        return Ok(None);
    }
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    let fourth = FOURTH.parse()?;
    node.client.order(&Request::AddAddresses(vec![fourth]))?;
    let fourth = SocketAddr::new(fourth, PORT);
    node.client.order(&Request::Listen(fourth))?;
    prepare(&mut node)?;

    let fifth = FIFTH.to_string();
    let addresses: Vec<&str> = ADDRESSES.into_iter().chain([FOURTH, &fifth]).collect();
    let objects = tests::node::entry(HOST, "STATIC", &addresses) + &rule(failures);
    fs::write(node.config_dir().join("a.yaml"), objects)?;
    node.start()?;
    let to = SocketAddr::new(vip(&node.state(), HOST)?, 80);
    Ok(Some((node, to)))
}

/// It is the connect's timeout that makes it fail: without one, nothing would be known of it for two minutes.
#[test]
fn an_endpoint_that_answers_nothing_is_left_out_after_the_timeouts_that_the_rule_says() -> Result<()>
{
    if !Dataplane::can_set_errno() {
        lab::skip(
            "bpf_getsockopt does not tell TCP_USER_TIMEOUT, so that no connect has a timeout",
        );
        return Ok(());
    }
    let blackhole = |node: &mut Node| node.client.order(&Request::Blackhole(FIFTH));
    let Some((mut node, to)) = node(5, blackhole)? else {
        return Ok(());
    };
    // All at once, so that their timeouts are over at once: every fifth goes nowhere.
    let mut sockets = Vec::new();
    for _ in 0..25 {
        let socket = node.client.open(Transport::Tcp, false)?;
        node.client.set(socket, Setting::NonBlocking)?;
        node.client.connect_socket(socket, Transport::Tcp, to)?;
        sockets.push(socket);
    }
    let mut outcomes: BTreeMap<Option<i32>, u32> = BTreeMap::new();
    for socket in sockets {
        let error = node.client.pending_error(socket)?;
        *outcomes.entry(error).or_default() += 1;
        node.client.close(socket)?;
    }
    assert_eq!(outcomes, [(None, 20), (Some(libc::ETIMEDOUT), 5)].into());

    let fifth = IpAddr::from(FIFTH);
    node.wait_until("the fifth is left out", |state| {
        ejected(state) == [fifth].into()
    })?;
    // One that went there would fail, a second later.
    let reached = node.client.spread(Transport::Tcp, to, 100)?;
    assert_eq!(reached.into_values().collect::<Vec<_>>(), [25; 4]);
    Ok(())
}

/// Health is that of connects, as with Envoy's TCP proxy: one that was established has succeeded, whatever becomes of the
/// connection. An endpoint that accepts and resets at once is therefore not left out, with whatever threshold, while one
/// that refuses is at its first failure.
#[test]
fn an_endpoint_that_accepts_and_resets_is_not_left_out() -> Result<()> {
    let resets = |node: &mut Node| {
        let fifth = FIFTH.into();
        node.client.order(&Request::AddAddresses(vec![fifth]))?;
        node.client.order(&Request::Serve {
            at: SocketAddr::new(fifth, PORT),
            server: Server::Reset,
        })
    };
    let Some((mut node, to)) = node(1, resets)? else {
        return Ok(());
    };
    assert_eq!(turns(&mut node, to, 100)?, [20; 5]);

    // What the kernel tells is in order: when this one is known to fail, so would be the fifth.
    let first: IpAddr = ADDRESSES[0].parse()?;
    let listener = SocketAddr::new(first, PORT);
    node.client.order(&Request::StopListening(listener))?;
    let mut refused = 0;
    let deadline = Instant::now() + PATIENCE;
    while !ejected(&node.state()).contains(&first) {
        refused += u32::from(node.attempt(to)? == Err(ECONNREFUSED));
        assert!(
            Instant::now() < deadline,
            "{first} stays after {refused} refusals"
        );
    }
    assert_eq!(ejected(&node.state()), [first].into());
    assert_eq!(turns(&mut node, to, 100)?, [0, 25, 25, 25, 25]);
    Ok(())
}

/// How many connects each of the five gets. The fifth resets, which may be before connect(2) returns.
fn turns(node: &mut Node, to: SocketAddr, count: u32) -> Result<[u32; 5]> {
    let mut turns = [0; 5];
    for _ in 0..count {
        let last_octet = match node.attempt(to)? {
            Ok(IpAddr::V4(reached)) => reached.octets()[3],
            Err(libc::ECONNRESET) => 5,
            other => panic!("{other:?}"),
        };
        turns[usize::from(last_octet) - 1] += 1;
    }
    Ok(turns)
}
