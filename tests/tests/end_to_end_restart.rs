//! The real agent on the real kernel, killed and started again under the eyes of clients that never stop connecting.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use tests::agent_process::{AgentProcess, SMALL};
use tests::node::{Node, entry, vip};
use tests::programs::at;
use tests::restless::Restless;
use tests::sockets::{Churned, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const HOST: &str = "a.test";
/// Nothing names it, and nothing stands in its way but the agent.
const UNREGISTERED: &str = "10.9.0.3:8080";

/// A node without an agent, where only [`HOST`] may be reached, and the flags of an agent for it.
fn node() -> Result<Option<(Node, Vec<String>)>> {
    let Some(node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    let text = entry(HOST, "STATIC", &["10.9.0.1", "10.9.0.2"]);
    fs::write(node.config_dir().join("a.yaml"), text)?;
    let mesh = node.state_dir().with_file_name("mesh.yaml");
    fs::write(&mesh, "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")?;
    let flags = [format!("--mesh-config={}", mesh.display())];
    let flags = flags.into_iter().chain(SMALL.map(str::to_owned));
    Ok(Some((node, flags.collect())))
}

fn start(node: &Node, flags: &[String]) -> Result<AgentProcess> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    AgentProcess::start(node, &flags)
}

/// What becomes of connects to the VIP of [`HOST`] and to [`UNREGISTERED`] while `happen` does.
fn under_load(
    node: &Node,
    vip: SocketAddr,
    happen: impl FnOnce() -> Result<()>,
) -> Result<(Churned, Churned)> {
    let is_over = AtomicBool::new(false);
    let registered = Restless::new(CLIENT, node, vip)?;
    let unregistered = Restless::new(CLIENT, node, at(UNREGISTERED))?;
    thread::scope(|scope| {
        let registered = scope.spawn(|| registered.connect(&is_over));
        let unregistered = scope.spawn(|| unregistered.connect(&is_over));
        let happened = happen();
        is_over.store(true, Ordering::Relaxed);
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Churned>>| {
            thread.join().expect("connecting does not panic")
        };
        let outcome = (join(registered)?, join(unregistered)?);
        happened.map(|()| outcome)
    })
}

/// Every connect to what is registered was sent to an endpoint, and every other one denied.
fn expect_no_gap((registered, unregistered): &(Churned, Churned)) -> Result<()> {
    println!("registered: {registered:?}; unregistered: {unregistered:?}");
    ensure!(registered.failed.is_empty() && registered.connected > 0);
    let denied = unregistered
        .failed
        .keys()
        .all(|errno| *errno == libc::EPERM);
    ensure!(denied && unregistered.connected == 0 && !unregistered.failed.is_empty());
    Ok(())
}

/// The automatic address of [`HOST`], from an agent that is killed again.
fn first_agent(node: &mut Node, flags: &[String]) -> Result<(AgentProcess, SocketAddr)> {
    node.start()?;
    let vip = (vip(&node.state(), HOST)?, 80).into();
    node.stop()?;
    let agent = start(node, flags)?;
    let reached = node.client.spread(Transport::Tcp, vip, 8)?;
    ensure!(reached.len() <= 2 && !reached.contains_key(&at(UNREGISTERED).ip()));
    Ok((agent, vip))
}

/// Where maps are pinned.
fn sets_of_maps(node: &Node) -> Result<Vec<PathBuf>> {
    let mut sets = Vec::new();
    for directory in fs::read_dir(node.bpf_dir())? {
        for entry in fs::read_dir(directory?.path())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                sets.push(entry.path());
            }
        }
    }
    ensure!(sets.len() == 1, "{sets:?}");
    Ok(sets)
}

#[test]
fn no_connect_fails_or_gets_through_while_agents_are_killed_and_started() -> Result<()> {
    let Some((mut node, flags)) = node()? else {
        return Ok(());
    };
    let (mut agent, vip) = first_agent(&mut node, &flags)?;

    let maps = sets_of_maps(&node)?;

    let outcome = under_load(&node, vip, || {
        for _ in 0..5 {
            agent.kill().context("killing an agent")?;
            agent = start(&node, &flags)?;
            agent.expect_no_changes()?;
        }
        Ok(())
    })?;

    // With the few rights that an agent keeps, it has found what to go on from.
    assert_eq!(sets_of_maps(&node)?, maps);
    expect_no_gap(&outcome)
}
