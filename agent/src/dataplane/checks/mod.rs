//! What this kernel and this machine can do, and what to do about what they cannot: the facts behind `shunt check`.

mod cgroups;
mod features;
mod neighbours;
mod system;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::mounts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    /// It works, with something less.
    Warn,
    /// It does not work.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when the state is `Ok`.
    pub remedy: Cow<'static, str>,
}

impl Check {
    pub fn new(
        name: &'static str,
        state: State,
        detail: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        let remedy = match state {
            State::Ok => Cow::default(),
            State::Warn | State::Fail => remedy.into(),
        };
        Self {
            name,
            state,
            detail: detail.into(),
            remedy,
        }
    }

    /// `ok` where it holds, and else what is lost without it, and its remedy.
    fn feature(
        name: &'static str,
        holds: bool,
        ok: &str,
        lost: &str,
        remedy: &'static str,
    ) -> Self {
        if holds {
            Self::new(name, State::Ok, ok, remedy)
        } else {
            Self::new(name, State::Warn, lost, remedy)
        }
    }
}

/// Everything that can be told without changing anything. `cgroups` are those that would be attached to; none stands for
/// the root.
pub fn machine(cgroups: &[PathBuf], bpf_dir: &Path) -> Vec<Check> {
    let root = mounts::cgroup2().ok();
    let cgroups = if cgroups.is_empty() {
        root.as_slice()
    } else {
        cgroups
    };
    let mut checks = system::all(bpf_dir);
    checks.extend(features::all());
    checks.push(cgroups::mount());
    checks.extend(reach(cgroups));
    checks.extend(cgroups.iter().map(|cgroup| neighbours::of(cgroup)));
    checks
}

/// Whether programs that are attached to `cgroups` run for every socket that one would expect.
pub fn reach(cgroups: &[PathBuf]) -> Vec<Check> {
    let mut checks: Vec<Check> = cgroups
        .iter()
        .map(|path| cgroups::namespace(path))
        .collect();
    checks.dedup();
    checks.extend(cgroups::classifiers());
    checks
}
