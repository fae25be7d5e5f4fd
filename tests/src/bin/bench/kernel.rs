//! What the measurement itself wants of bpf(2): run times counted while it lasts, and a program that does nothing, whose
//! run time is what counting costs.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};

/// `enum bpf_cmd`, `enum bpf_prog_type` and `enum bpf_attach_type` of include/uapi/linux/bpf.h.
const PROG_LOAD: i64 = 5;
const LINK_CREATE: i64 = 28;
const ENABLE_STATS: i64 = 32;
const CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_INET4_CONNECT: u32 = 10;

/// `union bpf_attr` for `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach_type: u32,
}

/// The same for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: u32,
    cgroup: u32,
    attach_type: u32,
    flags: u32,
}

/// Makes the kernel count the runs of programs, and their time, for as long as the result is held: as
/// `kernel.bpf_stats_enabled` does, but it cannot be left behind.
pub(crate) fn count_runs() -> Result<OwnedFd> {
    let run_time = 0u32;
    bpf(ENABLE_STATS, &run_time).context("counting the run time of programs")
}

/// A connect4 program that lets every connect pass, attached to a cgroup until dropped.
pub(crate) struct EmptyProgram {
    program: OwnedFd,
    _link: OwnedFd,
}

impl EmptyProgram {
    pub(crate) fn attach(cgroup: &Path) -> Result<Self> {
        // `r0 = 1; exit`
        let instructions: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
        let program = bpf(
            PROG_LOAD,
            &Load {
                kind: CGROUP_SOCK_ADDR,
                instruction_count: 2,
                instructions: instructions.as_ptr().addr() as u64,
                license: c"GPL".as_ptr().addr() as u64,
                attach_type: CGROUP_INET4_CONNECT,
                ..Load::default()
            },
        )
        .context("loading an empty program")?;
        let directory = File::open(cgroup)?;
        let link = bpf(
            LINK_CREATE,
            &Link {
                program: program.as_raw_fd().cast_unsigned(),
                cgroup: directory.as_raw_fd().cast_unsigned(),
                attach_type: CGROUP_INET4_CONNECT,
                flags: 0,
            },
        )
        .context("attaching an empty program")?;
        Ok(Self {
            program,
            _link: link,
        })
    }

    /// Runs, and their time in nanoseconds.
    pub(crate) fn runs(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let facts = fs::read_to_string(path)?;
        let fact = |name| number(&facts, name).with_context(|| format!("no {name} in fdinfo"));
        Ok((fact("run_cnt:")?, fact("run_time_ns:")?))
    }
}

/// Bytes of kernel memory of all maps that this process has open, each counted once.
pub(crate) fn map_memory() -> Result<u64> {
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The descriptor that reads the folder is gone when its own entry is read.
        let Ok(facts) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        if let (Some(id), Some(bytes)) = (number(&facts, "map_id:"), number(&facts, "memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}

/// The number after `name` in text of `name: number` lines.
pub(crate) fn number(facts: &str, name: &str) -> Option<u64> {
    let line = facts.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn bpf<T>(command: i64, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` are what the command reads, of that size, and the command makes a file descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    let fd = i32::try_from(fd).expect("a file descriptor or -1");
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
