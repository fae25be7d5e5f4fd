//! The real binary on the real kernel: an agent that starts where files are broken, or away, leaves in force what the one before
//! it did, and says so.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use tests::agent_process::AgentProcess;
use tests::binary::{self, shunt};
use tests::node::{Node, PATIENCE, entry};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const DENIED: &str = "192.0.2.80:80";
const OPEN: &str = "192.0.2.81:80";

/// Denies the service `a.test`.
const POLICY: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: none}\nspec:\n  \
    targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a.test}]\n  action: DENY\n  rules: [{}]\n";

/// A node with the binary as its agent.
struct Bench {
    agent: Option<AgentProcess>,
    node: Node,
}

impl Bench {
    /// Two services, of which one is denied, and an agent.
    fn new(prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Option<Self>> {
        let Some(node) = Node::new(CLIENT)? else {
            return Ok(None);
        };
        let mut bench = Self { agent: None, node };
        prepare(&bench.node.config_dir())?;
        for (host, address) in [("a.test", DENIED), ("b.test", OPEN)] {
            let text = entry(host, "STATIC", &["10.9.0.1"]);
            let address = address.replace(":80", "");
            let own = format!("  addresses: [{address}]\n  resolution");
            bench.write(host, &text.replace("  resolution", &own))?;
        }
        bench.write("policy", POLICY)?;
        bench.start()?;
        bench.expect_in_force()?;
        Ok(Some(bench))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.node.config_dir().join(format!("{name}.yaml"));
        Ok(fs::write(path, text)?)
    }

    /// Returns when it is ready.
    fn start(&mut self) -> Result<()> {
        self.agent = Some(AgentProcess::start(&self.node, &[])?);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.agent.take().context("no agent is running")?.stop()
    }

    fn ask_status(&self, flags: &[&str]) -> binary::Ended {
        let socket = self.node.socket().display().to_string();
        shunt(
            ["status", "-o", "json", "--socket", &socket]
                .iter()
                .chain(flags),
        )
    }

    /// Waits until the status is as wanted.
    fn wait_for_status(&self, is_wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.ask_status(&[]).json();
            if is_wanted(&status) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{status:#}");
        }
    }

    fn expect_in_force(&mut self) -> Result<()> {
        self.expect(Some(libc::EPERM))
    }

    /// What connects to the service of the policy come to; the other takes them.
    fn expect(&mut self, denial: Option<i32>) -> Result<()> {
        let [denied, open]: [SocketAddr; 2] = [DENIED.parse()?, OPEN.parse()?];
        assert_eq!(self.node.failure(denied)?, denial);
        assert_eq!(self.node.failure(open)?, None);
        Ok(())
    }
}

fn is_old(finding: &Value) -> bool {
    let text = |name| finding[name].as_str().unwrap_or_default();
    text("code") == "SH2003" && text("message").contains(" of 20")
}

fn findings(status: &Value) -> impl Iterator<Item = &Value> {
    status["findings"]["list"].as_array().into_iter().flatten()
}

#[test]
fn a_policy_that_is_broken_when_the_agent_starts_denies_what_it_did() -> Result<()> {
    let Some(mut bench) = Bench::new(|_| Ok(()))? else {
        return Ok(());
    };
    for broken in [POLICY.replace("DENY", "DENI"), "kind: [\n".to_owned()] {
        bench.stop()?;
        bench.write("policy", &broken)?;

        bench.start()?;

        bench.expect_in_force()?;
        bench.wait_for_status(|status| {
            let is_told = |finding: &Value| is_old(finding) && finding["name"] == "none";
            findings(status).any(is_told)
        })?;
    }
    bench.write("policy", "")?;
    bench.wait_for_status(|status| findings(status).count() == 0)?;
    bench.expect(None)
}

#[test]
fn a_directory_that_is_away_when_the_agent_starts_is_in_force_as_it_was() -> Result<()> {
    let Some(mut bench) = Bench::new(|_| Ok(()))? else {
        return Ok(());
    };
    bench.stop()?;
    let directory = bench.node.config_dir();
    let aside = directory.with_extension("aside");
    fs::rename(&directory, &aside)?;

    bench.start()?;

    bench.expect_in_force()?;
    bench.wait_for_status(|status| {
        let reasons = status["reasons"].to_string();
        reasons.contains("cannot be read") && findings(status).any(is_old)
    })?;
    fs::remove_file(aside.join("policy.yaml"))?;
    fs::rename(&aside, &directory)?;
    bench.wait_for_status(|status| status["degraded"] == false && status["objects"] == 2)?;
    bench.expect(None)
}

#[test]
fn a_mount_that_is_gone_takes_nothing_along_before_and_after_a_restart() -> Result<()> {
    let mounted = |directory: &Path| {
        Ok(mount(
            "none",
            directory,
            "tmpfs",
            MountFlags::empty(),
            None,
        )?)
    };
    let Some(mut bench) = Bench::new(mounted)? else {
        return Ok(());
    };

    unmount(bench.node.config_dir(), UnmountFlags::DETACH)?;

    let is_gone = |status: &Value| {
        status["reasons"]
            .to_string()
            .contains("mounted there is gone")
    };
    bench.wait_for_status(is_gone)?;
    bench.expect_in_force()?;
    bench.stop()?;
    bench.start()?;
    bench.wait_for_status(is_gone)?;
    bench.expect_in_force()
}

#[test]
fn a_store_that_is_damaged_is_set_aside_and_the_agent_starts() -> Result<()> {
    let Some(mut bench) = Bench::new(|_| Ok(()))? else {
        return Ok(());
    };
    bench.stop()?;
    let store = bench.node.state_dir().join("last-good.redb");
    fs::write(&store, "no store")?;

    bench.start()?;

    bench.expect_in_force()?;
    assert!(store.with_extension("damaged").exists());
    bench.stop()?;
    bench.write("policy", "kind: [\n")?;
    bench.start()?;
    bench.expect_in_force()
}
