//! Does this machine let an agent work at all: its kernel, our rights, and where attachments are pinned?

use std::fs;
use std::path::Path;

use aya::util::KernelVersion;

use crate::dataplane::mounts;

use super::{Check, State};

/// The oldest kernel that takes the programs.
const FLOOR: KernelVersion = KernelVersion::new(5, 10, 0);

/// Of include/uapi/linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

pub(super) fn all(bpf_dir: &Path) -> Vec<Check> {
    vec![
        kernel_version(),
        capabilities(),
        lockdown(),
        bpf_mount(bpf_dir),
    ]
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
