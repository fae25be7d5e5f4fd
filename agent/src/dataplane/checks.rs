//! What this kernel and this machine can do, and what to do about what they cannot: the facts behind `shunt check`.

use std::fs;
use std::path::{Path, PathBuf};

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{is_map_supported, is_program_supported};
use aya::util::KernelVersion;

use super::kernel;
use super::mounts;
use super::query;

/// The oldest kernel that takes the programs.
const FLOOR: KernelVersion = KernelVersion::new(5, 10, 0);

/// Of include/uapi/linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

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
    pub remedy: &'static str,
}

impl Check {
    fn new(
        name: &'static str,
        state: State,
        detail: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
            remedy: if state == State::Ok { "" } else { remedy },
        }
    }
}

/// Everything that can be told without changing anything. `cgroups` are those that would be attached to; none stands for
/// the root.
pub fn machine(cgroups: &[PathBuf], bpf_dir: &Path) -> Vec<Check> {
    let mut checks = vec![
        kernel_version(),
        capabilities(),
        lockdown(),
        cgroup_mount(),
        bpf_mount(bpf_dir),
        btf(),
    ];
    checks.extend([program_types(), map_types(), errno()]);
    let root = mounts::cgroup2();
    let cgroups = if cgroups.is_empty() {
        root.as_slice()
    } else {
        cgroups
    };
    checks.extend(cgroups.iter().map(|cgroup| neighbours(cgroup)));
    checks
}

fn kernel_version() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let state = match KernelVersion::current() {
        Ok(version) if version >= FLOOR => State::Ok,
        _ => State::Fail,
    };
    Check::new(
        "kernel",
        state,
        format!("Linux {}", release.trim()),
        "use Linux 5.10 or later",
    )
}

fn capabilities() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default();
    let has = |capability: u32| effective >> capability & 1 == 1;
    let missing: Vec<&str> = [
        ("CAP_BPF", has(CAP_BPF) || has(CAP_SYS_ADMIN)),
        ("CAP_NET_ADMIN", has(CAP_NET_ADMIN)),
    ]
    .into_iter()
    .filter_map(|(name, is_held)| (!is_held).then_some(name))
    .collect();
    let remedy = "run as root, or with CAP_BPF and CAP_NET_ADMIN";
    if missing.is_empty() {
        Check::new(
            "capabilities",
            State::Ok,
            "BPF programs may be loaded and attached",
            remedy,
        )
    } else {
        let detail = format!("{} missing", missing.join(" and "));
        Check::new("capabilities", State::Fail, detail, remedy)
    }
}

fn lockdown() -> Check {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let (state, detail) = if modes.contains("[confidentiality]") {
        (State::Fail, "confidentiality mode")
    } else {
        (State::Ok, "does not forbid BPF")
    };
    Check::new(
        "lockdown",
        state,
        detail,
        "start the kernel with lockdown=integrity or without it",
    )
}

fn cgroup_mount() -> Check {
    match mounts::cgroup2() {
        Some(path) => Check::new("cgroup v2", State::Ok, path.display().to_string(), ""),
        None => Check::new(
            "cgroup v2",
            State::Fail,
            "not mounted",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified, after mkdir",
        ),
    }
}

fn bpf_mount(bpf_dir: &Path) -> Check {
    let (state, detail) = if mounts::is_on_bpffs(bpf_dir) {
        (State::Ok, "mounted")
    } else if bpf_dir.starts_with("/sys/fs/bpf") {
        (State::Warn, "not mounted; the agent mounts it")
    } else {
        (State::Fail, "not a BPF file system")
    };
    let detail = format!("{}: {detail}", bpf_dir.display());
    Check::new(
        "BPF file system",
        state,
        detail,
        "mount -t bpf bpf /sys/fs/bpf",
    )
}

fn btf() -> Check {
    let is_there = Path::new("/sys/kernel/btf/vmlinux").exists();
    let (state, detail) = if is_there {
        (State::Ok, "/sys/kernel/btf/vmlinux")
    } else {
        (
            State::Warn,
            "the kernel does not describe its types; only tracing tools miss it",
        )
    };
    Check::new(
        "BTF",
        state,
        detail,
        "use a kernel built with CONFIG_DEBUG_INFO_BTF",
    )
}

fn program_types() -> Check {
    let wanted = [
        ("cgroup_sock_addr", ProgramType::CgroupSockAddr),
        ("cgroup_sock", ProgramType::CgroupSock),
    ];
    let missing = wanted.map(|(name, kind)| (name, is_program_supported(kind).is_ok_and(|is| is)));
    supported("program types", &missing)
}

fn map_types() -> Check {
    let wanted = [
        ("hash", MapType::Hash),
        ("lpm_trie", MapType::LpmTrie),
        ("array", MapType::Array),
        ("percpu_array", MapType::PerCpuArray),
    ];
    let missing = wanted.map(|(name, kind)| (name, is_map_supported(kind).is_ok_and(|is| is)));
    supported("map types", &missing)
}

fn supported(name: &'static str, probes: &[(&str, bool)]) -> Check {
    let list = |wanted: bool| -> Vec<&str> {
        let matching = probes.iter().filter(|(_, is)| *is == wanted);
        matching.map(|(name, _)| *name).collect()
    };
    let missing = list(false);
    if missing.is_empty() {
        return Check::new(name, State::Ok, list(true).join(", "), "");
    }
    let detail = format!("cannot use {}", missing.join(", "));
    Check::new(
        name,
        State::Fail,
        detail,
        "needs CAP_BPF, and a kernel built with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF",
    )
}

fn errno() -> Check {
    let (state, detail) = if kernel::Features::get().errno {
        (
            State::Ok,
            "a refused connect says why (ECONNREFUSED, EHOSTUNREACH)",
        )
    } else {
        (State::Warn, "every refused connect says EPERM")
    };
    Check::new("bpf_set_retval", state, detail, "use Linux 6.1 or later")
}

/// Who else is attached at the same hooks.
fn neighbours(cgroup: &Path) -> Check {
    let remedy = "replace that program by one attached with a link or BPF_F_ALLOW_MULTI, or give --cgroup another directory";
    let place = cgroup.display();
    match query::connect_programs(cgroup) {
        Ok(found) if found.is_exclusive => {
            let detail = format!("{place}: a program there tolerates no other");
            Check::new("neighbours", State::Fail, detail, remedy)
        }
        Ok(found) => {
            let detail = format!("{place}: {} other programs on connect", found.programs);
            Check::new("neighbours", State::Ok, detail, remedy)
        }
        Err(error) => {
            let detail = format!("{place}: {error}");
            Check::new(
                "neighbours",
                State::Warn,
                detail,
                "run as root to see who else is attached",
            )
        }
    }
}
