//! Which programs are attached to a cgroup: `BPF_PROG_QUERY`, which aya does not offer for cgroup address hooks.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Of `enum bpf_cmd` and `enum bpf_attach_type`, include/uapi/linux/bpf.h.
const BPF_PROG_QUERY: libc::c_long = 16;
const CONNECT_HOOKS: [u32; 2] = [10, 11];

/// The part of `union bpf_attr` that the command reads and writes.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// The programs on the connect hooks of one cgroup.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectPrograms {
    pub programs: u32,
    /// One of them was attached without flags: no other may stand beside or below it.
    pub is_exclusive: bool,
}

pub(super) fn connect_programs(cgroup: &Path) -> io::Result<ConnectPrograms> {
    let directory = File::open(cgroup)?;
    let mut found = ConnectPrograms::default();
    for attach_type in CONNECT_HOOKS {
        let mut query = Query {
            target_fd: u32::try_from(directory.as_raw_fd()).map_err(io::Error::other)?,
            attach_type,
            ..Query::default()
        };
        // SAFETY: `Query` is laid out as the command has it, and no buffer for ids is given, so that only counts return.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_QUERY,
                &raw mut query,
                size_of::<Query>(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        found.programs += query.prog_cnt;
        found.is_exclusive |= query.prog_cnt > 0 && query.attach_flags == 0;
    }
    Ok(found)
}
