//! The real binary on the real kernel: what clients were told of names, and who is ejected, is as before when the agent was killed
//! and another one goes on.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use agent::dataplane::Dataplane;
use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use tests::agent_process::{AgentProcess, SMALL};
use tests::binary;
use tests::dns_server::Entry;
use tests::lab;
use tests::node::{ADDRESSES, Node, PATIENCE, WILDCARDS, entry};
use tests::restless::Restless;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const RULE: &str = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec:\n  host: a.test\n  \
    trafficPolicy:\n    outlierDetection: {consecutive5xxErrors: 5, baseEjectionTime: 100s}\n";
/// Where the host of [`RULE`] is.
const OWN: &str = "192.0.2.80:80";

/// A node with the binary as its agent.
struct Bench {
    agent: AgentProcess,
    node: Node,
    flags: Vec<String>,
}

impl Bench {
    fn new(objects: &str) -> Result<Option<Self>> {
        Self::prepared(objects, |_| Ok(()))
    }

    /// One on whose node `prepare` was done before the agent started.
    fn prepared(objects: &str, prepare: impl FnOnce(&Node) -> Result<()>) -> Result<Option<Self>> {
        let Some(node) = Node::new(CLIENT)? else {
            return Ok(None);
        };
        prepare(&node)?;
        fs::write(node.config_dir().join("a.yaml"), objects)?;
        let upstream = format!("--dns-upstream={}", node.dns.address());
        let flags: Vec<String> = SMALL
            .map(str::to_owned)
            .into_iter()
            .chain([upstream])
            .collect();
        let agent = start(&node, &flags)?;
        Ok(Some(Self { agent, node, flags }))
    }

    /// Kills the agent, and starts another, which must find nothing to change.
    fn restart(&mut self) -> Result<()> {
        self.agent.kill()?;
        self.agent = start(&self.node, &self.flags)?;
        self.agent.expect_no_changes()
    }

    fn ask(&self, words: &[&str]) -> Value {
        let socket = self.node.socket().display().to_string();
        let own = ["-o", "json", "--socket", &socket];
        binary::shunt(words.iter().chain(&own)).json()
    }

    /// The IPv4 addresses that a client is told of a name.
    fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>> {
        let reply = self.ask(&["dns", "lookup", name]);
        let answers = reply["answers"].as_array().context("a list")?.iter();
        let addresses = answers.map(|answer| {
            let data = answer["data"].as_str().context("an address")?;
            Ok(SocketAddr::new(data.parse()?, 80))
        });
        addresses.collect()
    }

    /// Runs `happen` beside a client that does nothing but connect, of which no connect may fail.
    fn under_load(
        &mut self,
        to: SocketAddr,
        happen: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let is_over = AtomicBool::new(false);
        let restless = Restless::new(CLIENT, &self.node, to)?;
        let churned = thread::scope(|scope| {
            let thread = scope.spawn(|| restless.connect(&is_over));
            let happened = happen(self);
            is_over.store(true, Ordering::Relaxed);
            let churned = thread.join().expect("connecting does not panic");
            happened.and(churned)
        })?;
        println!("{to}: {churned:?}");
        ensure!(
            churned.failed.is_empty() && churned.connected > 0,
            "{churned:?}"
        );
        Ok(())
    }

    /// The endpoint that is ejected.
    fn ejected(&self) -> Option<Value> {
        let endpoints = self.ask(&["get", "endpoints"]);
        let mut endpoints = endpoints.as_array()?.iter();
        endpoints
            .find(|endpoint| endpoint["health"] == "ejected")
            .cloned()
    }
}

fn start(node: &Node, flags: &[String]) -> Result<AgentProcess> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    AgentProcess::start(node, &flags)
}

