//! The real agent on the real kernel: from what a DNS server answers to where sockets go.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tests::dns_server::Entry;
use tests::node::{Node, entry};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const HOST: &str = "a.test";
/// Of every answer, in seconds.
const TTL: u32 = 1;

/// A running agent that has resolved a name to `addresses`.
fn node(resolution: &str, addresses: &[&str]) -> Result<Option<Node>> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    node.dns.set(HOST, Entry::addresses(addresses, TTL));
    fs::write(
        node.config_dir().join("a.yaml"),
        entry(HOST, resolution, &[]),
    )?;
    node.start()?;
    Ok(Some(node))
}

/// Waits until the server has been asked twice more, so that the agent has had the answer to the first of them.
fn wait_for_questions(node: &Node) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let before = node.dns.asked(HOST, RecordType::A);
    while node.dns.asked(HOST, RecordType::A) < before + 2 {
        ensure!(Instant::now() < deadline, "the name is not asked for again");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn sockets_follow_a_name_as_it_changes() -> Result<()> {
    let Some(mut node) = node("DNS", &["10.9.0.1", "10.9.0.2"])? else {
        return Ok(());
    };
    node.wait_for(HOST, &["10.9.0.1", "10.9.0.2"])?;
    node.dns
        .set(HOST, Entry::addresses(&["10.9.0.3", "10.9.0.2"], TTL));
    node.wait_for(HOST, &["10.9.0.2", "10.9.0.3"])
}

#[test]
fn round_robin_dns_is_at_the_first_address_of_the_newest_answer() -> Result<()> {
    let Some(mut node) = node("DNS_ROUND_ROBIN", &["10.9.0.1", "10.9.0.2"])? else {
        return Ok(());
    };
    node.wait_for(HOST, &["10.9.0.1"])?;
    node.dns
        .set(HOST, Entry::addresses(&["10.9.0.2", "10.9.0.1"], TTL));
    node.wait_for(HOST, &["10.9.0.2"])
}

#[test]
fn a_name_that_fails_keeps_its_last_good_answer() -> Result<()> {
    let Some(mut node) = node("DNS", &["10.9.0.1"])? else {
        return Ok(());
    };
    node.wait_for(HOST, &["10.9.0.1"])?;

    node.dns.set(HOST, Entry::Code(ResponseCode::ServFail));

    let failed = node.wait_until("the resolution fails", |state| {
        state.snapshot.answers[HOST].failure.is_some()
    })?;
    assert_eq!(failed.snapshot.answers[HOST].addresses.len(), 1);
    node.wait_for(HOST, &["10.9.0.1"])?;
    node.dns.set(HOST, Entry::addresses(&["10.9.0.2"], TTL));
    node.wait_for(HOST, &["10.9.0.2"])
}

#[test]
fn an_answer_that_says_the_same_changes_nothing() -> Result<()> {
    let Some(mut node) = node("DNS", &["10.9.0.1", "10.9.0.2"])? else {
        return Ok(());
    };
    node.wait_for(HOST, &["10.9.0.1", "10.9.0.2"])?;
    wait_for_questions(&node)?;
    let before = node.state().generation;

    wait_for_questions(&node)?;

    assert_eq!(node.state().generation, before);
    Ok(())
}
