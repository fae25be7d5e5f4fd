//! The record that is stored at a socket itself: of sockets that found no line of FLOWS, and of all sockets where there are
//! no lines. It goes with the socket.

use core::ffi::c_void;
use core::ptr::null_mut;

use agent_common::abi::Flow;

use super::{Record, lines};
use crate::maps;

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
    flow.cookie = cookie;
    Some(record)
}

/// Ends the record. Of two that try, one succeeds.
#[inline(always)]
pub fn end(socket: *mut c_void) -> bool {
    let Some(record) = get(socket) else {
        return false;
    };
    // SAFETY: the value is the socket's, and outlives the program's run.
    let flow = unsafe { record.as_ref() };
    let was = super::Counted::of(flow);
    let is_ended = lines::swap(record, flow.cookie, 0);
    if is_ended {
        was.change(-1);
    }
    is_ended
}
