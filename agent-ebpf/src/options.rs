//! What a service wants of its TCP sockets. An option that cannot be set is left as it is: that is no reason to fail a connect.

use core::ffi::{c_int, c_void};

use agent_common::abi::Extra;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_getsockopt, bpf_setsockopt};
use aya_ebpf::programs::SockAddrContext;

/// Of include/uapi/asm-generic/socket.h, linux/in.h and linux/tcp.h.
const SOL_SOCKET: c_int = 1;
const SO_KEEPALIVE: c_int = 9;
const IPPROTO_TCP: c_int = 6;
const TCP_KEEPIDLE: c_int = 4;
const TCP_KEEPINTVL: c_int = 5;
const TCP_KEEPCNT: c_int = 6;
const TCP_USER_TIMEOUT: c_int = 18;

const LENGTH: c_int = 4;

#[inline(always)]
pub fn keep_alive(ctx: &SockAddrContext, wanted: &Extra) {
    if wanted.keepalive == 0 {
        return;
    }
    set(ctx, SOL_SOCKET, SO_KEEPALIVE, 1);
    let values = [
        (TCP_KEEPIDLE, wanted.keepalive_time),
        (TCP_KEEPINTVL, wanted.keepalive_interval),
        (TCP_KEEPCNT, wanted.keepalive_probes),
    ];
    for (option, value) in values {
        if value != 0 {
            set(ctx, IPPROTO_TCP, option, value);
        }
    }
}

/// Has the connect given up after so many milliseconds. Once the connection stands, the timeout would be one for
/// acknowledgements, so that it must be ended then.
#[inline(always)]
pub fn set_timeout(ctx: &SockAddrContext, milliseconds: u32) {
    set(ctx, IPPROTO_TCP, TCP_USER_TIMEOUT, milliseconds);
}

#[inline(always)]
pub fn end_timeout(ctx: &impl EbpfContext) {
    set(ctx, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
}

/// The user timeout that is set; `None` where the kernel does not tell, which is before Linux 6.1.
#[inline(always)]
pub fn timeout(ctx: &SockAddrContext) -> Option<u32> {
    let mut value = 0u32;
    let to = (&raw mut value).cast::<c_void>();
    // SAFETY: the value is of the length that is given.
    let result = unsafe { bpf_getsockopt(ctx.as_ptr(), IPPROTO_TCP, TCP_USER_TIMEOUT, to, LENGTH) };
    (result == 0).then_some(value)
}

#[inline(always)]
fn set(ctx: &impl EbpfContext, level: c_int, option: c_int, mut value: u32) {
    let value = (&raw mut value).cast::<c_void>();
    // SAFETY: the value is of the length that is given.
    unsafe { bpf_setsockopt(ctx.as_ptr(), level, option, value, LENGTH) };
}
