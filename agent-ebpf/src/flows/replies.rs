//! REPLIES: the destinations of an unconnected socket that talks to more at once than there is room for elsewhere. Of these
//! the least recently used are forgotten.

use agent_common::abi::{Flow, PairKey, PairValue};

use crate::maps::{self, EARLIER_REPLIES, REPLIES};
use crate::outbound::At;

#[inline(always)]
pub fn endpoint(cookie: u64, asked: At) -> Option<At> {
    get(&PairKey::original(cookie, asked))
}

#[inline(always)]
pub fn original(cookie: u64, from: At) -> Option<At> {
    get(&PairKey::endpoint(cookie, from))
}

/// Remembers both ways. Returns whether there was room.
#[inline(always)]
pub fn remember(cookie: u64, flow: &Flow) -> bool {
    let asked = (flow.original, flow.original_port);
    let endpoint = (flow.rewritten, flow.rewritten_port);
    let forth = PairKey::original(cookie, asked);
    let back = PairKey::endpoint(cookie, endpoint);
    REPLIES.insert(&forth, &PairValue::new(endpoint), 0).is_ok()
        && REPLIES.insert(&back, &PairValue::new(asked), 0).is_ok()
}

/// An endpoint that answers for destinations in here answers for the last of all that was named.
#[inline(always)]
pub fn renew(cookie: u64, flow: &Flow) {
    let back = PairKey::endpoint(cookie, (flow.rewritten, flow.rewritten_port));
    if get(&back).is_some() {
        let asked = PairValue::new((flow.original, flow.original_port));
        // Where it fails, the element has just been taken for another, and the record tells.
        REPLIES.insert(&back, &asked, 0).ok();
    }
}

#[inline(always)]
fn get(key: &PairKey) -> Option<At> {
    // SAFETY: no other socket has keys with this cookie, and this one is locked.
    let found = unsafe { REPLIES.get(key) };
    let found = found.or_else(|| {
        if !maps::has_earlier_replies() {
            return None;
        }
        // SAFETY: as above.
        unsafe { EARLIER_REPLIES.get(key) }
    });
    found.map(PairValue::place)
}
