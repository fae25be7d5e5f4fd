//! `shunt run` as a process of its own, on a [`Node`], which can be killed at any time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::node::Node;
use crate::{binary, cgroup};

/// Killed on drop.
pub struct AgentProcess {
    process: Child,
    /// What the agent made for itself.
    cgroup: PathBuf,
}

impl AgentProcess {
    /// Returns when it has attached its programs. `flags` are further ones than [`Node::flags`].
    pub fn start(node: &Node, flags: &[&str]) -> Result<Self> {
        let (agent, log) = Self::spawn(node, flags)?;
        let mut said = String::new();
        let mut lines = BufReader::new(log).lines();
        for line in &mut lines {
            let line = line?;
            if line.contains("attached") {
                // Read on, lest it writes into a pipe that nobody reads.
                thread::spawn(move || lines.for_each(drop));
                return Ok(agent);
            }
            said += &line;
            said.push('\n');
        }
        bail!("the agent ended before it attached:\n{said}")
    }

    fn spawn(node: &Node, flags: &[&str]) -> Result<(Self, std::process::ChildStderr)> {
        let mut process = binary::command(["run"])
            .args(node.flags())
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()?;
        let log = process.stderr.take().context("stderr is a pipe")?;
        let cgroup = cgroup::present()?.join(format!("shunt-agent-{}", process.id()));
        Ok((Self { process, cgroup }, log))
    }

    /// The cgroup that it made for itself.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// By SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("killing the agent: {error:#}");
        }
        if self.cgroup.exists()
            && let Err(error) = fs::remove_dir(&self.cgroup)
        {
            eprintln!("{} stays: {error}", self.cgroup.display());
        }
    }
}
