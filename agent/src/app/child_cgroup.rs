//! A fresh cgroup for a command that shunt runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::dataplane::mounts;

/// Longest wait for a process that has ended to leave.
const PATIENCE: Duration = Duration::from_secs(1);

/// Removed when dropped; what is still in it then moves to the cgroup that it was made in.
#[derive(Debug)]
pub(super) struct ChildCgroup {
    path: PathBuf,
    parent: PathBuf,
}

impl ChildCgroup {
    /// Makes `shunt-<purpose>-<pid>` in the cgroup of this process.
    pub(super) fn create(purpose: &str) -> Result<Self> {
        let mount =
            mounts::cgroup2().map_err(|missing| anyhow!("{missing}: {}", missing.remedy()))?;
        let parent =
            mounts::present_cgroup(&mount).context("finding the cgroup of this process")?;
        Self::create_in(&parent, purpose)
    }

    /// The same in another cgroup.
    pub(super) fn create_in(parent: &Path, purpose: &str) -> Result<Self> {
        let path = parent.join(format!("shunt-{purpose}-{}", process::id()));
        fs::create_dir(&path)
            .with_context(|| format!("making the cgroup {} (it needs root)", path.display()))?;
        let parent = parent.to_owned();
        Ok(Self { path, parent })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves what a command left running to where it would have been without us.
    fn evict(&self) -> io::Result<()> {
        let members = fs::read_to_string(self.path.join("cgroup.procs"))?;
        for member in members.lines() {
            tracing::warn!(
                pid = member,
                "the command left a process running; it goes on without these rules"
            );
            fs::write(self.parent.join("cgroup.procs"), member)?;
        }
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        self.evict()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match fs::remove_dir(&self.path) {
                // A process that has ended leaves its cgroup a moment later.
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
                {
                    thread::yield_now();
                }
                done => return done,
            }
        }
    }
}

impl Drop for ChildCgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, cgroup = %self.path.display(), "the cgroup stays; `shunt cleanup` removes it");
        }
    }
}
