//! The real agent on the real kernel, while thousands of cgroups come and go at once: more than there is room for.

use std::fs;
use std::thread;
use std::time::Instant;

use agent::observe::State;
use anyhow::{Context, Result, ensure};
use tests::cgroup::TemporaryCgroup;
use tests::clients::workload;
use tests::lab;
use tests::node::{ADDRESSES, Node, PATIENCE, entry};
use tests::programs::{at, ip};
use tests::sockets::Request;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.0.0.1:80";

fn expect_reached(node: &mut Node) -> Result<()> {
    let reached = node.attempt(at(VIP))?;
    ensure!(reached == Ok(ip(ADDRESSES[0])), "{reached:?}");
    Ok(())
}

/// Cgroups that come and go at once.
const BURST: usize = 3_000;

/// How many directories this process watches.
fn watched() -> Result<usize> {
    let mut count = 0;
    for file in fs::read_dir("/proc/self/fdinfo")? {
        // One may be closed meanwhile.
        let text = fs::read_to_string(file?.path()).unwrap_or_default();
        count += text
            .lines()
            .filter(|line| line.starts_with("inotify wd:"))
            .count();
    }
    Ok(count)
}

fn has_room(state: &State) -> bool {
    let mut findings = state.dataplane_diagnostics.iter();
    !findings.any(|finding| finding.code == "SH4007")
}

/// How many cgroups have their scope in the maps.
fn placed(node: &Node) -> Result<u64> {
    let status = node.status()?;
    let mut maps = status["maps"].as_array().context("maps are listed")?.iter();
    let cgroups = maps.find(|map| map["name"] == "cgroups");
    let used = cgroups.and_then(|map| map["used"].as_u64());
    used.context("cgroups are among them")
}

#[test]
fn of_more_cgroups_than_there_is_room_for_those_that_fit_have_their_scope() -> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    let private = format!(
        "{}  exportTo: ['.']\n",
        entry("p.test", "STATIC", &[ADDRESSES[0]])
    );
    let address = format!("  addresses: [{}]\n", at(VIP).ip());
    let private = private.replace("{name: p.test}", "{name: p.test, namespace: shop}");
    let spec = format!("cgroup: '{}/test-of-*'", node.cgroup.path().display());
    let text = private + &address + &workload("shop", "w", "", &spec);
    fs::write(node.config_dir().join("a.yaml"), text)?;
    let outside = node.cgroup.path().to_owned();
    let first = TemporaryCgroup::below(&outside)?;
    node.start()?;
    node.client
        .order(&Request::JoinCgroup(first.path().to_owned()))?;
    expect_reached(&mut node)?;
    let (few, idle) = (placed(&node)?, watched()?);

    let begun = Instant::now();
    let burst = (0..BURST).map(|_| TemporaryCgroup::below(&outside));
    let burst: Vec<TemporaryCgroup> = burst.collect::<Result<_>>()?;
    node.wait_until("there is no room", |state| !has_room(state))?;
    let room = u64::from(lab::limits().cgroups);
    ensure!(placed(&node)? == room, "{} are placed", placed(&node)?);
    println!("full after {:?}", begun.elapsed());
    expect_reached(&mut node)?;
    let deadline = Instant::now() + PATIENCE;
    while watched()? > idle + BURST {
        ensure!(Instant::now() < deadline, "{} are watched", watched()?);
        thread::yield_now();
    }

    drop(burst);
    node.wait_until("there is room again", has_room)?;
    let deadline = Instant::now() + PATIENCE;
    while placed(&node)? != few || watched()? > idle {
        let (placed, watched) = (placed(&node)?, watched()?);
        ensure!(
            Instant::now() < deadline,
            "{placed} placed, {watched} watched, and not {few} and {idle}"
        );
        thread::yield_now();
    }
    println!("empty after {:?}", begun.elapsed());
    expect_reached(&mut node)?;
    node.client.order(&Request::JoinCgroup(outside))?;
    Ok(())
}
