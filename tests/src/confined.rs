//! Becoming a program that may do little, as a service manager or a container runtime starts one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, capability_is_in_bounding_set,
    configure_capability_in_ambient_set, move_into_link_name_space,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_gid, set_thread_groups, set_thread_uid,
};
use serde::{Deserialize, Serialize};

use crate::cgroup;

/// What is done before the program is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The cgroup to be in.
    pub cgroup: Option<PathBuf>,
    /// The process whose network namespace is entered.
    pub beside: Option<u32>,
    /// The user and the group of that number.
    pub user: u32,
    /// Its other groups; none unless the user is root.
    pub groups: Vec<u32>,
    /// How many files it may have open; as many as we may unless given.
    pub descriptors: Option<u64>,
    /// How many bytes it may lock; all unless given. It counts before Linux 5.11 alone, where loading needs more than is usual.
    pub locked_memory: Option<u64>,
    /// All that it may do, as `CapabilitySet` has the names; everything that root may unless given.
    pub capabilities: Option<Vec<String>>,
}

/// Becomes `command` so confined; returns only where that fails.
pub fn become_confined(confinement: &Confinement, command: &[OsString]) -> Result<()> {
    if let Some(group) = &confinement.cgroup {
        cgroup::join(group)?;
    }
    if let Some(process) = confinement.beside {
        let namespace = File::open(format!("/proc/{process}/ns/net"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    let at_most = |limit| Rlimit {
        current: limit,
        maximum: limit,
    };
    setrlimit(Resource::Memlock, at_most(confinement.locked_memory)).ok();
    if confinement.descriptors.is_some() {
        setrlimit(Resource::Nofile, at_most(confinement.descriptors))?;
    }
    let capabilities = match &confinement.capabilities {
        Some(names) => names.iter().try_fold(CapabilitySet::empty(), |all, name| {
            CapabilitySet::from_name(name).map(|one| all | one)
        }),
        None => Some(CapabilitySet::all()),
    };
    let capabilities = capabilities.context("there is no such capability")?;
    if confinement.capabilities.is_some() {
        leave_bounding_set(capabilities)?;
    }
    if confinement.user != 0 {
        become_user(confinement)?;
    }
    if confinement.capabilities.is_some() {
        hand_on(capabilities)?;
        set_no_new_privs(true)?;
    }
    let (program, arguments) = command.split_first().context("which program?")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

fn leave_bounding_set(kept: CapabilitySet) -> Result<()> {
    for capability in CapabilitySet::all().difference(kept) {
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    Ok(())
}

fn become_user(confinement: &Confinement) -> Result<()> {
    let groups = confinement.groups.iter().copied().map(Gid::from_raw);
    set_keep_capabilities(true)?;
    set_thread_groups(&groups.collect::<Vec<_>>())?;
    set_thread_gid(Gid::from_raw(confinement.user))?;
    Ok(set_thread_uid(Uid::from_raw(confinement.user))?)
}

/// Keeps `capabilities` when this thread becomes another program.
fn hand_on(capabilities: CapabilitySet) -> Result<()> {
    let sets = CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: capabilities,
    };
    set_capabilities(None, sets)?;
    for capability in capabilities {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Gives `path`, and what is in it, to the user and the group of that number.
pub fn give(path: &Path, user: u32) -> Result<()> {
    chown(path, Some(user), Some(user))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}
