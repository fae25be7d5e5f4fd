//! Detaching a pinned link at once: `BPF_OBJ_GET` and `BPF_LINK_DETACH`, which aya does not offer.
//!
//! Removing the pin would detach too, but a moment later: the kernel lets go of a file's inode after a grace period.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Of `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

/// The part of `union bpf_attr` that `BPF_OBJ_GET` reads.
#[repr(C)]
struct Get {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_DETACH` reads.
#[repr(C)]
struct Detach {
    link: u32,
}

/// After this the link that is pinned at `path` does nothing, whoever holds it.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let fd = bpf(
        BPF_OBJ_GET,
        &Get {
            path: name.as_ptr() as u64,
            fd: 0,
            flags: 0,
        },
    )?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given this descriptor to us.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let number = u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    bpf(BPF_LINK_DETACH, &Detach { link: number })?;
    Ok(())
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is laid out as the command has it, and what it points to outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const *attributes,
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
