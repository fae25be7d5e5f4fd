//! FLOWS: an array of lines, found by the low bits of the socket's cookie.
//!
//! Cookies are handed out nearly in sequence, so that lines hardly collide. A line is claimed by compare-and-swap on its
//! cookie and freed the same way. What is not in the line that it should be in is counted there as displaced, so that one
//! line tells of most sockets that nothing is remembered of them.
//!
//! Where an agent had another number of lines than the one before it, sockets keep the lines of the array that they were recorded
//! in until they are closed. Lines are claimed in the newer one alone.

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::ptr::NonNull;

use agent_common::abi::{FLOW_PROBES, Flow};

use super::Record;
#[cfg(feature = "compare-and-swap")]
use super::owners;
use crate::holder::Holder;
use crate::maps::{self, Lines};
use crate::outbound::At;

/// Whether there are lines at all: before Linux 5.12 there is no compare-and-swap, and no object may contain it.
const ARE_THERE: bool = cfg!(feature = "compare-and-swap");

/// Both fields are always set: of an enumeration they would not be, and verifiers refuse to read what is not.
pub struct Found {
    pub line: Option<Record>,
    /// Something of the socket may be elsewhere.
    pub is_displaced: bool,
}

/// A line of the socket `cookie` that satisfies `wanted`.
#[inline(always)]
pub fn find(cookie: u64, wanted: &impl Fn(&Flow) -> bool) -> Found {
    if !ARE_THERE {
        return Found {
            line: None,
            is_displaced: true,
        };
    }
    let found = find_in(Lines::Now, cookie, wanted);
    if !maps::has_earlier_flows() || found.line.is_some() {
        return found;
    }
    let earlier = find_in(Lines::Earlier, cookie, wanted);
    Found {
        line: earlier.line,
        is_displaced: found.is_displaced || earlier.is_displaced,
    }
}

#[inline(always)]
fn find_in(lines: Lines, cookie: u64, wanted: &impl Fn(&Flow) -> bool) -> Found {
    let mut found = Found {
        line: None,
        is_displaced: false,
    };
    let Some(home) = line(lines, cookie, 0) else {
        return found;
    };
    if is_of(home, cookie, wanted) {
        found.line = Some(home);
        return found;
    }
    if displaced(home) == 0 {
        return found;
    }
    found.is_displaced = true;
    for probe in 1..FLOW_PROBES {
        if let Some(line) = line(lines, cookie, probe)
            && is_of(line, cookie, wanted)
        {
            found.line = Some(line);
            break;
        }
    }
    found
}

/// Whether the socket has one record, or none: nothing is anywhere but in the line where it should be.
#[inline(always)]
pub fn is_alone(cookie: u64) -> bool {
    ARE_THERE
        && line(Lines::Now, cookie, 0).is_some_and(|home| displaced(home) == 0)
        && !(maps::has_earlier_flows() && may_be_earlier(cookie))
}

/// Whether the earlier lines may have something of the socket.
#[inline(always)]
fn may_be_earlier(cookie: u64) -> bool {
    line(Lines::Earlier, cookie, 0)
        .is_some_and(|home| displaced(home) != 0 || is_of(home, cookie, &|_: &Flow| true))
}

/// Of the lines of the socket that were sent to `endpoint`, the one that was used last.
#[inline(always)]
pub fn latest(cookie: u64, endpoint: At) -> Option<Record> {
    if !ARE_THERE {
        return None;
    }
    let latest = latest_in(Lines::Now, cookie, endpoint);
    if !maps::has_earlier_flows() {
        return latest;
    }
    let earlier = latest_in(Lines::Earlier, cookie, endpoint);
    match (latest, earlier) {
        // SAFETY: as in `is_of`.
        (Some(now), Some(then)) if unsafe { now.as_ref().sent < then.as_ref().sent } => earlier,
        (None, _) => earlier,
        _ => latest,
    }
}

#[inline(always)]
fn latest_in(lines: Lines, cookie: u64, endpoint: At) -> Option<Record> {
    let (mut best, mut sent) = (None, 0);
    for probe in 0..FLOW_PROBES {
        let line = line(lines, cookie, probe)?;
        if is_of(line, cookie, &|flow: &Flow| {
            flow.sent > sent && (flow.rewritten, flow.rewritten_port) == endpoint
        }) {
            // SAFETY: as in `is_of`.
            sent = unsafe { line.as_ref() }.sent;
            best = Some(line);
        }
        if probe == 0 && displaced(line) == 0 {
            break;
        }
    }
    best
}

