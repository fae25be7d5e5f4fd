//! FLOWS: what became of a socket's connect, one cache line each, found by the low bits of the socket's cookie.
//!
//! Cookies are handed out nearly in sequence, so that lines hardly collide. Only a socket's own hooks write its line, and
//! they run under the socket's lock or at its end: claiming a free line is all that needs an atomic operation.

use agent_common::abi::{FLOW_PROBES, Flow};

use crate::maps;

/// Remembers `flow`, unless every line that its socket may take is another's. Returns whether it did.
#[inline(always)]
pub fn record(flow: &Flow) -> bool {
    for probe in 0..FLOW_PROBES {
        let Some(line) = maps::flow(flow.cookie, probe) else {
            return false;
        };
        if claim(line, flow.cookie) {
            // SAFETY: the line is this socket's now.
            unsafe { write(line, flow) };
            return true;
        }
    }
    false
}

/// The record of the socket `cookie` that satisfies `wanted`.
#[inline(always)]
pub fn find(cookie: u64, wanted: impl Fn(&Flow) -> bool) -> Option<&'static Flow> {
    for probe in 0..FLOW_PROBES {
        // SAFETY: map values outlive the program's run, and nobody else writes a line with this cookie.
        let line = unsafe { &*maps::flow(cookie, probe)? };
        if line.cookie == cookie && wanted(line) {
            return Some(line);
        }
    }
    None
}

/// Frees every line of the socket `cookie`: a later connect of it may have taken a nearer one.
#[inline(always)]
pub fn clear(cookie: u64) {
    for probe in 0..FLOW_PROBES {
        let Some(line) = maps::flow(cookie, probe) else {
            return;
        };
        // SAFETY: as in `find`; the store is one aligned word.
        unsafe {
            if (*line).cookie == cookie {
                (&raw mut (*line).cookie).write_volatile(0);
            }
        }
    }
}

/// Takes the line if it is free, or keeps it if it is this socket's already.
#[inline(always)]
fn claim(line: *mut Flow, cookie: u64) -> bool {
    // SAFETY: `line` points into FLOWS, and the word is aligned.
    unsafe {
        let word = &raw mut (*line).cookie;
        let found = word.read_volatile();
        if found != 0 {
            return found == cookie;
        }
        let (_, claimed) = core::intrinsics::atomic_cxchg::<
            u64,
            { core::intrinsics::AtomicOrdering::SeqCst },
            { core::intrinsics::AtomicOrdering::SeqCst },
        >(word, 0, cookie);
        claimed
    }
}

/// Writes all but the cookie.
///
/// # Safety
/// The line must belong to `flow.cookie`.
#[inline(always)]
unsafe fn write(line: *mut Flow, flow: &Flow) {
    // SAFETY: the caller's promise; `line` points into FLOWS.
    unsafe { *line = *flow };
}
