//! Are the maps still pinned? Without its pin a map stays in force, but the next agent would find none to go on from. What
//! somebody has removed is pinned again.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use crate::dataplane::bpf;
use crate::dataplane::drift::{Deviation, Drift, Part};

use super::map_set::MapSet;

/// What is pinned of a set, held.
pub(super) struct HeldPins(Vec<(PathBuf, OwnedFd)>);

impl HeldPins {
    pub(super) fn of(set: &MapSet) -> io::Result<Self> {
        // Of many that are missing only some are told by name: maps, which people know, come before programs.
        let mut paths = set.pins()?;
        paths.sort();
        let mut pins = Vec::new();
        for path in paths {
            match bpf::get_pinned(&path) {
                Ok(object) => pins.push((path, object)),
                Err(error) => {
                    tracing::warn!(%error, pin = %path.display(), "nobody notices when it is removed");
                }
            }
        }
        Ok(Self(pins))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Puts back what is missing.
    pub(super) fn look_after(&self) -> Vec<Drift> {
        let is_there = |path: &PathBuf| path.try_exists().unwrap_or(true);
        let missing = self.0.iter().filter(|(path, _)| !is_there(path));
        missing
            .map(|(path, object)| Drift {
                part: Part::Pins,
                deviation: Deviation::Missing,
                what: format!("{} was removed", path.display()),
                failure: put_back(path, object).err().map(|error| error.to_string()),
            })
            .collect()
    }
}

fn put_back(path: &Path, object: &OwnedFd) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    bpf::pin(object.as_fd(), path)
}
