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
pub fn set(ctx: &SockAddrContext, wanted: &Extra) {
    if wanted.keepalive != 0 {
        set_one(ctx, SOL_SOCKET, SO_KEEPALIVE, 1);
        let values = [
            (TCP_KEEPIDLE, wanted.keepalive_time),
            (TCP_KEEPINTVL, wanted.keepalive_interval),
            (TCP_KEEPCNT, wanted.keepalive_probes),
        ];
        for (option, value) in values {
            if value != 0 {
                set_one(ctx, IPPROTO_TCP, option, value);
            }
        }
    }
    // While a connection is being made, it is given up after the user timeout. The application's own stands.
    if wanted.connect_timeout != 0 && get(ctx, IPPROTO_TCP, TCP_USER_TIMEOUT) == Some(0) {
        set_one(ctx, IPPROTO_TCP, TCP_USER_TIMEOUT, wanted.connect_timeout);
    }
}

#[inline(always)]
fn set_one(ctx: &SockAddrContext, level: c_int, option: c_int, mut value: u32) {
    let value = (&raw mut value).cast::<c_void>();
    // SAFETY: the value is of the length that is given.
    unsafe { bpf_setsockopt(ctx.as_ptr(), level, option, value, LENGTH) };
}

/// `None` where the kernel does not tell.
#[inline(always)]
fn get(ctx: &SockAddrContext, level: c_int, option: c_int) -> Option<u32> {
    let mut value = 0u32;
    let to = (&raw mut value).cast::<c_void>();
    // SAFETY: the value is of the length that is given.
    let result = unsafe { bpf_getsockopt(ctx.as_ptr(), level, option, to, LENGTH) };
    (result == 0).then_some(value)
}
