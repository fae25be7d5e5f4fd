//! recvmsg4 and recvmsg6: a client that asks where a datagram came from sees the address that it sent to.

use agent_common::Family;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::flows;
use crate::sockaddr::SockAddr;

#[cgroup_sock_addr(recvmsg4)]
pub fn shunt_recvmsg4(ctx: SockAddrContext) -> i32 {
    show_original(&SockAddr {
        ctx: &ctx,
        family: Family::V4,
    })
}

#[cgroup_sock_addr(recvmsg6)]
pub fn shunt_recvmsg6(ctx: SockAddrContext) -> i32 {
    show_original(&SockAddr {
        ctx: &ctx,
        family: Family::V6,
    })
}

/// The hook can only change what is shown: 1 is the one value that it may return.
#[inline(always)]
fn show_original(socket: &SockAddr<'_>) -> i32 {
    if let Some((address, port)) =
        flows::sender(&socket.holder(), (socket.address(), socket.port()))
    {
        socket.set_address(address);
        socket.set_port(port);
    }
    1
}
