//! sock_ops: what becomes of a TCP connection: whether it comes to stand, and its end, which may come long before that of
//! its socket.
//!
//! The program runs several times for every TCP socket below its cgroup, so that it is attached only where somebody asks
//! for it. It asks the kernel for changes of state of redirected sockets alone.

use agent_common::abi::{Flow, TCP};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_SYN_SENT,
};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;

use crate::flows;
use crate::holder::Holder;
use crate::options;
use crate::outcome;

#[sock_ops]
pub fn shunt_sockops(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            if let Some(holder) = holder(&ctx)
                && flows::is_recorded(&holder)
            {
                let flags = ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
                // It is refused where a program may not ask, which is at sockets that are none of ours.
                ctx.set_cb_flags(flags as i32).ok();
            }
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            if let Some(holder) = holder(&ctx)
                && let Some(flow) = connected(&ctx, &holder)
            {
                // SAFETY: the context is valid while the program runs.
                let round_trip = unsafe { (*ctx.ops).srtt_us };
                // The kernel keeps eight times the smoothed round trip, which is the first one here.
                outcome::succeeded(flow, round_trip >> 3);
            }
        }
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => {
            if let Some(holder) = holder(&ctx) {
                if ctx.arg(0) == BPF_TCP_SYN_SENT
                    && let Some(flow) = connected(&ctx, &holder)
                {
                    // SAFETY: as above.
                    let retransmitted = unsafe { (*ctx.ops).total_retrans };
                    outcome::failed(flow, holder.socket, retransmitted > 0);
                }
                flows::end(&holder);
            }
        }
        _ => {}
    }
    1
}

/// What is recorded of a connect that has come to its end, with which what was set for it alone ends, too.
#[inline(always)]
fn connected<'a>(ctx: &SockOpsContext, holder: &Holder) -> Option<&'a Flow> {
    let record = flows::of_connection(holder)?;
    // SAFETY: the record is this socket's, which is locked.
    let flow = unsafe { record.as_ref() };
    if flow.is_timed() {
        options::end_timeout(ctx);
    }
    Some(flow)
}

#[inline(always)]
fn holder(ctx: &SockOpsContext) -> Option<Holder> {
    // SAFETY: the context is valid while the program runs.
    let socket = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    Some(Holder::new(ctx.as_ptr(), socket.cast(), u32::from(TCP)))
}
