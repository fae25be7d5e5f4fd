//! The running kernel: what another data plane goes on from where one was killed, or was replaced.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use agent::dataplane::{Dataplane, Limits, LoadOptions};
use anyhow::{Context, Result, ensure};
use tests::client::{Client, Outcome};
use tests::lab;
use tests::programs::{DOOMED_VIP, at, doomed, ip};
use tests::site::Site;
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

fn doomed_agent(site: &Site) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doomed-agent"));
    command.arg(site.pins()).arg(site.cgroup.path());
    command
}

/// With an agent that has been killed while the first of its programs was in force.
fn site_of_killed_agent() -> Result<Option<Site>> {
    let site = Site::new(CLIENT)?;
    if let Some(site) = &site {
        ensure!(!doomed_agent(site).status()?.success());
    }
    Ok(site)
}

/// How many connects each endpoint had, and how many of them are open.
fn counts(dataplane: &Dataplane) -> BTreeMap<u16, (u64, u64)> {
    let services = dataplane.counts().services;
    let endpoints = services.into_values().flat_map(|service| service.endpoints);
    endpoints
        .filter(|((address, _), _)| *address == ip("10.9.0.1"))
        .map(|((_, port), counts)| (port, (counts.connects, counts.open)))
        .collect()
}

fn expect_peers(site: &mut Site, sockets: &[u32]) -> Result<()> {
    for socket in sockets {
        let peer = site.client.peer(*socket)?;
        ensure!(peer == at(DOOMED_VIP), "the peer is {peer}");
    }
    Ok(())
}

fn sums(counts: &BTreeMap<u16, (u64, u64)>) -> (u64, u64) {
    let all = counts.values();
    all.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))
}

