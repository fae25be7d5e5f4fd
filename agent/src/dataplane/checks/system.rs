//! Does this machine let an agent work at all: its kernel, our rights, and where attachments are pinned?

use std::fs;
use std::path::Path;

use aya::util::KernelVersion;

use crate::dataplane::{mounts, rights};

use super::{Check, State};

/// The oldest kernel that takes the programs.
const FLOOR: KernelVersion = KernelVersion::new(5, 10, 0);

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
    let name = "capabilities";
    let remedy = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";
    match rights::missing() {
        Ok(missing) if missing.is_empty() => {
            let detail = "BPF programs may be loaded and attached";
            Check::new(name, State::Ok, detail, remedy)
        }
        Ok(missing) => {
            let detail = format!("{} missing", missing.join(" and "));
            Check::new(name, State::Fail, detail, remedy)
        }
        Err(error) => Check::new(name, State::Fail, error.to_string(), remedy),
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
        (
            State::Warn,
            "not mounted; the agent mounts it, which takes CAP_SYS_ADMIN",
        )
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
