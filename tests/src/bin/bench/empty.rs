//! A program that does nothing, on the same hook: what running any program there costs.
#![expect(unsafe_code, reason = "bpf(2), for which aya needs an object file")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_CONNECT: u32 = 10;
/// `r0 = 1; exit`: let it pass.
const PASS: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`, and the attach type at its place.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 2],
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach_type: u32,
}

/// `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// Attached until it is dropped.
pub(crate) struct EmptyProgram {
    program: OwnedFd,
    _link: OwnedFd,
}

impl EmptyProgram {
    pub(crate) fn attach(cgroup: &Path) -> Result<Self> {
        let license = c"GPL";
        let load = Load {
            program_type: BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
            instruction_count: 2,
            instructions: PASS.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log: [0; 2],
            log_buffer: 0,
            kernel_version: 0,
            flags: 0,
            name: [0; 16],
            device: 0,
            attach_type: BPF_CGROUP_INET4_CONNECT,
        };
        let program = bpf(BPF_PROG_LOAD, &load).context("loading an empty program")?;
        let directory = File::open(cgroup)?;
        let link = Link {
            program: program.as_raw_fd().cast_unsigned(),
            target: directory.as_raw_fd().cast_unsigned(),
            attach_type: BPF_CGROUP_INET4_CONNECT,
            flags: 0,
        };
        let link = bpf(BPF_LINK_CREATE, &link).context("attaching an empty program")?;
        Ok(Self {
            program,
            _link: link,
        })
    }

    /// Runs, and the nanoseconds of all of them, as the kernel counts them.
    pub(crate) fn figures(&self) -> Result<(u64, u64)> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let text = std::fs::read_to_string(path)?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
                .with_context(|| format!("the kernel does not tell {name}"))
        };
        Ok((field("run_cnt:")?, field("run_time_ns:")?))
    }
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is laid out as the command has it, and what it points to outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
