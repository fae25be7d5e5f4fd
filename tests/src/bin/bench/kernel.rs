//! What the measurement itself wants of bpf(2): run times counted while it lasts, and a program that does nothing, whose
//! run time is what counting costs.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use tests::bpf;

/// Of `enum bpf_attach_type`, include/uapi/linux/bpf.h.
const CONNECT4: u32 = 10;

/// Makes the kernel count the runs of programs, and their time, for as long as the result is held: as
/// `kernel.bpf_stats_enabled` does, but it cannot be left behind.
pub(crate) fn count_runs() -> Result<OwnedFd> {
    bpf::count_runs().context("counting the run time of programs")
}

/// A connect4 program that lets every connect pass, attached to a cgroup until dropped.
pub(crate) struct EmptyProgram {
    program: OwnedFd,
    _link: OwnedFd,
}

impl EmptyProgram {
    pub(crate) fn attach(cgroup: &Path) -> Result<Self> {
        // `r0 = 1; exit`
        let instructions: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
        let program =
            bpf::load(CONNECT4, "empty", &instructions).context("loading an empty program")?;
        let directory = File::open(cgroup)?;
        let link = bpf::link(program.as_fd(), &directory, CONNECT4)
            .context("attaching an empty program")?;
        Ok(Self {
            program,
            _link: link,
        })
    }

    /// Runs, and their time in nanoseconds.
    pub(crate) fn runs(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let facts = fs::read_to_string(path)?;
        let fact = |name| number(&facts, name).with_context(|| format!("no {name} in fdinfo"));
        Ok((fact("run_cnt:")?, fact("run_time_ns:")?))
    }
}

/// Bytes of kernel memory of all maps that this process has open, each counted once.
pub(crate) fn map_memory() -> Result<u64> {
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The descriptor that reads the folder is gone when its own entry is read.
        let Ok(facts) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        if let (Some(id), Some(bytes)) = (number(&facts, "map_id:"), number(&facts, "memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}

/// The number after `name` in text of `name: number` lines.
pub(crate) fn number(facts: &str, name: &str) -> Option<u64> {
    let line = facts.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
