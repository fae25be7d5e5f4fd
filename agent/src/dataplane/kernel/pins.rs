//! The pin directory: attachments as files on a BPF file system, which outlive the process that made them.
//!
//! The directory is locked while an agent uses it; the lock is on the directory itself, as a BPF file system holds no
//! ordinary files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_common::abi::ABI_VERSION;
use rustix::fs::{FlockOperation, flock};

use crate::dataplane::mounts;

use super::detach::end;
use super::error::LoadError;

/// How every pin is named: each program is called so.
const PIN_PREFIX: &str = "shunt_";

/// The pins of this ABI, locked.
#[derive(Debug)]
pub(super) struct PinDirectory {
    root: PathBuf,
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl PinDirectory {
    /// Makes `<root>/v<ABI>`, and locks it. The attachments that another agent left there, or under another ABI, stay in effect.
    pub(super) fn open(root: &Path) -> Result<Self, LoadError> {
        let failed = |error| LoadError::PinDirectory {
            path: root.to_owned(),
            error,
        };
        mounts::ensure_bpffs(root).map_err(failed)?;
        let path = root.join(format!("v{ABI_VERSION}"));
        fs::create_dir_all(&path).map_err(failed)?;
        let lock = lock(root)?;
        Ok(Self {
            root: root.to_owned(),
            path,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the link of `program` on `cgroup` is pinned.
    pub(super) fn link(&self, program: &str, cgroup: &File) -> io::Result<PathBuf> {
        let cgroup = cgroup.metadata()?.ino();
        Ok(self.path.join(format!("{program}_{cgroup}")))
    }

    /// Where a link may be pinned while another stands at `path`.
    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push("_next");
        self.path.join(name)
    }

    /// The pin that another agent has left of the link that is to be at `path`: there, or in the directory of another ABI.
    pub(super) fn left_behind(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let name = path.file_name().unwrap_or_default();
        let others = abi_directories(&self.root)?.into_iter();
        // What stands beside is of an agent that was killed before it took the other away.
        let mut places = [self.beside(path), path.to_owned()]
            .into_iter()
            .chain(others.map(|directory| directory.join(name)));
        Ok(places.find(|place| place.exists()))
    }

    /// Whether another agent has left links of that program, on whatever cgroup.
    pub(super) fn has_left(&self, program: &str) -> bool {
        let mut pins = abi_directories(&self.root)
            .into_iter()
            .flatten()
            .filter_map(|directory| fs::read_dir(directory).ok())
            .flatten()
            .filter_map(Result::ok);
        pins.any(|pin| pin.file_name().to_string_lossy().starts_with(program))
    }

    /// Ends every attachment but those that are pinned at `ours`.
    pub(super) fn end_others(&self, ours: &BTreeSet<&Path>) -> io::Result<()> {
        let ended = remove_pins(&self.root, ours)?;
        if !ended.is_empty() {
            tracing::info!(
                count = ended.len(),
                "ended attachments of another agent that are no longer needed"
            );
        }
        for directory in abi_directories(&self.root)? {
            // Ours, and one in which somebody else keeps something, stays.
            if directory != self.path && fs::remove_dir(&directory).is_err() {
                tracing::debug!(directory = %directory.display(), "it stays");
            }
        }
        Ok(())
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        // Another ABI's directory may stand beside ours; then the root stays.
        let removed = fs::remove_dir(&self.path).and_then(|()| fs::remove_dir(&self.root));
        if let Err(error) = removed {
            tracing::debug!(%error, "the pin directory stays");
        }
    }
}

/// Removes every pin of ours under `root`, and the directories, unless an agent is using them. Returns what was removed.
pub(in crate::dataplane) fn remove_stale(root: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let failed = |error| LoadError::PinDirectory {
        path: root.to_owned(),
        error,
    };
    let _lock = lock(root)?;
    let mut removed = remove_pins(root, &BTreeSet::new()).map_err(failed)?;
    let directories = abi_directories(root).map_err(failed)?;
    // A directory in which somebody else keeps something stays.
    for directory in directories.into_iter().chain([root.to_owned()]) {
        if fs::remove_dir(&directory).is_ok() {
            removed.push(directory);
        }
    }
    Ok(removed)
}

fn lock(root: &Path) -> Result<File, LoadError> {
    let failed = |error| LoadError::PinDirectory {
        path: root.to_owned(),
        error,
    };
    let directory = File::open(root).map_err(failed)?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LoadError::InUse {
            path: root.to_owned(),
            pid: holder(&directory).unwrap_or_else(|| "unknown".to_owned()),
        }),
        Err(error) => Err(failed(error.into())),
    }
}

/// The process that holds the lock, as `/proc/locks` has it: `1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF`.
fn holder(directory: &File) -> Option<String> {
    let inode = format!(":{}", directory.metadata().ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let kind = fields.next()?;
        let pid = fields.nth(2)?;
        let file = fields.next()?;
        (kind == "FLOCK" && file.ends_with(&inode)).then(|| pid.to_owned())
    })
}

/// The directories of every ABI. What else is under `root` is not ours: it may be a file system's root.
fn abi_directories(root: &Path) -> io::Result<Vec<PathBuf>> {
    let is_abi = |name: &str| {
        let number = name.strip_prefix('v');
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let mut directories = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_abi) && entry.file_type()?.is_dir() {
            directories.push(entry.path());
        }
    }
    Ok(directories)
}

/// Detaches and removes our pins in the directories of every ABI, but for those that are to stay.
fn remove_pins(root: &Path, to_stay: &BTreeSet<&Path>) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for directory in abi_directories(root)? {
        for pin in fs::read_dir(directory)? {
            let pin = pin?;
            if !pin.file_name().to_string_lossy().starts_with(PIN_PREFIX) {
                continue;
            }
            let pin = pin.path();
            if to_stay.contains(&*pin) {
                continue;
            }
            end(&pin)?;
            removed.push(pin);
        }
    }
    Ok(removed)
}
