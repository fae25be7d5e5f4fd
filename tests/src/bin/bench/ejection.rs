//! What clients see of an endpoint that fails: how many connects, and for how long. The real agent, real sockets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agent::model::Vital;
use agent::observe::State;
use anyhow::{Context, Result, ensure};
use tests::interrupt;
use tests::node::{ADDRESSES, Node, PORT, entry, vip};
use tests::sockets::Request;

use crate::setting::Effort;
use crate::statistics::quantile;
use crate::table::{Budget, Table};

/// Connects to a service, of whose endpoints one refuses.
const CONNECTS: u32 = 2_000;
/// Services of which an endpoint is ejected by itself.
const ALONE: usize = 50;
/// Services of which an endpoint fails at the same moment.
const TOGETHER: usize = 5;
/// Where another endpoint listens, beside those that a node has.
const FOURTH: &str = "10.9.0.4";
/// What comes later never comes.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<()> {
    eprintln!("ejections …");
    let client = std::env::current_exe()?.with_file_name("client");
    let mut node = Node::new(client)?.context("the kernel programs cannot run here")?;
    let fourth = FOURTH.parse()?;
    node.client.order(&Request::AddAddresses(vec![fourth]))?;
    let fourth = SocketAddr::new(fourth, PORT);
    node.client.order(&Request::Listen(fourth))?;
    let turns = effort.repetitions();
    let hosts: Vec<String> = (0..turns * (ALONE + 10 * TOGETHER))
        .map(|number| format!("s{number}.watched.test"))
        .collect();
    fs::write(node.config_dir().join("services.yaml"), objects(&hosts))?;
    node.start()?;

    for (host, what) in [
        ("all.test", "without outlierDetection"),
        ("all.watched.test", "with it (1 failure ejects)"),
    ] {
        let to = address(&node.state(), host)?;
        let mut failed = 0;
        for _ in 0..CONNECTS {
            failed += u32::from(node.failure(to)?.is_some());
        }
        let percent = f64::from(failed) * 100.0 / f64::from(CONNECTS);
        let what = format!("failed connects of {CONNECTS}, 1 of 5 endpoints refuses, {what}");
        table.figure(what, percent, "%", Budget::None);
    }

    let (alone, together) = hosts.split_at(turns * ALONE);
    for (hosts, at_once) in [(alone, 1), (together, TOGETHER)] {
        let mut times = Vec::new();
        for hosts in hosts.chunks(at_once) {
            interrupt::check()?;
            times.extend(eject(&mut node, hosts)?);
        }
        let count = times.len();
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            table.figure(
                format!(
                    "from a failing connect to the ejection, {name} of {count}, {at_once} at once"
                ),
                quantile(&mut times, part),
                "ms",
                Budget::AtMost {
                    limit: 10.0,
                    unit: "ms",
                },
            );
        }
    }
    node.stop()
}

/// Connects to these in turn until an endpoint of each is ejected. From the start of the connect that failed, in milliseconds.
fn eject(node: &mut Node, hosts: &[String]) -> Result<Vec<f64>> {
    let start = Instant::now();
    let state = node.state();
    let mut waiting: BTreeMap<&str, (SocketAddr, Option<Instant>)> = BTreeMap::new();
    for host in hosts {
        waiting.insert(host, (address(&state, host)?, None));
    }
    let mut times = Vec::new();
    while !waiting.is_empty() {
        for (to, failed) in waiting.values_mut().filter(|(_, failed)| failed.is_none()) {
            let began = Instant::now();
            *failed = node.failure(*to)?.map(|_| began);
        }
        let out = node.state();
        let is_out = |host: &str| is_ejected(&out, host);
        let ended = waiting.extract_if(.., |host, _| is_out(host));
        let ended = ended.filter_map(|(_, (_, failed))| failed);
        times.extend(ended.map(|failed| failed.elapsed().as_secs_f64() * 1e3));
        ensure!(start.elapsed() < PATIENCE, "nobody is ejected");
    }
    Ok(times)
}

fn is_ejected(state: &State, host: &str) -> bool {
    let services = state.compiled.program.services.iter();
    let mut of_host = services.filter(|(key, _)| &*key.host == host);
    of_host.any(|(_, service)| {
        let mut endpoints = service.endpoints.iter();
        endpoints.any(|endpoint| endpoint.vital == Vital::Ejected)
    })
}

fn address(state: &State, host: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(vip(state, host)?, 80))
}

/// Services with five endpoints, the last of which refuses; those below `watched.test` are watched.
fn objects(hosts: &[String]) -> String {
    let mut text = String::new();
    let addresses: Vec<&str> = ADDRESSES.into_iter().chain([FOURTH]).collect();
    let hosts = hosts.iter().map(String::as_str);
    for host in hosts.chain(["all.test", "all.watched.test"]) {
        let entry = entry(host, "STATIC", &addresses);
        // Nobody listens on port 1.
        let fifth = "  - {address: 10.9.0.1, ports: {http: 1}}\n";
        write!(text, "---\n{entry}{fifth}").expect("a string takes everything");
    }
    text + "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: watched}\nspec:\n  \
            host: \"*.watched.test\"\n  trafficPolicy:\n    loadBalancer: {simple: RANDOM}\n    \
            outlierDetection: {consecutive5xxErrors: 1}\n"
}
