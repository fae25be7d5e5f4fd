//! A limit of memory for what the kernel keeps for us, by a cgroup of the memory controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

/// A memory cgroup below that of this process, which is removed on drop. What is made by a process in it is charged to it for as
/// long as it exists, whoever adds to it later, and wherever that process is then.
#[derive(Debug)]
pub struct MemoryCgroup {
    home: PathBuf,
    path: PathBuf,
}

impl MemoryCgroup {
    /// `None` where there is no hierarchy of version 1 with that controller: one of version 2 moves the process in the hierarchy
    /// that the programs look at, too.
    pub fn new() -> Result<Option<Self>> {
        let cgroups = fs::read_to_string("/proc/self/cgroup")?;
        let own = cgroups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let mut controllers = controllers.split(',');
            controllers.any(|name| name == "memory").then_some(path)
        });
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            let is_it = kind == "cgroup" && options.split(',').any(|option| option == "memory");
            is_it.then_some(at)
        });
        let (Some(own), Some(mount)) = (own, mount) else {
            return Ok(None);
        };
        let home = Path::new(mount).join(own.trim_start_matches('/'));
        let path = home.join(format!("test-of-shunt-{}", process::id()));
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Some(Self { home, path }))
    }

    /// Moves this process in.
    pub fn enter(&self) -> Result<()> {
        Ok(fs::write(self.path.join("cgroup.procs"), "0")?)
    }

    /// Moves everybody out.
    pub fn empty(&self) -> Result<()> {
        let members = fs::read_to_string(self.path.join("cgroup.procs"))?;
        for member in members.lines() {
            fs::write(self.home.join("cgroup.procs"), member)?;
        }
        Ok(())
    }

    /// Lets it have so many bytes more than it has; `None`: as many as there are.
    pub fn limit(&self, more: Option<u64>) -> Result<()> {
        let limit = match more {
            Some(more) => {
                let used = fs::read_to_string(self.path.join("memory.usage_in_bytes"))?;
                (used.trim().parse::<u64>()? + more).to_string()
            }
            None => "-1".to_owned(),
        };
        Ok(fs::write(self.path.join("memory.limit_in_bytes"), limit)?)
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let removed = self.empty().and_then(|()| Ok(fs::remove_dir(&self.path)?));
        if let Err(error) = removed {
            eprintln!("{} stays: {error:#}", self.path.display());
        }
    }
}
