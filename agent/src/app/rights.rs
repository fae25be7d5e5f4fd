//! What may a running agent do, and what has it given up? All that it will not need, before it reads anything of others.
//!
//! The kernel keeps rights by thread, and hands them on to those that a thread starts: so they are given up while there is one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Access, AtFlags, CWD, Mode, accessat};
use rustix::process::{Resource, Rlimit, setrlimit, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use crate::dataplane::{mounts, rights};
use crate::settings::Settings;

use super::descriptors;

/// Ports below this one are for who may (`CAP_NET_BIND_SERVICE`), unless the system says otherwise.
const FIRST_FREE_PORT: u16 = 1024;

/// What is to be kept beside what every agent needs, and what for.
type Exception = (CapabilitySet, String);

/// Does what nobody else in the agent may do, and gives up for good the right to do it: what is left is what the programs
/// need, and what `settings` need on this machine. Files that are made from now on are the agent's own.
pub(super) fn give_up(settings: &Settings) -> Result<()> {
    umask(Mode::RWXG | Mode::RWXO);
    if let Err(error) = mounts::ensure_bpffs(&settings.bpf_dir) {
        // Whoever loads the programs meets it again, and then it is an error.
        tracing::debug!(%error, "no BPF file system");
    }
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        // It counts before Linux 5.11 alone, where loading then says so.
        tracing::debug!(%error, "the limit of locked memory stays");
    }
    descriptors::take_all();
    let mut keep = rights::NEEDED;
    for (kept, why) in exceptions(settings)? {
        let held = capabilities(None)?.permitted.contains(kept);
        if held {
            tracing::info!(capabilities = %names(kept), "kept: {why}");
        }
        keep |= kept;
    }
    let left = reduce(keep).context("giving up what is not needed")?;
    tracing::info!(capabilities = %names(left), "all other rights are given up");
    Ok(())
}

/// Leaves at most `keep` to this thread, for good; returns what is left.
fn reduce(keep: CapabilitySet) -> Result<CapabilitySet> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    ensure!(threads == 1, "{threads} threads run already");
    // Programs that files give rights to have none when this thread becomes one of them.
    set_no_new_privs(true)?;
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(keep) {
            // The kernel may be older than some of them.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
    }
    clear_ambient_capability_set()?;
    let left = held.permitted & keep;
    let sets = CapabilitySets {
        effective: left,
        permitted: left,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    Ok(left)
}

fn exceptions(settings: &Settings) -> Result<Vec<Exception>> {
    let mut exceptions = without_rights(|| of_files(settings))?;
    if settings.enter_namespaces {
        let kept = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
        exceptions.push((
            kept,
            "sockets in other network namespaces are closed".to_owned(),
        ));
    }
    let mut listeners = settings.name_server.listen.iter();
    if let Some(at) = listeners.find(|at| at.port() < FIRST_FREE_PORT) {
        let kept = CapabilitySet::NET_BIND_SERVICE;
        exceptions.push((kept, format!("the name server listens on {at}")));
    }
    Ok(exceptions)
}

/// What `look` finds while this thread may do no more than every agent.
fn without_rights<T>(look: impl FnOnce() -> T) -> Result<T> {
    let held = capabilities(None)?;
    let effective = held.effective & rights::NEEDED;
    set_capabilities(None, CapabilitySets { effective, ..held })?;
    let found = look();
    set_capabilities(None, held)?;
    Ok(found)
}

/// Whose files the agent must get at, though they are for others.
fn of_files(settings: &Settings) -> Vec<Exception> {
    let mut exceptions = Vec::new();
    let directories = settings.config_dirs.iter();
    if let Some(path) = directories
        .flat_map(|path| with_files(path))
        .find(|path| is_denied(path, Access::READ_OK))
    {
        let why = format!("{} cannot be read otherwise", path.display());
        exceptions.push((CapabilitySet::DAC_READ_SEARCH, why));
    }
    // Where the agent makes a cgroup for itself, and goes back to at the end.
    let present = mounts::cgroup2()
        .ok()
        .and_then(|mount| mounts::present_cgroup(&mount).ok());
    let socket = settings.socket.parent().map(Path::to_owned);
    let written = [Some(settings.state_dir.clone()), socket, present];
    let mut written = written.into_iter().flatten();
    if let Some(path) = written.find(|path| is_denied(path, Access::WRITE_OK | Access::EXEC_OK)) {
        let why = format!("{} cannot be written to otherwise", path.display());
        exceptions.push((CapabilitySet::DAC_OVERRIDE, why));
    }
    exceptions
}

/// A path, and what is in it if it is a directory.
fn with_files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut paths = vec![path.to_owned()];
    paths.extend(entries.map(|entry| entry.path()));
    paths
}

/// Whether this thread has no such access to `path`, or to the nearest directory above it that exists.
fn is_denied(path: &Path, access: Access) -> bool {
    let asked = path
        .ancestors()
        .map(|path| accessat(CWD, path, access, AtFlags::EACCESS));
    let mut existing = asked.filter(|asked| *asked != Err(rustix::io::Errno::NOENT));
    existing.next() == Some(Err(rustix::io::Errno::ACCESS))
}

fn names(capabilities: CapabilitySet) -> String {
    let names = capabilities
        .iter_names()
        .map(|(name, _)| format!("CAP_{name}"));
    names.collect::<Vec<_>>().join(", ")
}
