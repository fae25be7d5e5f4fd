//! What an agent has pinned below its `--bpf-dir`, for those who change it behind its back.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bpf;

/// The pin of the link of a program, on the only cgroup that it is attached to.
pub fn link(bpf_dir: &Path, program: &str) -> Result<PathBuf> {
    let found = find(bpf_dir, |name| name.starts_with(program))?;
    found.with_context(|| format!("the link of {program} is pinned"))
}

/// One that there may be no more, or not yet.
pub fn find(bpf_dir: &Path, is: impl Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    let mut folders = vec![bpf_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if is(&entry.file_name().to_string_lossy()) {
                return Ok(Some(entry.path()));
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(None)
}

/// All of them: directories alone hold nothing.
pub fn all(bpf_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pins = Vec::new();
    for entry in fs::read_dir(bpf_dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            pins.append(&mut all(&entry.path())?);
        } else {
            pins.push(entry.path());
        }
    }
    pins.sort();
    Ok(pins)
}

/// A map of the agent, pinned or not.
pub struct Map(OwnedFd);

impl Map {
    pub fn open(bpf_dir: &Path, name: &str) -> Result<Self> {
        let map = match find(bpf_dir, |found| found == name)? {
            Some(pin) => bpf::get_pinned(&pin),
            None => bpf::map_of_link(&link(bpf_dir, "shunt_connect4")?, name),
        };
        Ok(Self(map.with_context(|| format!("opening {name}"))?))
    }

    pub fn keys<const N: usize>(&self) -> io::Result<Vec<[u8; N]>> {
        bpf::keys(self.0.as_fd())
    }

    pub fn get<const N: usize>(&self, key: &[u8]) -> io::Result<[u8; N]> {
        bpf::lookup(self.0.as_fd(), key)
    }

    pub fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        bpf::update(self.0.as_fd(), key, value)
    }

    pub fn remove(&self, key: &[u8]) -> io::Result<()> {
        bpf::remove(self.0.as_fd(), key)
    }
}
