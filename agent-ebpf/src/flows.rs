//! What became of each socket: one record of a connected one, and one for each destination of an unconnected one.
//!
//! Records are lines of FLOWS; where a socket finds none free, its record is stored at the socket itself, and what an
//! unconnected socket has beyond that is in REPLIES. Only a socket's own hooks write its records, and they run under the
//! socket's lock, but for `sock_release` and the end of its connection, which may meet each other.

mod lines;
#[cfg(feature = "compare-and-swap")]
mod owners;
mod replies;
mod storage;

use core::ptr::NonNull;

#[cfg(feature = "compare-and-swap")]
use agent_common::abi::UNCOUNTED;
use agent_common::abi::{Flow, Port, Total, UDP};

use crate::holder::Holder;
use crate::maps::{self, Lines};
use crate::outbound::At;

#[cfg(feature = "compare-and-swap")]
pub use lines::sweep;

pub type Record = NonNull<Flow>;

/// Remembers what a connecting socket was sent to, in the place of what it was sent to before. Returns whether there was room.
#[inline(always)]
pub fn record_connection(holder: &Holder, flow: &Flow) -> bool {
    if flow.protocol == UDP {
        // It may have sent to many before; now it hears from one.
        end(holder);
        if !lines::is_alone(holder.cookie) {
            replies::renew(holder.cookie, flow);
        }
    }
    match find(holder, |_| true).or_else(|| place(holder)) {
        Some(record) => {
            fill(record, flow, maps::ticks());
            true
        }
        None => {
            maps::count_total(Total::FlowsFull);
            false
        }
    }
}

/// What an unconnected socket was sent to when it last named a destination.
#[derive(Clone, Copy, Default)]
pub struct Pair {
    record: Option<Record>,
    /// Port 0 for none. Of an option that is none, not all would be set, and verifiers before Linux 6.1 refuse to read that.
    endpoint: At,
}

impl Pair {
    #[inline(always)]
    pub fn endpoint(&self) -> Option<At> {
        (self.endpoint.1 != Port::default()).then_some(self.endpoint)
    }
}

#[inline(always)]
pub fn pair(holder: &Holder, asked: At) -> Pair {
    let record = find(holder, |flow| {
        !flow.is_connected() && (flow.original, flow.original_port) == asked
    });
    if let Some(record) = record {
        // SAFETY: the record is this socket's, which is locked.
        let flow = unsafe { record.as_ref() };
        return Pair {
            record: Some(record),
            endpoint: (flow.rewritten, flow.rewritten_port),
        };
    }
    Pair {
        record: None,
        endpoint: if lines::is_alone(holder.cookie) {
            At::default()
        } else {
            replies::endpoint(holder.cookie, asked).unwrap_or_default()
        },
    }
}

/// What came of remembering where a socket was sent.
#[derive(Clone, Copy)]
pub enum Recorded {
    /// It was there already.
    Known,
    New,
    /// There was no room: an answer shows where it comes from.
    Lost,
}

/// Remembers what a datagram was sent to. `pair` is what was remembered of its destination.
#[inline(always)]
pub fn record_pair(holder: &Holder, pair: &Pair, flow: &Flow) -> Recorded {
    let endpoint = (flow.rewritten, flow.rewritten_port);
    // Of two destinations with one endpoint, the one that was named last is whose reply comes: also within a tick.
    let sent = match latest(holder, endpoint) {
        // SAFETY: the record is this socket's, which is locked.
        Some(other) => maps::ticks().max(unsafe { other.as_ref() }.sent + 1),
        None => maps::ticks(),
    };
    if !lines::is_alone(holder.cookie) {
        replies::renew(holder.cookie, flow);
    }
    let is_same = pair.endpoint == endpoint;
    if let Some(mut record) = pair.record
        && is_same
    {
        // SAFETY: the record is this socket's, which is locked.
        let line = unsafe { record.as_mut() };
        // The same place may be an endpoint of another service by now, under another id.
        if line.endpoint == flow.endpoint {
            line.sent = sent;
            return Recorded::Known;
        }
    }
    match pair.record.or_else(|| place(holder)) {
        Some(record) => fill(record, flow, sent),
        // Of a socket that has no other record nobody would look there.
        None if !lines::is_alone(holder.cookie) && replies::remember(holder.cookie, flow) => {}
        None => {
            maps::count_total(Total::FlowsFull);
            return Recorded::Lost;
        }
    }
    if is_same {
        Recorded::Known
    } else {
        Recorded::New
    }
}

/// What the client named when a datagram went to the endpoint that this one comes from: the last of such destinations.
#[inline(always)]
pub fn sender(holder: &Holder, from: At) -> Option<At> {
    if !lines::is_alone(holder.cookie)
        && let Some(original) = replies::original(holder.cookie, from)
    {
        return Some(original);
    }
    let record = latest(holder, from)?;
    // SAFETY: the record is this socket's, which is locked.
    Some(original(unsafe { record.as_ref() }))
}

