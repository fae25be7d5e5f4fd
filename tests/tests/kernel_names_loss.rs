//! Name resolution while the agent comes and goes: programs ask on, and have their answers.

use std::process::{Child, Stdio};

use anyhow::{Result, ensure};
use tests::binary::Ended;
use tests::names::{NameNode, SERVER, wait};
use tests::node::entry;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const NAME: &str = "other.test";

/// A node with an agent, and programs that ask one question after another.
fn node() -> Result<Option<(NameNode, Vec<Child>)>> {
    let Some(mut node) = NameNode::new(CLIENT, &["dnsmasq"])? else {
        return Ok(None);
    };
    node.start_server(
        SERVER,
        &["--local=/test/", "--host-record=other.test,10.9.0.9,1"],
    )?;
    node.write("own.yaml", &entry("api.own.test", "STATIC", &["10.9.0.1"]))?;
    node.start_agent(&[])?;
    let askers = (0..2).map(|_| {
        let mut asker = node.command(&[CLIENT, "ask-on", NAME]);
        asker.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(asker.spawn()?)
    });
    let askers = askers.collect::<Result<_>>()?;
    wait("somebody asks", || Ok(node.asked(SERVER, NAME)? > 0))?;
    Ok(Some((node, askers)))
}

/// Holds that programs go on asking, and that none had to ask for a name more than twice.
fn check(node: &NameNode, askers: Vec<Child>) -> Result<()> {
    // A program that waited for an answer that never comes asks again after five seconds, and for another five if the
    // server only hangs.
    let before = node.asked(SERVER, NAME)?;
    wait("programs ask the server itself", || {
        Ok(node.asked(SERVER, NAME)? > before + 500)
    })?;
    for mut asker in askers {
        // The end of its input ends it.
        drop(asker.stdin.take());
        let ended = Ended::from(asker.wait_with_output()?);
        ensure!(ended.status == Some(0), "{ended:?}");
    }
    Ok(())
}

#[test]
fn names_resolve_on_when_the_agent_is_killed() -> Result<()> {
    let Some((mut node, askers)) = node()? else {
        return Ok(());
    };
    node.kill_agent();
    check(&node, askers)
}

#[test]
fn names_resolve_on_while_agents_are_killed_and_started_again() -> Result<()> {
    let Some((mut node, askers)) = node()? else {
        return Ok(());
    };
    for _ in 0..3 {
        node.kill_agent();
        node.start_agent(&[])?;
    }
    assert_eq!(node.resolve("api.own.test")?.len(), 2);
    node.kill_agent();
    check(&node, askers)
}

#[test]
fn names_resolve_on_when_the_agent_ends_in_order() -> Result<()> {
    let Some((mut node, askers)) = node()? else {
        return Ok(());
    };
    node.stop_agent()?;
    check(&node, askers)
}

#[test]
fn names_resolve_on_while_the_agent_hangs() -> Result<()> {
    let Some((node, askers)) = node()? else {
        return Ok(());
    };
    node.suspend_agent()?;
    check(&node, askers)
}
