//! sock_release: the end of a socket, and of its records.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;

use crate::flows;
use crate::holder::Holder;

#[cgroup_sock(sock_release)]
pub fn shunt_release(ctx: SockContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let protocol = unsafe { (&raw const (*ctx.sock).protocol).read_volatile() };
    // The context is the socket, in the eyes of every helper.
    flows::end(&Holder::new(ctx.as_ptr(), ctx.as_ptr(), protocol));
    1
}
