//! What became of each socket: one record of a connected one, and one for each destination of an unconnected one.
//!
//! Records are lines of FLOWS; where a socket finds none free, its record is stored at the socket itself, and what an
//! unconnected socket has beyond that is in REPLIES. Only a socket's own hooks write its records, and they run under the
//! socket's lock, but for `sock_release` and the end of its connection, which may meet each other.

mod lines;
mod replies;
mod storage;

use core::ffi::c_void;
use core::ptr::NonNull;

use agent_common::abi::{Flow, Total};

use crate::maps;
use crate::outbound::At;
use crate::sockaddr::SockAddr;

/// `IPPROTO_MPTCP`, which is no number of a protocol in packets.
pub const MPTCP: u32 = 262;

/// A socket, as the holder of records.
pub struct Holder {
    pub cookie: u64,
    /// As the helpers take it: `struct bpf_sock`, or the context of `sock_release`.
    pub socket: *mut c_void,
    /// Its connects were those of a subflow, whose cookie is another: its one record is stored at it.
    pub is_mptcp: bool,
}

pub type Record = NonNull<Flow>;

/// Remembers what a connecting socket was sent to, in the place of what it was sent to before.
#[inline(always)]
pub fn record_connection(socket: &SockAddr<'_>, flow: &Flow) {
    let holder = socket.holder();
    let kept = match socket.mptcp() {
        Some(connection) => storage::make(connection, holder.cookie),
        None => find(&holder, |_| true).or_else(|| place(&holder)),
    };
    match kept {
        Some(record) => fill(record, flow),
        None => maps::count_total(Total::FlowsFull),
    }
}

/// What an unconnected socket was sent to when it last named a destination.
#[derive(Default)]
pub struct Pair {
    record: Option<Record>,
    endpoint: Option<At>,
}

impl Pair {
    #[inline(always)]
    pub fn endpoint(&self) -> Option<At> {
        self.endpoint
    }
}

#[inline(always)]
pub fn pair(socket: &SockAddr<'_>, asked: At) -> Pair {
    let holder = socket.holder();
    let record = find(&holder, |flow| {
        flow.is_connected == 0 && (flow.original, flow.original_port) == asked
    });
    if let Some(record) = record {
        // SAFETY: the record is this socket's, which is locked.
        let flow = unsafe { record.as_ref() };
        return Pair {
            record: Some(record),
            endpoint: Some((flow.rewritten, flow.rewritten_port)),
        };
    }
    Pair {
        record: None,
        endpoint: if is_recorded(&holder) {
            replies::endpoint(holder.cookie, asked)
        } else {
            None
        },
    }
}

/// Remembers what a datagram was sent to. `pair` is what was remembered of its destination. Returns whether the endpoint is
/// another now.
#[inline(always)]
pub fn record_pair(socket: &SockAddr<'_>, pair: &Pair, flow: &Flow) -> bool {
    let is_same = pair.endpoint == Some((flow.rewritten, flow.rewritten_port));
    if let Some(mut record) = pair.record
        && is_same
    {
        // SAFETY: the record is this socket's, which is locked.
        unsafe { record.as_mut() }.sent = flow.sent;
        return false;
    }
    match pair.record.or_else(|| place(&socket.holder())) {
        Some(record) => fill(record, flow),
        None if replies::remember(flow) => {}
        None => maps::count_total(Total::FlowsFull),
    }
    !is_same
}

/// What the client named when a datagram went to the endpoint that this one comes from: the last of such destinations.
#[inline(always)]
pub fn sender(socket: &SockAddr<'_>, from: At) -> Option<At> {
    let holder = socket.holder();
    let record = lines::latest(holder.cookie, from).or_else(|| {
        find(&holder, |flow| {
            (flow.rewritten, flow.rewritten_port) == from
        })
    });
    match record {
        // SAFETY: the record is this socket's, which is locked.
        Some(record) => Some(original(unsafe { record.as_ref() })),
        None if is_recorded(&holder) => replies::original(holder.cookie, from),
        None => None,
    }
}

/// What the client asked for when it was connected to `peer`.
#[inline(always)]
pub fn peer(socket: &SockAddr<'_>, peer: At) -> Option<At> {
    let record = find(&socket.holder(), |flow| {
        flow.is_connected == 1 && (flow.rewritten, flow.rewritten_port) == peer
    })?;
    // SAFETY: the record is this socket's, which is locked.
    Some(original(unsafe { record.as_ref() }))
}

#[inline(always)]
fn original(flow: &Flow) -> At {
    (flow.original, flow.original_port)
}

#[inline(always)]
pub fn is_recorded(holder: &Holder) -> bool {
    find(holder, |_| true).is_some()
}

/// Forgets all that became of the socket.
#[inline(always)]
pub fn end(holder: &Holder) {
    if holder.is_mptcp {
        storage::end(holder.socket);
    } else if lines::end(holder.cookie) && storage::end(holder.socket) {
        lines::displace(holder.cookie, -1);
    }
}

/// A record of the socket that satisfies `wanted`.
#[inline(always)]
fn find(holder: &Holder, wanted: impl Fn(&Flow) -> bool) -> Option<Record> {
    if !holder.is_mptcp {
        match lines::find(holder.cookie, &wanted) {
            lines::Found::Line(line) => return Some(line),
            lines::Found::Nothing => return None,
            lines::Found::Displaced => {}
        }
    }
    let record = storage::get(holder.socket)?;
    // SAFETY: the record is this socket's.
    wanted(unsafe { record.as_ref() }).then_some(record)
}

/// A free place for one more record.
#[inline(always)]
fn place(holder: &Holder) -> Option<Record> {
    if let Some(line) = lines::claim(holder.cookie) {
        return Some(line);
    }
    let record = storage::claim(holder.socket, holder.cookie)?;
    lines::displace(holder.cookie, 1);
    maps::count_total(Total::FlowsStored);
    Some(record)
}

/// Writes a record that is the socket's, and counts it at its endpoint in the place of what it was before.
#[inline(always)]
fn fill(mut record: Record, flow: &Flow) {
    // SAFETY: as the caller says; `displaced` is of the line, and is not written.
    let line = unsafe { record.as_mut() };
    if line.sent != 0 {
        maps::count_open(line.endpoint, -1);
    }
    maps::count_open(flow.endpoint, 1);
    line.sent = flow.sent;
    line.original = flow.original;
    line.rewritten = flow.rewritten;
    line.original_port = flow.original_port;
    line.rewritten_port = flow.rewritten_port;
    line.endpoint = flow.endpoint;
    line.service = flow.service;
    line.protocol = flow.protocol;
    line.is_connected = flow.is_connected;
}
