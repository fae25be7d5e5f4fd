//! EVENTS: what happened that somebody waits to hear of.

/// A connect to an endpoint failed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub service: u32,
    pub endpoint: u32,
    /// Failed connects to the endpoint since the last that did not fail, with this one.
    pub in_a_row: u32,
    /// Why, as the client sees it.
    pub errno: u32,
}

/// Bytes of the ring: room for the events of a burst of 2,700 failures. A power of two of pages.
pub const EVENT_BYTES: u32 = 1 << 16;

impl Event {
    /// From the bytes of a record; `None` for what is not as long as one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<4>() else {
            return None;
        };
        let [service, endpoint, in_a_row, errno] = *words else {
            return None;
        };
        Some(Self {
            service: u32::from_ne_bytes(service),
            endpoint: u32::from_ne_bytes(endpoint),
            in_a_row: u32::from_ne_bytes(in_a_row),
            errno: u32::from_ne_bytes(errno),
        })
    }
}
