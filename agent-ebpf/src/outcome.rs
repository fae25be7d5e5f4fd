//! What becomes of connects: counted at their endpoints, and told where they fail.

use core::ffi::c_void;
use core::intrinsics::{AtomicOrdering, atomic_xadd};

use agent_common::abi::{EVENT_BYTES, Event, Flow, Total};
use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::btf_map;

use crate::maps;

#[btf_map]
static EVENTS: RingBuf<Event, { EVENT_BYTES as usize }> = RingBuf::new();

/// Where `struct sock` has the error that it reports; 0 where the kernel does not describe its types.
#[unsafe(no_mangle)]
static SOCK_ERROR: Global<u32> = Global::new(0);

const ETIMEDOUT: u32 = 110;

/// The connection of a recorded socket stands.
#[inline(always)]
pub fn succeeded(flow: &Flow, round_trip_us: u32) {
    let Some(state) = maps::endpoint(flow.endpoint) else {
        return;
    };
    // SAFETY: the element is in a map, and its words are aligned; only a failure that meets this success writes it too.
    unsafe {
        if (&raw const (*state).consecutive_failures).read_volatile() != 0 {
            (&raw mut (*state).consecutive_failures).write_volatile(0);
        }
        add(&raw mut (*state).succeeded);
        let latency = &raw mut (*state).latency_us;
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(latency, u64::from(round_trip_us));
    }
}

/// The connection of a recorded socket did not come to stand. `retransmitted`: whether nothing answered for a second at
/// least.
#[inline(always)]
pub fn failed(flow: &Flow, socket: *mut c_void, retransmitted: bool) {
    let errno = match error(socket) {
        // The client gave up. That is the endpoint's fault where it had not answered for so long.
        0 if retransmitted => ETIMEDOUT,
        0 => return,
        errno => errno,
    };
    let Some(state) = maps::endpoint(flow.endpoint) else {
        return;
    };
    // SAFETY: the words of the element are aligned.
    let event = unsafe {
        let is_timeout = errno == ETIMEDOUT;
        add(if is_timeout {
            &raw mut (*state).timed_out
        } else {
            &raw mut (*state).refused
        });
        Event {
            service: flow.service,
            endpoint: flow.endpoint,
            in_a_row: maps::fetch_and_add_one(&raw mut (*state).consecutive_failures)
                .wrapping_add(1),
            errno,
        }
    };
    let woken = u64::from(BPF_RB_FORCE_WAKEUP);
    if EVENTS.output(&event, woken).is_err() {
        maps::count_total(Total::EventsLost);
    }
}

/// Adds one.
///
/// # Safety
/// The word must be aligned, and in a map value.
#[inline(always)]
unsafe fn add(word: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(word, 1) };
}

/// `sk_err` of the socket; without a description of the kernel's types, a refusal.
#[inline(always)]
fn error(socket: *mut c_void) -> u32 {
    const ECONNREFUSED: u32 = 111;
    let offset = SOCK_ERROR.load();
    if offset == 0 {
        return ECONNREFUSED;
    }
    let Some(socket) = maps::address_of(socket) else {
        return ECONNREFUSED;
    };
    // SAFETY: the helper reads any address of the kernel, and fails where there is nothing.
    unsafe { bpf_probe_read_kernel((socket + u64::from(offset)) as *const u32) }
        .unwrap_or(ECONNREFUSED)
}
