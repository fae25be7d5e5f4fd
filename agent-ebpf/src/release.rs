//! sock_release: the end of a socket, and of its record.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;

use crate::flows;

#[cgroup_sock(sock_release)]
pub fn shunt_release(ctx: SockContext) -> i32 {
    // SAFETY: a helper without preconditions, on a valid context.
    flows::clear(unsafe { bpf_get_socket_cookie(ctx.as_ptr()) });
    1
}
