//! getpeername4 and getpeername6: a client that asks sees the address that it connected to.

use agent_common::Family;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::flows;
use crate::sockaddr::SockAddr;

#[cgroup_sock_addr(getpeername4)]
pub fn shunt_peername4(ctx: SockAddrContext) -> i32 {
    show_original(&SockAddr {
        ctx: &ctx,
        family: Family::V4,
    })
}

#[cgroup_sock_addr(getpeername6)]
pub fn shunt_peername6(ctx: SockAddrContext) -> i32 {
    show_original(&SockAddr {
        ctx: &ctx,
        family: Family::V6,
    })
}

/// The hook can only change what is shown: 1 is the one value that it may return.
#[inline(always)]
fn show_original(socket: &SockAddr<'_>) -> i32 {
    // SAFETY: a helper without preconditions, on a valid context.
    let cookie = unsafe { bpf_get_socket_cookie(socket.ctx.as_ptr()) };
    let (address, port) = (socket.address(), socket.port());
    // A socket that has connected elsewhere since keeps its record until it is closed.
    if let Some(flow) = flows::find(cookie, |flow| {
        flow.rewritten == address && flow.rewritten_port == port
    }) {
        socket.set_address(flow.original);
        socket.set_port(flow.original_port);
    }
    1
}
