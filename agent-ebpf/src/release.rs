//! sock_release: the end of a socket, and of its records.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;

use crate::flows::{self, Holder, MPTCP};

#[cgroup_sock(sock_release)]
pub fn shunt_release(ctx: SockContext) -> i32 {
    flows::end(&Holder {
        // SAFETY: a helper without preconditions, on a valid context.
        cookie: unsafe { bpf_get_socket_cookie(ctx.as_ptr()) },
        socket: ctx.as_ptr(),
        // SAFETY: the context is valid while the program runs.
        is_mptcp: unsafe { (&raw const (*ctx.sock).protocol).read_volatile() } == MPTCP,
    });
    1
}
