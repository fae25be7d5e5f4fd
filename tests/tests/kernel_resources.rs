//! The real agent on the real kernel, short of what it needs: of room for what the kernel tells, of file descriptors, of locked
//! memory. It says so, nothing that is in force goes, and all is well again when there is enough.

use std::fs;
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tests::agent_process::{AgentProcess, SMALL};
use tests::binary;
use tests::confined::Confinement;
use tests::lab::{self, ECONNREFUSED};
use tests::node::{ADDRESSES, Node, PORT, entry};
use tests::programs::{at, ip};
use tests::sockets::{Race, Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Where services are found.
const VIPS: [&str; 2] = ["240.0.0.1:80", "240.0.0.2:80"];

/// Writes a service at one of [`VIPS`], with one of [`ADDRESSES`] as its endpoint.
fn write(node: &Node, number: usize) -> Result<()> {
    let text = entry(&format!("s{number}.test"), "STATIC", &[ADDRESSES[number]]);
    let text = text + &address(number);
    let file = node.config_dir().join(format!("{number}.yaml"));
    Ok(fs::write(file, text)?)
}

/// What ends an entry at one of [`VIPS`].
fn address(number: usize) -> String {
    format!("  addresses: [{}]\n", at(VIPS[number]).ip())
}

fn expect_reached(node: &mut Node, number: usize) -> Result<()> {
    let reached = node.attempt(at(VIPS[number]))?;
    ensure!(reached == Ok(ip(ADDRESSES[number])), "{reached:?}");
    Ok(())
}

#[test]
fn failed_connects_that_nobody_hears_of_are_counted_and_shown_and_later_ones_heard_of() -> Result<()>
{
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    if !lab::has_compare_and_swap() {
        lab::skip("connects are not followed");
        return Ok(());
    }
    write(&node, 0)?;
    let flags = [SMALL.as_slice(), &["--sock-ops"]].concat();
    let agent = AgentProcess::start(&node, &flags)?;
    expect_reached(&mut node, 0)?;
    let endpoint = SocketAddr::new(ip(ADDRESSES[0]), PORT);
    node.client.order(&Request::StopListening(endpoint))?;
    let fail = |node: &mut Node, connects: usize| -> Result<()> {
        let runs = node.client.race(Race {
            threads: 2,
            connects,
            to: vec![(Transport::Tcp, at(VIPS[0]))],
        })?;
        let mut refused = runs.iter().map(|run| run.reached == Err(ECONNREFUSED));
        ensure!(refused.all(|is| is), "{:?}", runs.first());
        Ok(())
    };
    agent.signal(Signal::STOP)?;
    fail(&mut node, 3_000)?;
    agent.signal(Signal::CONT)?;
    let lost = node.status()?["totals"]["eventsLost"].as_u64();
    let lost = lost.context("it is a number")?;
    ensure!(lost > 0 && lost < 6_000, "{lost} of 6,000 are lost");
    fail(&mut node, 10)?;
    let socket = node.socket().display().to_string();
    let shown = binary::shunt(["status", "--socket", &socket]).stdout;
    let words = format!("{lost} failed connects not heard of");
    ensure!(shown.contains(&words), "no {words:?} in\n{shown}");
    agent.stop()
}

#[test]
fn an_agent_that_may_open_too_few_files_says_which_limit_and_leaves_nothing() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    write(&node, 0)?;
    for descriptors in [4, 32, 255] {
        let confinement = Confinement {
            descriptors: Some(descriptors),
            ..Confinement::default()
        };
        let started = AgentProcess::confined(&node, CLIENT, &confinement, &SMALL);
        let Err(error) = started else {
            bail!("{descriptors} files are enough");
        };
        let said = format!("{error:#}");
        let is_said = said.contains(&format!("limit of {descriptors} open files"))
            && said.contains("LimitNOFILE=")
            && said.contains("exit status: 1");
        ensure!(is_said, "with {descriptors}: {said}");
        let failure = node.failure(at(VIPS[0]))?;
        ensure!(failure == Some(lab::ENETUNREACH), "{failure:?}");
        ensure!(!node.bpf_dir().exists(), "with {descriptors} pins stay");
    }
    Ok(())
}

/// How many files the agent may have open from now on.
fn let_open(agent: &AgentProcess, files: u64) -> Result<()> {
    let process = Pid::from_raw(i32::try_from(agent.id())?);
    let limit = Rlimit {
        current: Some(files),
        maximum: Some(4_096),
    };
    prlimit(process, Resource::Nofile, limit)?;
    Ok(())
}

#[test]
fn files_that_cannot_be_opened_cost_nothing_that_is_in_force() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    write(&node, 0)?;
    let mut agent = AgentProcess::start(&node, &SMALL)?;
    expect_reached(&mut node, 0)?;
    let_open(&agent, 3)?;
    let lines = agent.log().lines().count();
    write(&node, 1)?;
    agent.wait_for_log("Too many open files")?;
    let socket = node.socket().display().to_string();
    thread::scope(|scope| {
        let asking = scope.spawn(|| binary::shunt(["status", "--socket", &socket]));
        agent.wait_for_log("the control socket cannot take clients")?;
        for _ in 0..100 {
            expect_reached(&mut node, 0)?;
        }
        let said = agent.log().lines().count() - lines;
        ensure!(said < 50, "it says {said} lines:\n{}", agent.log());
        let_open(&agent, 4_096)?;
        let told = asking.join().expect("asking does not panic");
        ensure!(
            told.stderr.is_empty() && !told.stdout.is_empty(),
            "{told:?}"
        );
        node.wait_until_reached(at(VIPS[1]), ip(ADDRESSES[1]))
    })?;
    expect_reached(&mut node, 0)?;
    agent.stop()
}

/// Whether the kernel counts maps and programs as locked memory (before Linux 5.11).
fn counts_locked_memory() -> Result<bool> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        bail!("{release} is no release");
    };
    Ok((major?, minor?) < (5, 11))
}

#[test]
fn a_limit_of_locked_memory_is_raised_or_named_where_it_counts() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    write(&node, 0)?;
    let may_raise = Confinement {
        locked_memory: Some(65_536),
        ..Confinement::default()
    };
    let agent = AgentProcess::confined(&node, CLIENT, &may_raise, &SMALL)?;
    expect_reached(&mut node, 0)?;
    agent.stop()?;
    let may_not = Confinement {
        capabilities: Some(["BPF", "NET_ADMIN", "PERFMON"].map(str::to_owned).into()),
        ..may_raise
    };
    match AgentProcess::confined(&node, CLIENT, &may_not, &SMALL) {
        Ok(_) => ensure!(!counts_locked_memory()?, "64 KiB are enough"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("LimitMEMLOCK=infinity"), "{said}");
            ensure!(counts_locked_memory()?, "maps are not locked memory here");
        }
    }
    Ok(())
}