fn entries(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

#[test]
fn counts_sockets_and_their_peers_outlive_a_killed_agent_and_nothing_is_written_anew() -> Result<()>
{
    let Some(mut site) = site_of_killed_agent()? else {
        return Ok(());
    };
    let sockets: Vec<u32> = (0..24).map(|_| site.connect()).collect::<Result<_>>()?;

    let mut next = Dataplane::load(&site.options())?;
    ensure!(next.goes_on());
    let applied = next.apply(&doomed(0));

    assert_eq!((applied.steps, applied.diagnostics), (0, Vec::new()));
    let before = counts(&next);
    assert_eq!(sums(&before), (24, 24), "{before:?}");
    assert_eq!(before.len(), 3);
    expect_peers(&mut site, &sockets)?;
    site.attach(&mut next)?;
    expect_peers(&mut site, &sockets)?;
    let another = site.connect()?;
    assert_eq!(sums(&counts(&next)), (25, 25));
    for socket in sockets.into_iter().chain([another]) {
        site.client.close(socket)?;
    }
    assert_eq!(sums(&counts(&next)), (25, 0));
    Ok(())
}

#[test]
fn an_endpoint_that_was_removed_meanwhile_keeps_its_id_until_its_last_socket_is_closed()
-> Result<()> {
    let Some(mut site) = site_of_killed_agent()? else {
        return Ok(());
    };
    let sockets: Vec<u32> = (0..24).map(|_| site.connect()).collect::<Result<_>>()?;
    let mut next = Dataplane::load(&site.options())?;

    // Of three endpoints one is left.
    next.apply(&doomed(1));

    let counted = counts(&next);
    assert_eq!(sums(&counted), (24, 24), "{counted:?}");
    if lab::has_compare_and_swap() {
        let left = next.leftovers(&doomed(1)).len();
        assert_eq!(left as u64, 24 - counted[&53].1);
    }
    for socket in sockets {
        site.client.close(socket)?;
    }
    next.apply(&doomed(1));
    assert_eq!(counts(&next).into_keys().collect::<Vec<_>>(), [53]);
    let services = next.counts().services.into_values();
    assert_eq!(services.map(|service| service.connects).sum::<u64>(), 24);
    Ok(())
}

#[test]
fn what_another_agent_left_on_purpose_is_gone_on_from_too() -> Result<()> {
    let Some(mut site) = Site::new(CLIENT)? else {
        return Ok(());
    };
    let mut first = Dataplane::load(&site.options())?;
    first.apply(&doomed(0));
    site.attach(&mut first)?;
    let socket = site.connect()?;

    drop(first);

    expect_peers(&mut site, &[socket])?;
    site.connect()?;
    let mut second = Dataplane::load(&LoadOptions {
        keep: false,
        ..site.options()
    })?;
    ensure!(second.goes_on());
    assert_eq!(second.apply(&doomed(0)).steps, 0);
    assert_eq!(sums(&counts(&second)), (2, 2));
    site.attach(&mut second)?;
    drop(second);
    assert!(!site.pins().exists());
    assert_eq!(
        site.client.connect(Transport::Udp, at(DOOMED_VIP))?,
        Outcome::Failed(lab::ENETUNREACH)
    );
    Ok(())
}

#[test]
fn maps_that_do_not_fit_are_replaced_while_connects_go_on() -> Result<()> {
    let Some(mut site) = site_of_killed_agent()? else {
        return Ok(());
    };
    let limits = lab::limits();
    let larger = Limits {
        frontends: 2 * limits.frontends,
        cells: 2 * limits.cells,
        flows: 2 * limits.flows,
        ..limits
    };
    let smaller = Limits {
        services: larger.services - 1,
        endpoints: larger.endpoints - 1,
        ..larger
    };
    let of = |limits, flows_at_sockets| LoadOptions {
        limits,
        flows_at_sockets,
        ..site.options()
    };
    let all = [
        of(larger, false),
        of(smaller, false),
        of(limits, true),
        of(limits, false),
    ];
    let has_lines = lab::has_compare_and_swap();
    for options in &all {
        let mut next = Dataplane::load(options)?;
        ensure!(!next.goes_on() || !has_lines);
        next.apply(&doomed(0));
        site.attach(&mut next)?;
        site.connect()?;
        let sets = entries(&site.pins().join(entries(&site.pins())?.concat()))?;
        let sets = sets.iter().filter(|name| name.starts_with("maps-"));
        assert_eq!(sets.count(), 1);
        drop(next);
        site.connect()?;
    }
    dataplane_cleanup(&site)
}

/// What other limits do to what is known of 24 sockets, by whose numbers of connects and of open connections.
fn expect_to_go_on(limits: Limits) -> Result<()> {
    let Some(mut site) = site_of_killed_agent()? else {
        return Ok(());
    };
    let sockets: Vec<u32> = (0..24).map(|_| site.connect()).collect::<Result<_>>()?;
    let mut next = Dataplane::load(&LoadOptions {
        limits,
        ..site.options()
    })?;
    ensure!(!next.goes_on() && next.has_predecessor());
    // The old programs decide, and count, while the new maps are filled, and emptied, and filled.
    next.apply(&doomed(0));
    next.apply(&agent::compile::Program::default());
    let more: Vec<u32> = (0..12).map(|_| site.connect()).collect::<Result<_>>()?;
    for socket in &sockets[..8] {
        site.client.close(*socket)?;
    }
    next.apply(&doomed(0));

    site.attach(&mut next)?;

    let left: Vec<u32> = [&sockets[8..], &more].concat();
    expect_peers(&mut site, &left)?;
    assert_eq!(sums(&counts(&next)), (36, 28));
    let another = site.connect()?;
    assert_eq!(sums(&counts(&next)), (37, 29));
    for socket in left.into_iter().chain([another]) {
        site.client.close(socket)?;
    }
    assert_eq!(sums(&counts(&next)), (37, 0));
    // One that is removed gives its number up again.
    next.apply(&doomed(1));
    assert_eq!(counts(&next).into_keys().collect::<Vec<_>>(), [53]);
    drop(next);
    dataplane_cleanup(&site)
}

#[test]
fn sockets_keep_their_peers_and_are_counted_where_there_is_room_for_more_destinations() -> Result<()>
{
    let limits = lab::limits();
    expect_to_go_on(Limits {
        frontends: 2 * limits.frontends,
        prefixes: 2 * limits.prefixes,
        cells: 2 * limits.cells,
        cgroups: 2 * limits.cgroups,
        replies: 2 * limits.replies,
        ..limits
    })
}

#[test]
fn sockets_keep_their_peers_and_are_counted_where_there_is_room_for_more_services() -> Result<()> {
    let limits = lab::limits();
    expect_to_go_on(Limits {
        services: limits.services / 2,
        endpoints: 2 * limits.endpoints,
        ..limits
    })
}

#[test]
fn sockets_keep_their_peers_and_are_counted_where_there_is_room_for_more_sockets() -> Result<()> {
    let limits = lab::limits();
    expect_to_go_on(Limits {
        flows: 2 * limits.flows,
        ..limits
    })
}

#[test]
fn sockets_keep_their_peers_and_are_counted_where_there_is_room_for_more_of_everything()
-> Result<()> {
    let limits = lab::limits();
    expect_to_go_on(Limits {
        flows: 4 * limits.flows,
        replies: 2 * limits.replies,
        services: 2 * limits.services,
        endpoints: 2 * limits.endpoints,
        ..limits
    })
}

#[test]
fn sockets_keep_their_peers_and_are_counted_where_the_abi_of_all_else_is_another() -> Result<()> {
    let Some(mut site) = site_of_killed_agent()? else {
        return Ok(());
    };
    let sockets: Vec<u32> = (0..24).map(|_| site.connect()).collect::<Result<_>>()?;
    let own = site.pins().join(entries(&site.pins())?.concat());
    // As if one of another version had left them.
    std::fs::rename(&own, site.pins().join("v1"))?;

    let mut next = Dataplane::load(&site.options())?;
    ensure!(!next.goes_on() && next.has_predecessor());
    next.apply(&doomed(0));
    site.attach(&mut next)?;

    expect_peers(&mut site, &sockets)?;
    assert_eq!(sums(&counts(&next)), (24, 24));
    for socket in sockets {
        site.client.close(socket)?;
    }
    assert_eq!(sums(&counts(&next)), (24, 0));
    assert!(!site.pins().join("v1").exists());
    drop(next);
    dataplane_cleanup(&site)
}

/// Kills it on drop.
struct Restless(Child);

impl Restless {
    /// Returns when it has attached.
    fn start(site: &Site) -> Result<Self> {
        let mut child = doomed_agent(site)
            .arg("restless")
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("stdout is a pipe")?;
        let restless = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "attached\n", "the agent says {line:?}");
        Ok(restless)
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("killing an agent: {error}");
        }
    }
}

