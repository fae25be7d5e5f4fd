//! A cgroup that holds the agent and nothing else, so that its own connects can be told from everybody's.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use super::mounts;

/// How cgroups that shunt makes are named, followed by the process.
pub(super) const PREFIX: &str = "shunt-agent-";

/// The agent's cgroup. Dropping it moves the process back, where it was moved.
#[derive(Debug)]
pub(super) struct OwnCgroup {
    id: u64,
    path: PathBuf,
    /// What was made, and where the process was before.
    made: Option<(PathBuf, PathBuf)>,
}

impl OwnCgroup {
    /// Stays in the present cgroup if nobody else is in it, and else makes one below it and moves there.
    pub(super) fn enter() -> io::Result<Self> {
        let mount =
            mounts::cgroup2().map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
        let present = mounts::present_cgroup(&mount)?;
        if present != mount && is_alone(&present)? {
            return Ok(Self {
                id: fs::metadata(&present)?.ino(),
                path: present,
                made: None,
            });
        }
        remove_abandoned(&present);
        let own = present.join(format!("{PREFIX}{}", process::id()));
        match fs::create_dir(&own) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Err(error) = join(&own) {
            fs::remove_dir(&own)?;
            return Err(error);
        }
        Ok(Self {
            id: fs::metadata(&own)?.ino(),
            path: own.clone(),
            made: Some((own, present)),
        })
    }

    /// Whether programs on any of `cgroups` see the connects of this one.
    pub(super) fn is_below(&self, cgroups: &[PathBuf]) -> bool {
        // What cannot be resolved may be above it.
        let canonical = |path: &Path| fs::canonicalize(path).unwrap_or_default();
        let own = canonical(&self.path);
        cgroups
            .iter()
            .any(|cgroup| own.starts_with(canonical(cgroup)))
    }

    /// As `bpf_get_current_cgroup_id` has it: the inode of the directory.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        if let Some((own, before)) = self.made.take()
            && let Err(error) = join(&before).and_then(|()| fs::remove_dir(&own))
        {
            tracing::warn!(%error, cgroup = %own.display(), "the agent's own cgroup stays; `shunt cleanup` removes it");
        }
    }
}

/// Removes what agents have left in `directory` that were killed. What has members refuses to be removed.
fn remove_abandoned(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        // One that is just starting has none yet.
        let is_gone = |process| !Path::new("/proc").join(process).exists();
        if process.is_some_and(is_gone) && fs::remove_dir(entry.path()).is_ok() {
            tracing::debug!(cgroup = %entry.path().display(), "removed what a killed agent has left");
        }
    }
}

fn is_alone(cgroup: &Path) -> io::Result<bool> {
    let own = process::id().to_string();
    let members = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    Ok(members.lines().all(|member| member == own))
}

fn join(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), process::id().to_string())
}