/// A free line, which is the socket's now.
#[inline(always)]
pub fn claim(holder: &Holder) -> Option<Record> {
    if !ARE_THERE {
        return None;
    }
    let cookie = holder.cookie;
    for probe in 0..FLOW_PROBES {
        let mut line = line(Lines::Now, cookie, probe)?;
        // SAFETY: `line` points into FLOWS.
        let found = unsafe { (&raw const (*line.as_ptr()).cookie).read_volatile() };
        if found == 0 && swap(line, 0, cookie) {
            if probe > 0 {
                displace(Lines::Now, cookie, 1);
            }
            // Tells `fill` that nothing was here.
            // SAFETY: the line is this socket's now.
            unsafe { line.as_mut() }.sent = 0;
            #[cfg(feature = "compare-and-swap")]
            owners::set((cookie as u32).wrapping_add(probe), holder);
            return Some(line);
        }
    }
    None
}

/// Frees every line of the socket. Returns whether something of it may be elsewhere.
#[inline(always)]
pub fn end(cookie: u64) -> bool {
    if !ARE_THERE {
        return true;
    }
    let is_more = end_in(Lines::Now, cookie);
    if maps::has_earlier_flows() {
        end_in(Lines::Earlier, cookie) || is_more
    } else {
        is_more
    }
}

#[inline(always)]
fn end_in(lines: Lines, cookie: u64) -> bool {
    let Some(home) = line(lines, cookie, 0) else {
        return false;
    };
    free(home, cookie);
    if displaced(home) == 0 {
        return false;
    }
    for probe in 1..FLOW_PROBES {
        if let Some(line) = line(lines, cookie, probe)
            && free(line, cookie)
        {
            displace(lines, cookie, -1);
        }
    }
    true
}

/// Frees the line with the low bits of that number if its socket is no more, but its end was not seen. Returns whether it did.
#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub fn sweep(number: u32) -> bool {
    let Some(line) = maps::flow(Lines::Now, number).and_then(NonNull::new) else {
        return false;
    };
    // SAFETY: `line` points into FLOWS.
    let cookie = unsafe { (&raw const (*line.as_ptr()).cookie).read_volatile() };
    let is_freed = cookie != 0 && owners::is_gone(number, cookie) && free(line, cookie);
    if is_freed && !maps::is_same_line(cookie as u32, number) {
        displace(Lines::Now, cookie, -1);
    }
    is_freed
}

/// Frees the line if it is the socket's. Of two that try, one succeeds.
#[inline(always)]
fn free(line: Record, cookie: u64) -> bool {
    // SAFETY: map values outlive the program's run; if the swap succeeds, the line was the socket's when it was read.
    let flow = unsafe { line.as_ref() };
    if flow.cookie != cookie {
        return false;
    }
    let was = super::Counted::of(flow);
    let is_freed = swap(line, cookie, 0);
    if is_freed {
        was.change(-1);
    }
    is_freed
}

/// Changes how many records of sockets that belong in this line are elsewhere.
#[inline(always)]
pub fn displace(lines: Lines, cookie: u64, change: i16) {
    if !ARE_THERE {
        return;
    }
    let Some(home) = line(lines, cookie, 0) else {
        return;
    };
    // The count is the upper half of the last word; the kernel adds no fewer than four bytes, and the lower half is written
    // by stores of its own.
    let word = home.cast::<[u32; 16]>();
    // SAFETY: the line is 64 bytes and the word is aligned.
    unsafe {
        let last = (&raw mut (*word.as_ptr())[15]).cast::<u32>();
        atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(last, (change as u32) << 16);
    }
}

#[inline(always)]
fn displaced(line: Record) -> u16 {
    // SAFETY: `line` points into FLOWS; the half word is read whole.
    unsafe { (&raw const (*line.as_ptr()).displaced).read_volatile() }
}

#[inline(always)]
fn is_of(line: Record, cookie: u64, wanted: &impl Fn(&Flow) -> bool) -> bool {
    // SAFETY: map values outlive the program's run, and nobody else writes a line with this cookie.
    let flow = unsafe { line.as_ref() };
    flow.cookie == cookie && wanted(flow)
}

/// The line that is tried for the socket at the given probe. An MPTCP socket that has never connected has no cookie, and
/// must not take the mark of a free line for its own.
#[inline(always)]
fn line(lines: Lines, cookie: u64, probe: u32) -> Option<Record> {
    if cookie == 0 {
        return None;
    }
    maps::flow(lines, (cookie as u32).wrapping_add(probe)).and_then(NonNull::new)
}

/// Changes the cookie of a record, if it is `from`. Returns whether it was.
#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub fn swap(record: Record, from: u64, to: u64) -> bool {
    use core::intrinsics::atomic_cxchg;
    // SAFETY: the word is aligned, and in a map value.
    let (_, is_done) = unsafe {
        let word = &raw mut (*record.as_ptr()).cookie;
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, from, to)
    };
    is_done
}

/// Here no two try: there is no program at the end of connections.
#[cfg(not(feature = "compare-and-swap"))]
#[inline(always)]
pub fn swap(record: Record, from: u64, to: u64) -> bool {
    // SAFETY: the word is aligned, and in a map value.
    unsafe {
        let word = &raw mut (*record.as_ptr()).cookie;
        let is_from = word.read_volatile() == from;
        if is_from {
            word.write_volatile(to);
        }
        is_from
    }
}
