//! The record that is stored at a socket itself: of sockets that found no line of FLOWS, and of all sockets where there are
//! no lines. It goes with the socket.

use core::ffi::c_void;
use core::ptr::null_mut;

use agent_common::abi::Flow;

use super::{Record, lines};
use crate::maps::{self, Lines};

/// The record at the socket.
#[inline(always)]
pub fn get(socket: *mut c_void) -> Option<Record> {
    let record = maps::stored(socket, null_mut())?;
    // SAFETY: the value is the socket's, and outlives the program's run.
    (unsafe { record.as_ref() }.cookie != 0).then_some(record)
}

/// Makes room for a record, unless the socket has one or its memory is used up.
#[inline(always)]
pub fn claim(socket: *mut c_void, cookie: u64) -> Option<Record> {
    if get(socket).is_some() {
        return None;
    }
    let mut empty = Flow::default();
    let mut record = maps::stored(socket, &raw mut empty)?;
    // SAFETY: the value is the socket's, which is locked.
    let flow = unsafe { record.as_mut() };
    flow.sent = 0;
    flow.displaced = maps::flow_bits();
    flow.cookie = cookie;
    Some(record)
}

/// Ends the record. Of two that try, one succeeds, and gets which lines count it as displaced, if any that are known here do.
#[inline(always)]
pub fn end(socket: *mut c_void) -> Option<Lines> {
    let record = get(socket)?;
    // SAFETY: the value is the socket's, and outlives the program's run.
    let flow = unsafe { record.as_ref() };
    let was = super::Counted::of(flow);
    let is_of_now = flow.displaced == maps::flow_bits();
    if !lines::swap(record, flow.cookie, 0) {
        return None;
    }
    was.change(-1);
    if is_of_now {
        Some(Lines::Now)
    } else if maps::has_earlier_flows() {
        Some(Lines::Earlier)
    } else {
        None
    }
}
