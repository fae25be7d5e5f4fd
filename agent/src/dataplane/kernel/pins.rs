//! The pin directory: attachments and maps as files on a BPF file system, which outlive the process that made them.
//!
//! The directory is locked while an agent uses it; the lock is on the directory itself, as a BPF file system holds no
//! ordinary files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_common::abi::ABI_VERSION;
use rustix::fs::{FlockOperation, flock};

use crate::dataplane::mounts;

use super::detach::end;
use super::error::LoadError;
use super::map_set::MapSet;
use super::succession::Left;

/// How every pin of a link is named: each program is called so.
const PIN_PREFIX: &str = "shunt_";

/// The pins of this ABI, locked.
#[derive(Debug)]
pub(super) struct PinDirectory {
    root: PathBuf,
    path: PathBuf,
    lock: File,
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
            lock,
        })
    }

    /// Makes the directory again where somebody has removed it, and locks it.
    pub(super) fn restore(&mut self) -> Result<(), LoadError> {
        if self.path.exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.path).map_err(|error| LoadError::PinDirectory {
            path: self.path.clone(),
            error,
        })?;
        drop(mem::replace(&mut self.lock, lock(&self.root)?));
        Ok(())
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
        let links = links(&self.root).unwrap_or_default();
        let mut names = links.iter().filter_map(|link| link.file_name());
        names.any(|name| name.to_string_lossy().starts_with(program))
    }

    /// The maps that another agent has left in force. Of two sets, as one is killed while it puts its programs in the place of
    /// others, the newer one, which is filled.
    pub(super) fn maps_in_force(&self) -> Result<Option<Left>, LoadError> {
        let mut sets = Vec::new();
        for directory in abi_directories(&self.root).map_err(LoadError::unreadable)? {
            sets.append(&mut MapSet::all(&directory).map_err(LoadError::unreadable)?);
        }
        let is_mixed = sets.len() > 1;
        let links = links(&self.root).map_err(LoadError::unreadable)?;
        let in_force = MapSet::in_force(sets, &links).map_err(LoadError::Unreadable)?;
        let is_own = |maps: &MapSet| maps.directory() == Some(&*self.path);
        let newest = in_force
            .into_iter()
            .max_by_key(|maps| (is_own(maps), maps.number()));
        Ok(newest.map(|maps| Left {
            is_own: is_own(&maps),
            maps,
            is_mixed,
        }))
    }

    /// Whether another agent's programs decide on connects.
    pub(super) fn is_in_force(&self) -> bool {
        links(&self.root).is_ok_and(|links| !links.is_empty())
    }

    pub(super) fn new_maps(&self, has_lines: bool) -> io::Result<MapSet> {
        MapSet::create(&self.path, has_lines)
    }

    /// Ends every attachment but those that are pinned at `ours`, and forgets all maps but these.
    pub(super) fn end_others(&self, ours: &BTreeSet<&Path>, maps: &MapSet) -> io::Result<()> {
        let ended = remove(&self.root, ours, Some(maps))?;
        if !ended.is_empty() {
            tracing::info!(
                count = ended.len(),
                "removed what is no longer needed of an earlier agent"
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
        // While anything is attached, its maps are the next agent's to go on from.
        if links(&self.root).is_ok_and(|links| links.is_empty())
            && let Err(error) = remove(&self.root, &BTreeSet::new(), None)
        {
            tracing::error!(%error, "pins of maps stay; run `shunt cleanup`");
        }
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
    let mut removed = remove(root, &BTreeSet::new(), None).map_err(failed)?;
    let directories = abi_directories(root).map_err(failed)?;
    // A directory in which somebody else keeps something stays.
    for directory in directories.into_iter().chain([root.to_owned()]) {
        if fs::remove_dir(&directory).is_ok() {
            removed.push(directory);
        }
    }
    Ok(removed)
}

/// What is pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// Attachments of programs.
    pub attachments: usize,
    /// The agent that uses them, where one does.
    pub agent: Option<u32>,
}

impl Pinned {
    pub fn look(root: &Path) -> io::Result<Self> {
        if !root.exists() {
            return Ok(Self::default());
        }
        let agent = holder(&File::open(root)?).and_then(|pid| pid.parse().ok());
        Ok(Self {
            attachments: links(root)?.len(),
            agent,
        })
    }
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

/// The pins of links in the directories of every ABI.
fn links(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut links = Vec::new();
    for directory in abi_directories(root)? {
        for pin in fs::read_dir(directory)? {
            let pin = pin?;
            if pin.file_name().to_string_lossy().starts_with(PIN_PREFIX) {
                links.push(pin.path());
            }
        }
    }
    Ok(links)
}

/// Detaches and removes our links in the directories of every ABI, and then the sets of maps, but for what is to stay.
fn remove(
    root: &Path,
    links_to_stay: &BTreeSet<&Path>,
    maps_to_stay: Option<&MapSet>,
) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for pin in links(root)? {
        if !links_to_stay.contains(&*pin) {
            end(&pin)?;
            removed.push(pin);
        }
    }
    for directory in abi_directories(root)? {
        for maps in MapSet::all(&directory)? {
            if maps_to_stay != Some(&maps) {
                removed.push(maps.remove()?);
            }
        }
    }
    Ok(removed)
}