/// Of the socket's records that were sent to `endpoint`, the one that was used last.
#[inline(always)]
fn latest(holder: &Holder, endpoint: At) -> Option<Record> {
    let line = lines::latest(holder.cookie, endpoint);
    if lines::is_alone(holder.cookie) {
        return line;
    }
    let Some(stored) = storage::get(holder.socket) else {
        return line;
    };
    // SAFETY: the records are this socket's, which is locked.
    let flow = unsafe { stored.as_ref() };
    let is_later = match line {
        // SAFETY: as above.
        Some(line) => flow.sent > unsafe { line.as_ref() }.sent,
        None => true,
    };
    if is_later && (flow.rewritten, flow.rewritten_port) == endpoint {
        Some(stored)
    } else {
        line
    }
}

/// What the client asked for when it was connected to `peer`.
#[inline(always)]
pub fn peer(holder: &Holder, peer: At) -> Option<At> {
    let record = find(holder, |flow| {
        flow.is_connected() && (flow.rewritten, flow.rewritten_port) == peer
    })?;
    // SAFETY: the record is this socket's, which is locked.
    Some(original(unsafe { record.as_ref() }))
}

#[inline(always)]
fn original(flow: &Flow) -> At {
    (flow.original, flow.original_port)
}

#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub fn is_recorded(holder: &Holder) -> bool {
    find(holder, |_| true).is_some()
}

/// The record of a socket that is connected to an endpoint.
#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub fn of_connection(holder: &Holder) -> Option<Record> {
    find(holder, |flow| flow.endpoint != UNCOUNTED)
}

/// Forgets all that became of the socket.
#[inline(always)]
pub fn end(holder: &Holder) {
    if lines::end(holder.cookie)
        && let Some(counted_in) = storage::end(holder.socket)
    {
        lines::displace(counted_in, holder.cookie, -1);
    }
}

/// A record of the socket that satisfies `wanted`.
#[inline(always)]
fn find(holder: &Holder, wanted: impl Fn(&Flow) -> bool) -> Option<Record> {
    let found = lines::find(holder.cookie, &wanted);
    if found.line.is_some() || !found.is_displaced {
        return found.line;
    }
    let record = storage::get(holder.socket)?;
    // SAFETY: the record is this socket's.
    wanted(unsafe { record.as_ref() }).then_some(record)
}

/// A free place for one more record.
#[inline(always)]
fn place(holder: &Holder) -> Option<Record> {
    if let Some(line) = lines::claim(holder) {
        return Some(line);
    }
    if holder.is_subflow() {
        return None;
    }
    let record = storage::claim(holder.socket, holder.cookie)?;
    lines::displace(Lines::Now, holder.cookie, 1);
    maps::count_total(Total::FlowsStored);
    Some(record)
}

/// Writes a record that is the socket's, and counts it at its endpoint in the place of what it was before.
#[inline(always)]
fn fill(mut record: Record, flow: &Flow, sent: u64) {
    // SAFETY: as the caller says; `displaced` is of the place, and is not written.
    let line = unsafe { record.as_mut() };
    if line.sent != 0 {
        Counted::of(line).change(-1);
    }
    Counted::of(flow).change(1);
    line.sent = sent;
    line.original = flow.original;
    line.rewritten = flow.rewritten;
    line.original_port = flow.original_port;
    line.rewritten_port = flow.rewritten_port;
    line.endpoint = flow.endpoint;
    line.service = flow.service;
    line.protocol = flow.protocol;
    line.flags = flow.flags;
}

/// Where a record counts as open.
struct Counted {
    endpoint: u32,
    service: u32,
    is_at_service: bool,
}

impl Counted {
    #[inline(always)]
    fn of(flow: &Flow) -> Self {
        Self {
            endpoint: flow.endpoint,
            service: flow.service,
            is_at_service: flow.is_counted(),
        }
    }

    #[inline(always)]
    fn change(&self, change: i32) {
        maps::count_open(self.endpoint, change);
        if self.is_at_service {
            maps::count_open(self.service, change);
        }
    }
}

/// Whether the timeout that the socket has is one that was set for its last connect.
#[inline(always)]
pub fn is_timed(holder: &Holder) -> bool {
    find(holder, Flow::is_timed).is_some()
}

/// Whether the socket counts as open at the service.
#[inline(always)]
pub fn is_open_at(holder: &Holder, service: u32) -> bool {
    let counts =
        |flow: &Flow| flow.service == service && (flow.is_counted() || flow.endpoint == service);
    find(holder, counts).is_some()
}