#[test]
fn an_agent_that_is_killed_in_the_middle_of_updates_leaves_what_works_and_what_the_next_goes_on_from()
-> Result<()> {
    let Some(mut site) = site_of_killed_agent()? else {
        return Ok(());
    };
    let mut observer = Client::start(CLIENT, site.cgroup.path())?;
    observer.order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
    let is_over = AtomicBool::new(false);
    let watch = || -> Result<u64> {
        let mut reached = 0;
        while !is_over.load(Ordering::Relaxed) {
            let spread = observer.spread(Transport::Udp, at(DOOMED_VIP), 64)?;
            ensure!(spread.keys().eq([&ip("10.9.0.1")]), "{spread:?}");
            reached += 64;
        }
        Ok(reached)
    };
    let reached = thread::scope(|scope| {
        let watching = scope.spawn(watch);
        let killed = (0..12).try_for_each(|_| {
            let agent = Restless::start(&site)?;
            // As long as it takes, so that it dies at whatever it is just doing.
            for _ in 0..50 {
                let socket = site.connect()?;
                site.client.close(socket)?;
            }
            drop(agent);
            site.connect().map(drop)
        });
        is_over.store(true, Ordering::Relaxed);
        let reached = watching.join().expect("connecting does not panic")?;
        killed.map(|()| reached)
    })?;
    println!("{reached} connects were sent on");
    let mut last = Dataplane::load(&site.options())?;
    ensure!(last.goes_on());
    assert_eq!(last.apply(&doomed(0)).diagnostics, []);
    let fresh = {
        let options = LoadOptions {
            bpf_dir: None,
            ..site.options()
        };
        let mut fresh = Dataplane::load(&options)?;
        fresh.apply(&doomed(0));
        fresh.fill()
    };
    // The client has sockets open that were sent to endpoints that came and went; and so there are none to other services.
    let used = |fill: &[agent::dataplane::Fill]| -> Vec<_> {
        let of_tables = fill.iter().filter(|fill| fill.map != "flows");
        of_tables.map(|fill| (fill.map, fill.used)).collect()
    };
    assert_eq!(used(&last.fill()), used(&fresh));
    Ok(site.attach(&mut last)?)
}

fn dataplane_cleanup(site: &Site) -> Result<()> {
    agent::dataplane::cleanup(&site.pins())?;
    ensure!(!site.pins().exists());
    Ok(())
}
