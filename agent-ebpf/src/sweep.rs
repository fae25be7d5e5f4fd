//! Ends records of sockets whose end no hook has seen. Attached nowhere: the agent runs it now and then, for some lines at a time.

use agent_common::abi::SWEPT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::flows;

/// Looks at the [`SWEPT`] lines from the packet's mark on. Returns how many it has freed.
#[classifier]
pub fn shunt_sweep(ctx: TcContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let first = unsafe { (&raw const (*ctx.skb.skb).mark).read_volatile() };
    let mut freed = 0;
    for line in 0..SWEPT {
        if flows::sweep(first.wrapping_add(line)) {
            freed += 1;
        }
    }
    freed
}
