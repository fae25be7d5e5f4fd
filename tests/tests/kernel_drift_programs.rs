//! The running kernel: programs that somebody else detaches, exchanges or unpins are put back.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use agent::dataplane::Part;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tests::agent_process::{AgentProcess, SMALL};
use tests::binary::shunt;
use tests::cgroup::TemporaryCgroup;
use tests::lab::{ENETUNREACH, Lab};
use tests::node::{Node, PATIENCE, entry};
use tests::programs::{at, ip};
use tests::sockets::Transport;
use tests::{bpf, pins};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const SERVICE: &str = "10.7.7.7:80";
const ENDPOINT: &str = "10.9.0.1";
/// `BPF_CGROUP_INET4_CONNECT`.
const CONNECT4: u32 = 10;
/// Lets every connect be: `r0 = 1; exit`.
const LET_BE: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

/// A node with an agent that is attached to its cgroup, and to `more`.
fn node(more: &[&str]) -> Result<Option<(Node, AgentProcess)>> {
    let Some(node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    let text = entry("a.test", "STATIC", &[ENDPOINT]) + "  addresses: [10.7.7.7]\n";
    fs::write(node.config_dir().join("a.yaml"), text)?;
    let agent = AgentProcess::start(&node, &[&SMALL, more].concat())?;
    Ok(Some((node, agent)))
}

fn endpoint() -> IpAddr {
    ip(ENDPOINT)
}

/// Holds that the agent tells of a repair of that program in its log and its status, and that connects are rewritten.
fn expect_put_back(node: &mut Node, agent: &mut AgentProcess, what: &str) -> Result<()> {
    agent.wait_for_log(what)?;
    ensure!(node.attempt(at(SERVICE))? == Ok(endpoint()));
    let socket = node.socket().display().to_string();
    let status = node.status()?;
    let repairs = status["drift"]["repairs"].to_string();
    ensure!(repairs.contains(what), "{status}");
    ensure!(status["degraded"] == false, "{status}");
    let verify = shunt(["verify", "--socket", &socket]);
    ensure!(verify.status == Some(0), "{verify:?}");
    Ok(())
}

/// What is done to the link of a program ends its effect, and is told and undone.
fn expect_undone(meddle: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>, how: &str) -> Result<()> {
    let Some((mut node, mut agent)) = node(&[])? else {
        return Ok(());
    };
    ensure!(node.attempt(at(SERVICE))? == Ok(endpoint()));
    let pin = pins::link(&node.bpf_dir(), "shunt_connect4")?;

    meddle(bpf::get_pinned(&pin)?.as_fd())?;

    ensure!(
        node.attempt(at(SERVICE))? == Err(ENETUNREACH),
        "it has no effect"
    );
    node.wait_until_reached(at(SERVICE), endpoint())?;
    expect_put_back(&mut node, &mut agent, how)?;
    agent.stop()
}

#[test]
fn a_program_that_was_detached_is_attached_again() -> Result<()> {
    expect_undone(bpf::detach_link, "was detached")
}

#[test]
fn a_program_that_was_exchanged_is_exchanged_again() -> Result<()> {
    let exchange = |link: BorrowedFd<'_>| {
        let other = bpf::load(CONNECT4, "other", &LET_BE)?;
        bpf::update_link(link, other.as_fd())
    };
    expect_undone(exchange, "ran in its place")
}

#[test]
fn no_connect_fails_while_pins_are_removed_and_all_are_there_again() -> Result<()> {
    let Some((mut node, mut agent)) = node(&[])? else {
        return Ok(());
    };
    let mut count = 0;
    let is_link = |name: &str| name.starts_with("shunt_");
    while let Some(pin) = pins::find(&node.bpf_dir(), is_link)? {
        fs::remove_file(pin)?;
        count += 1;
    }
    ensure!(count >= 9, "every program is pinned");

    let deadline = Instant::now() + PATIENCE;
    while pins::find(&node.bpf_dir(), |name| name.starts_with("shunt_release"))?.is_none() {
        ensure!(node.attempt(at(SERVICE))? == Ok(endpoint()));
        ensure!(Instant::now() < deadline, "the pins do not come back");
    }

    expect_put_back(&mut node, &mut agent, "its pin was removed")?;
    agent.kill()?;
    // They hold what they held before.
    ensure!(node.attempt(at(SERVICE))? == Ok(endpoint()));
    let bpf_dir = node.bpf_dir().display().to_string();
    let cleanup = shunt(["cleanup", "--bpf-dir", &bpf_dir]);
    ensure!(cleanup.status == Some(0), "{cleanup:?}");
    Ok(())
}

