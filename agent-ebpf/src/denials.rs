//! Tells of connects that policies deny, or would.

use agent_common::Connect;
use agent_common::abi::{DENIAL_BYTES, Denial, Denied, Total};
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid};
use aya_ebpf::macros::btf_map;

use crate::maps;

#[btf_map]
static DENIALS: RingBuf<Denial, { DENIAL_BYTES as usize }> = RingBuf::new();

/// Whoever reads looks from time to time, and is not woken: a client that is denied may try as often as it can.
#[inline(always)]
pub fn tell(asked: &Connect, service: u32, endpoint: u32, denied: Denied) {
    // SAFETY: helpers without preconditions.
    let (cgroup, process) = unsafe {
        (
            bpf_get_current_cgroup_id(),
            (bpf_get_current_pid_tgid() >> 32) as u32,
        )
    };
    let denial = Denial {
        cgroup,
        address: asked.address,
        service,
        endpoint,
        scope: asked.scope,
        process,
        port: asked.port,
        protocol: asked.protocol,
        code: denied.code(),
        reserved: 0,
    };
    if DENIALS
        .output(&denial, u64::from(BPF_RB_NO_WAKEUP))
        .is_err()
    {
        maps::count_total(Total::DenialsLost);
    }
}