/// Whoever was told an address has it recognised, and a name its own addresses, however the agent ends.
#[test]
fn what_clients_were_told_of_names_holds_after_a_kill_at_any_moment() -> Result<()> {
    let Some(mut bench) = Bench::new(WILDCARDS)? else {
        return Ok(());
    };
    let [first, second]: [IpAddr; 2] = [ADDRESSES[0].parse()?, ADDRESSES[1].parse()?];
    let mut told: Vec<(SocketAddr, IpAddr)> = Vec::new();
    for round in 1..=3 {
        let (learned, asked) = (
            format!("n{round}.wild.example"),
            format!("n{round}.dynamic.example"),
        );
        let address = format!("192.0.2.{round}");
        bench
            .node
            .dns
            .set(&learned, Entry::addresses(&[&address], 30));
        bench
            .node
            .dns
            .set(&asked, Entry::addresses(&[ADDRESSES[1]], 30));
        let answer = bench.look_up(&asked)?;
        told.extend(answer.into_iter().map(|at| (at, second)));
        let answer = bench.look_up(&learned)?;
        assert_eq!(answer, [SocketAddr::new(address.parse()?, 80)]);
        told.extend(answer.into_iter().map(|at| (at, first)));
        // Nobody says so again.
        bench.node.dns.set(&learned, Entry::Silence);

        let findings = bench.ask(&["status"])["findings"].clone();
        let (to, _) = told[0];
        bench.under_load(to, Bench::restart)?;

        for (to, endpoint) in &told {
            assert_eq!(
                bench.node.attempt(*to)?,
                Ok(*endpoint),
                "{to} in round {round}"
            );
        }
        assert_eq!(bench.ask(&["status"])["findings"], findings);
    }
    assert_eq!(told.len(), 6, "{told:?}");
    let again = bench.look_up("n1.dynamic.example")?;
    assert_eq!(again, [told[0].0], "the name has its addresses still");
    Ok(())
}

#[test]
fn an_endpoint_that_is_ejected_stays_out_after_a_kill_for_the_rest_of_its_time() -> Result<()> {
    if !Dataplane::has_compare_and_swap() {
        lab::skip("this kernel does not tell of failed connects");
        return Ok(());
    }
    let own = format!("  addresses: [{}]\n  resolution", OWN.replace(":80", ""));
    let objects = entry("a.test", "STATIC", &ADDRESSES).replace("  resolution", &own);
    // Nobody listens there.
    let refusing = "  - {address: 10.9.0.1, ports: {http: 1}}\n";
    let Some(mut bench) = Bench::new(&(objects + refusing + RULE))? else {
        return Ok(());
    };
    let to: SocketAddr = OWN.parse()?;
    let deadline = Instant::now() + PATIENCE;
    while bench.ejected().is_none() {
        ensure!(Instant::now() < deadline, "nobody is left out");
        for _ in 0..20 {
            // Some are refused.
            bench.node.attempt(to)?.ok();
        }
    }
    let left = |endpoint: &Value| {
        endpoint["ejection"]["secondsLeft"]
            .as_f64()
            .context("it is out")
    };
    let mut before = bench.ejected().context("it is out")?;
    for _ in 0..2 {
        bench.under_load(to, Bench::restart)?;

        let now = bench.ejected().context("it is out")?;
        let [then, still] = [left(&before)?, left(&now)?];
        assert!(
            still < then && still > then - PATIENCE.as_secs_f64(),
            "{still} of {then}"
        );
        for field in ["count", "failures", "failure"] {
            assert_eq!(now["ejection"][field], before["ejection"][field]);
        }
        assert_eq!(
            (&now["address"], &now["port"]),
            (&before["address"], &before["port"])
        );
        let explained = bench.ask(&["explain", OWN]);
        assert!(explained.to_string().contains("ejected"), "{explained:#}");
        before = now;
    }
    assert_eq!(bench.ask(&["status"])["health"]["ejected"], 1);
    Ok(())
}

/// A file system of half a megabyte in the place of the state directory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(node: &Node) -> Result<Self> {
        let path = node.state_dir();
        fs::create_dir_all(&path)?;
        mount(
            "none",
            &path,
            "tmpfs",
            MountFlags::empty(),
            Some(c"size=512k"),
        )?;
        Ok(Self(path))
    }

    fn fill(&self) -> Result<()> {
        let mut file = File::create(self.0.join("filler"))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

#[test]
fn names_are_learned_though_the_disk_is_full_which_is_told_once() -> Result<()> {
    let mut disk = None;
    let prepared = Bench::prepared(WILDCARDS, |node| {
        disk = Some(SmallDisk::new(node)?);
        Ok(())
    })?;
    let (Some(mut bench), Some(disk)) = (prepared, disk) else {
        return Ok(());
    };
    disk.fill()?;
    let failure = "is kept no more";
    for number in 1..250 {
        let (name, address) = (
            format!("n{number}.wild.example"),
            format!("192.0.2.{number}"),
        );
        bench.node.dns.set(&name, Entry::addresses(&[&address], 30));
        let to = SocketAddr::new(address.parse()?, 80);
        assert_eq!(bench.look_up(&name)?, [to]);
        assert_eq!(bench.node.attempt(to)?, Ok(ADDRESSES[0].parse()?));
        if number > 3 && bench.agent.log().contains(failure) {
            break;
        }
    }
    assert_eq!(bench.agent.log().matches(failure).count(), 1);
    Ok(())
}