#[test]
fn pins_of_maps_that_were_removed_come_back_and_the_next_agent_goes_on_from_them() -> Result<()> {
    let Some((mut node, mut agent)) = node(&[])? else {
        return Ok(());
    };
    let is_set = |name: &str| name.starts_with("maps-");
    let set = pins::find(&node.bpf_dir(), is_set)?.context("maps are pinned")?;
    let names = || -> Result<BTreeSet<OsString>> {
        let names = fs::read_dir(&set)?.map(|pin| Ok(pin?.file_name()));
        names.collect()
    };
    let before = names()?;
    // It puts none back before all are gone.
    agent.signal(Signal::STOP)?;
    for pin in &before {
        fs::remove_file(set.join(pin))?;
    }
    fs::remove_dir(&set)?;
    agent.signal(Signal::CONT)?;

    agent.wait_for_log("/FRONTENDS was removed")?;
    expect_put_back(&mut node, &mut agent, "/REPLIES was removed")?;

    assert_eq!(names()?, before);
    agent.kill()?;
    let mut next = AgentProcess::start(&node, &SMALL)?;
    next.wait_for_log("changes=0")?;
    ensure!(node.attempt(at(SERVICE))? == Ok(endpoint()));
    next.stop()
}

#[test]
fn of_a_cgroup_that_goes_it_is_told_once_and_one_that_comes_back_has_its_programs() -> Result<()> {
    let cgroup = TemporaryCgroup::new()?;
    let path = cgroup.path().to_owned();
    let flag = format!("--cgroup={}", path.display());
    let Some((mut node, mut agent)) = node(&[&flag])? else {
        return Ok(());
    };

    drop(cgroup);

    agent.wait_for_log("the cgroup is gone")?;
    let socket = node.socket().display().to_string();
    let status = || shunt(["status", "-o", "json", "--socket", &socket]).json();
    let deadline = Instant::now() + PATIENCE;
    while status()["drift"]["standing"] != serde_json::json!([]) {
        ensure!(Instant::now() < deadline, "{}", status());
        thread::sleep(Duration::from_millis(50));
    }
    let reasons = status()["reasons"].to_string();
    ensure!(reasons.contains("is gone"), "{reasons}");
    let told = |agent: &AgentProcess| agent.log().matches("shunt_connect4 on").count();
    assert_eq!(told(&agent), 1, "{}", agent.log());
    ensure!(shunt(["verify", "--socket", &socket]).status == Some(0));
    assert_eq!(told(&agent), 1, "{}", agent.log());

    fs::create_dir(&path)?;
    let outcome = agent
        .wait_for_log("shunt_connect4 on")
        .and_then(|()| agent.wait_for_log("had gone with its cgroup"));
    let outcome =
        outcome.and_then(|()| expect_put_back(&mut node, &mut agent, "had gone with its cgroup"));
    let stopped = agent.stop();
    fs::remove_dir(&path)?;
    outcome.and(stopped)
}

#[test]
fn programs_without_pins_are_put_back_too() -> Result<()> {
    let Some(mut lab) = Lab::serving(CLIENT, &[("10.1.0.1:80", Transport::Tcp, "10.9.0.1:8080")])?
    else {
        return Ok(());
    };
    ensure!(lab.dataplane.look_after_programs().found.is_empty());
    let programs = lab.dataplane.programs().len();

    assert_eq!(bpf::detach_own_links()?, programs);

    let survey = lab.dataplane.look_after_programs();
    assert_eq!(survey.found.len(), programs, "{survey:?}");
    assert_eq!(survey.compared[&Part::Programs], programs);
    ensure!(
        survey.found.iter().all(|drift| drift.failure.is_none()),
        "{survey:?}"
    );
    let socket = lab
        .client
        .connect(Transport::Tcp, at("10.1.0.1:80"))?
        .socket();
    lab.client
        .expect_connected(socket, "10.1.0.1:80", "10.9.0.1:8080")?;
    ensure!(lab.dataplane.look_after_programs().found.is_empty());
    lab.client.close(socket).context("closing")
}
