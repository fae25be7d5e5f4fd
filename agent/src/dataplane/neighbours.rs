//! Who else is attached at our hooks, on a cgroup and above it, and what that means for programs of ours.
//!
//! The kernel's rules (`hierarchy_allows_attach` and `compute_effective_progs` of kernel/bpf/cgroup.c): programs that were
//! attached with a link or with `BPF_F_ALLOW_MULTI` all run, those of a cgroup before those of its parent. One that was
//! attached without a flag tolerates none beside or below it. One with `BPF_F_ALLOW_OVERRIDE` tolerates none beside it, and
//! does not run for a cgroup below it that has programs of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::loaded_programs;

use super::bpf::{self, Attached, BPF_F_ALLOW_MULTI, BPF_F_ALLOW_OVERRIDE};
use super::mounts;

/// How the names of our programs begin.
const OURS: &str = "shunt_";

/// A place in the kernel where programs of ours run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    /// As bpftool has it.
    pub name: &'static str,
    /// Of `enum bpf_attach_type`, include/uapi/linux/bpf.h.
    pub attach_type: u32,
    /// Of `enum bpf_prog_type`, with its name.
    pub program_type: (u32, &'static str),
}

const SOCK_ADDR: (u32, &str) = (18, "cgroup_sock_addr");

const fn sock_addr(name: &'static str, attach_type: u32) -> Hook {
    Hook {
        name,
        attach_type,
        program_type: SOCK_ADDR,
    }
}

/// Where every agent attaches.
pub(super) const HOOKS: [Hook; 9] = [
    sock_addr("connect4", 10),
    sock_addr("connect6", 11),
    sock_addr("sendmsg4", 14),
    sock_addr("sendmsg6", 15),
    sock_addr("recvmsg4", 19),
    sock_addr("recvmsg6", 20),
    sock_addr("getpeername4", 29),
    sock_addr("getpeername6", 30),
    Hook {
        name: "sock_release",
        attach_type: 34,
        program_type: (9, "cgroup_sock"),
    },
];

/// Where an agent attaches that follows the states of connections.
pub(super) const SOCK_OPS: Hook = Hook {
    name: "sock_ops",
    attach_type: 3,
    program_type: (13, "sock_ops"),
};

/// A program that is attached to a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub id: u32,
    /// Up to 15 characters; empty where it has none, or where we may not ask.
    pub name: String,
    /// As bpftool has it.
    pub hook: &'static str,
    /// As bpftool has it.
    pub program_type: &'static str,
    /// Where it is attached.
    pub cgroup: PathBuf,
}

impl Neighbour {
    /// Whether an agent of shunt attached it.
    pub(super) fn is_ours(&self) -> bool {
        self.name.starts_with(OURS)
    }

    /// What to do about one that is in our way.
    pub fn remedy(&self) -> String {
        let (cgroup, hook, id) = (self.cgroup.display(), self.hook, self.id);
        format!(
            "attach that program with a link or with BPF_F_ALLOW_MULTI, or take it off by \
             `bpftool cgroup detach {cgroup} {hook} id {id}`, or name a --cgroup that is not in {cgroup}"
        )
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.name.as_str() {
            "" => "without a name",
            name => name,
        };
        let (kind, id, hook) = (self.program_type, self.id, self.hook);
        let cgroup = self.cgroup.display();
        write!(f, "program {name} ({kind}, id {id}) on {hook} of {cgroup}")
    }
}

/// The programs at our hooks that matter to a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Neighbours {
    /// All on the cgroup and above it that run beside ours.
    pub beside: Vec<Neighbour>,
    /// Those because of which the kernel refuses to attach ours.
    pub exclusive: Vec<Neighbour>,
    /// Those that would no longer run for the cgroup, once ours are attached to it.
    pub overridden: Vec<Neighbour>,
}

