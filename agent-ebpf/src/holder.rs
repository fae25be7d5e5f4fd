//! Whose a record is.

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_probe_read_kernel};

use crate::maps;

/// `IPPROTO_MPTCP`, which is no number of a protocol in packets.
const MPTCP: u32 = 262;

/// A socket, as the holder of records.
#[derive(Clone, Copy)]
pub struct Holder {
    pub cookie: u64,
    /// As the helpers of socket storage take it: `struct bpf_sock`, or the context of `sock_release`.
    pub socket: *mut c_void,
}

impl Holder {
    pub const NOBODY: Self = Self {
        cookie: 0,
        socket: null_mut(),
    };

    /// `ctx` is the context of the program.
    #[inline(always)]
    pub fn new(ctx: *mut c_void, socket: *mut c_void, protocol: u32) -> Self {
        let cookie = if protocol == MPTCP {
            cookie_of_first_subflow(socket)
        } else {
            // SAFETY: a helper without preconditions, on a valid context.
            unsafe { bpf_get_socket_cookie(ctx) }
        };
        Self { cookie, socket }
    }

    /// Whether the socket belongs to an MPTCP socket: what is stored at it cannot be found again when that one ends.
    #[inline(always)]
    pub fn is_subflow(&self) -> bool {
        let Some(offset) = maps::subflow_offset() else {
            return false;
        };
        // SAFETY: the helper takes any socket, and the verifier holds the offset to lie in what it returns.
        unsafe {
            let socket = bpf_skc_to_tcp_sock(self.socket).cast::<u8>();
            !socket.is_null() && socket.add(offset as usize).read_volatile() != 0
        }
    }
}

/// An MPTCP socket connects by its first subflow, a TCP socket of its own, which is what was recorded. 0 where the kernel
/// does not tell where it has what.
#[inline(always)]
fn cookie_of_first_subflow(socket: *mut c_void) -> u64 {
    let Some((first, cookie)) = maps::mptcp_offsets() else {
        return 0;
    };
    let Some(socket) = maps::address_of(socket) else {
        return 0;
    };
    // SAFETY: the helper reads any address of the kernel, and fails where there is nothing.
    unsafe {
        let subflow = bpf_probe_read_kernel((socket + first) as *const u64).unwrap_or_default();
        bpf_probe_read_kernel((subflow + cookie) as *const u64).unwrap_or_default()
    }
}
