//! OWNERS: where the kernel has the socket that a line of FLOWS is of, so that it can be told whether there still is one.
//!
//! A cookie is one socket's for as long as the kernel runs. So where another is found there, or nobody holds what is found, the
//! socket is no more; memory that was given back can be read, and keeps what it held until it is used again.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;

use crate::holder::Holder;
use crate::maps;

/// Remembers whose the line with the low bits of that number is from now on.
#[inline(always)]
pub fn set(line: u32, holder: &Holder) {
    let Some(owner) = maps::owner(line) else {
        return;
    };
    // SAFETY: the element is in a map, and the line's owner alone writes it. The cookie comes last, as it says whose the rest is.
    unsafe {
        let address = (&raw mut (*owner).address).cast::<*mut c_void>();
        address.write_volatile(holder.socket);
        (&raw mut (*owner).cookie).write_volatile(holder.cookie);
    }
}

/// Whether the socket with that cookie, which had the line, is no more. Where that cannot be told, it is not.
#[inline(always)]
pub fn is_gone(line: u32, cookie: u64) -> bool {
    let (Some(owner), Some((cookie_at, references_at))) =
        (maps::owner(line), maps::socket_offsets())
    else {
        return false;
    };
    // SAFETY: the element is in a map; the helper reads any address of the kernel, and fails where it may not.
    unsafe {
        if (&raw const (*owner).cookie).read_volatile() != cookie {
            return false;
        }
        let address = (&raw const (*owner).address).read_volatile();
        let Ok(found) = bpf_probe_read_kernel((address + cookie_at) as *const u64) else {
            return false;
        };
        found != cookie || bpf_probe_read_kernel((address + references_at) as *const u32) == Ok(0)
    }
}
