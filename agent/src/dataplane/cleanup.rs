//! Removing what an agent left behind: pinned attachments and maps, and cgroups without members.

use std::fs;
use std::path::{Path, PathBuf};

use super::kernel::{LoadError, remove_stale_pins};
use super::mounts;

/// How every cgroup that shunt makes is named, here or for a command that it runs.
const CGROUP_PREFIX: &str = "shunt-";

/// Detaches and removes what is pinned under `bpf_dir`, and removes empty cgroups of ours. Returns what was removed. Refuses while an
/// agent is using `bpf_dir`.
pub fn cleanup(bpf_dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut removed = remove_stale_pins(bpf_dir)?;
    if let Ok(mount) = mounts::cgroup2() {
        remove_cgroups(&mount, &mut removed);
    }
    Ok(removed)
}

/// A cgroup with members or children refuses to be removed, and so those in use stay.
fn remove_cgroups(directory: &Path, removed: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let directories = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in directories {
        let path = entry.path();
        remove_cgroups(&path, removed);
        let is_ours = entry
            .file_name()
            .to_string_lossy()
            .starts_with(CGROUP_PREFIX);
        if is_ours && fs::remove_dir(&path).is_ok() {
            removed.push(path);
        }
    }
}
