//! A whole agent that is told what clients are told of names: once it says so, the running kernel recognises the
//! addresses.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use agent::compile::Saying;
use agent::model::{Answer, Fact, VipRanges};
use anyhow::{Context, Result};
use tests::client::Outcome;
use tests::node::{Node, WILDCARDS};
use tests::programs::ip;
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// A running agent, whose names nobody else answers: what was told with a question stands.
fn node() -> Result<Option<Node>> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    fs::write(node.config_dir().join("entries.yaml"), WILDCARDS)?;
    node.start()?;
    Ok(Some(node))
}

fn expect_redirected(node: &mut Node, to: IpAddr) -> Result<()> {
    let outcome = node.client.connect(Transport::Tcp, (to, 80).into())?;
    assert!(
        matches!(outcome, Outcome::Connected { peer, .. } if peer.ip() == to),
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn an_address_is_recognised_once_its_lesson_is_done() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let learned = |address| Fact::Learned {
        name: "a.wild.example".into(),
        addresses: vec![address],
        ttl: Duration::from_secs(30),
    };
    for address in [ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.1")] {
        node.teach(learned(address))?;
        expect_redirected(&mut node, address)?;
    }
    assert_eq!(node.state().compiled.learned.len(), 2);
    // Another update leaves them as they are.
    node.teach(Fact::Asked {
        name: "x.dynamic.example".into(),
        answer: Answer::default(),
    })?;
    expect_redirected(&mut node, ip("192.0.2.1"))
}

#[test]
fn a_name_has_an_address_of_its_own_once_its_lesson_is_done() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    node.dns.set(
        "a.dynamic.example",
        tests::dns_server::Entry::addresses(&["10.9.0.1"], 30),
    );
    node.teach(Fact::Asked {
        name: "a.dynamic.example".into(),
        answer: Answer {
            addresses: vec![ip("10.9.0.1")],
            failure: None,
        },
    })?;
    let state = node.state();
    let said = state.compiled.names[0].find("a.dynamic.example");
    let Some(Saying::Addresses(addresses)) = said else {
        panic!("{said:?}");
    };
    let vip = addresses.iter().find(|address| address.is_ipv4());
    let vip = *vip.context("a name has an IPv4 address")?;
    assert!(VipRanges::default().contains(vip));
    expect_redirected(&mut node, vip)
}