/// Looks at `cgroup` and at every cgroup above it that can be seen.
pub(super) fn of(cgroup: &Path) -> io::Result<Neighbours> {
    let names = names();
    let mut found = Neighbours::default();
    let levels = levels(cgroup)?;
    for hook in HOOKS.into_iter().chain([SOCK_OPS]) {
        // The nearest cgroup with programs decides; above it, only programs that tolerate others run.
        let mut is_decided = false;
        for (depth, (path, directory)) in levels.iter().enumerate() {
            let attached = bpf::attached(directory, hook.attach_type)?;
            let list = match stance(&attached, depth) {
                Stance::Beside => &mut found.beside,
                Stance::Exclusive if !is_decided => &mut found.exclusive,
                Stance::Overridden if !is_decided => &mut found.overridden,
                _ => continue,
            };
            is_decided = true;
            list.extend(attached.programs.iter().map(|id| Neighbour {
                id: *id,
                name: names.get(id).cloned().unwrap_or_default(),
                hook: hook.name,
                program_type: hook.program_type.1,
                cgroup: path.clone(),
            }));
        }
    }
    Ok(found)
}

/// What runs at a hook for sockets in a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// As bpftool has it.
    pub hook: &'static str,
    /// Names, or ids where there is none, in the order of the runs.
    pub programs: Vec<String>,
}

impl Running {
    /// Whether a program of shunt is among them.
    pub fn has_ours(&self) -> bool {
        self.programs.iter().any(|name| name.starts_with(OURS))
    }
}

/// The programs that decide on connects of sockets in `cgroup`, whichever cgroup they are attached to.
pub fn running_at_connect(cgroup: &Path) -> io::Result<Vec<Running>> {
    let (names, directory) = (names(), File::open(cgroup)?);
    let name = |id: &u32| match names.get(id).map(String::as_str) {
        None | Some("") => format!("id {id}"),
        Some(name) => name.to_owned(),
    };
    let connects = HOOKS.into_iter().filter(|h| h.name.starts_with("connect"));
    connects
        .map(|hook| {
            let ids = bpf::effective(&directory, hook.attach_type)?;
            Ok(Running {
                hook: hook.name,
                programs: ids.iter().map(name).collect(),
            })
        })
        .collect()
}

/// How programs of one cgroup stand to one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    Absent,
    Beside,
    Exclusive,
    Overridden,
}

/// `depth` is 0 for the cgroup that we would attach to.
fn stance(attached: &Attached, depth: usize) -> Stance {
    if attached.programs.is_empty() {
        Stance::Absent
    } else if attached.flags & BPF_F_ALLOW_MULTI != 0 {
        Stance::Beside
    } else if attached.flags & BPF_F_ALLOW_OVERRIDE != 0 && depth > 0 {
        Stance::Overridden
    } else {
        Stance::Exclusive
    }
}

/// The cgroup and those above it, up to where their file system is mounted.
fn levels(cgroup: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    let cgroup = fs::canonicalize(cgroup)?;
    let levels = cgroup
        .ancestors()
        .take_while(|path| mounts::is_on_cgroup2(path))
        .map(|path| Ok((path.to_owned(), File::open(path)?)));
    levels.collect()
}

/// The names of all loaded programs, as far as we may ask.
fn names() -> BTreeMap<u32, String> {
    let programs = loaded_programs().filter_map(Result::ok);
    let named = programs.map(|program| (program.id(), program.name_as_str().map(str::to_owned)));
    named.filter_map(|(id, name)| Some((id, name?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_say_who_tolerates_whom() {
        let with = |flags| Attached {
            programs: vec![1],
            flags,
        };
        assert_eq!(stance(&Attached::default(), 0), Stance::Absent);
        assert_eq!(stance(&with(BPF_F_ALLOW_MULTI), 0), Stance::Beside);
        assert_eq!(stance(&with(0), 0), Stance::Exclusive);
        assert_eq!(stance(&with(0), 1), Stance::Exclusive);
        assert_eq!(stance(&with(BPF_F_ALLOW_OVERRIDE), 0), Stance::Exclusive);
        assert_eq!(stance(&with(BPF_F_ALLOW_OVERRIDE), 1), Stance::Overridden);
    }
}
