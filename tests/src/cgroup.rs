//! Temporary cgroups.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent::dataplane::mounts;
use anyhow::{Context, Result};

/// A cgroup v2 directory that is removed on drop, once its members are gone.
#[derive(Debug)]
pub struct TemporaryCgroup {
    path: PathBuf,
}

impl TemporaryCgroup {
    pub fn new() -> Result<Self> {
        let mount = mounts::cgroup2().context("cgroup v2 is not mounted")?;
        Self::below(&mount)
    }

    /// One in another cgroup.
    pub fn below(parent: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("test-of-shunt-{}-{number}", process::id()));
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As the kernel numbers it.
    pub fn id(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path)?.ino())
    }
}

impl Drop for TemporaryCgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(error) = fs::remove_dir(&self.path) {
            // A process that has ended leaves its cgroup a moment later.
            if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() > deadline {
                eprintln!("{} stays: {error}", self.path.display());
                return;
            }
            thread::yield_now();
        }
    }
}

/// Moves this process.
pub fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
        .with_context(|| format!("moving to {}", cgroup.display()))
}

/// The cgroup v2 directory of this process.
pub fn present() -> Result<PathBuf> {
    let mount = mounts::cgroup2().context("cgroup v2 is not mounted")?;
    Ok(mounts::present_cgroup(&mount)?)
}
