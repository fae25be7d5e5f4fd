//! FLOWS, ENDPOINTS and REPLIES: what became of each socket.

use super::address::{Address, Port};

/// What became of one socket: a line of FLOWS, which is a cache line, or what is stored at the socket itself.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Socket cookie; 0 marks a free line. Claimed by compare-and-swap.
    pub cookie: u64,
    /// When the socket was last sent there: ticks of the kernel (`jiffies64`; the resolution of `CLOCK_MONOTONIC_COARSE` is
    /// one), and one more than another record of the socket where the order of the two counts. Any clock costs more than all
    /// else that is recorded.
    pub sent: u64,
    /// What the client asked for.
    pub original: Address,
    /// Where it was sent.
    pub rewritten: Address,
    pub original_port: Port,
    pub rewritten_port: Port,
    pub endpoint: u32,
    pub service: u32,
    /// [`super::TCP`] or [`super::UDP`].
    pub protocol: u8,
    /// [`CONNECTED`], [`COUNTED`] and [`TIMED`].
    pub flags: u8,
    /// Of the line, whosoever it is: records that should be here by their cookie and are kept elsewhere. Of what is stored at a
    /// socket: the lines of the FLOWS that counts it so, as a power of two.
    pub displaced: u16,
}

/// Whose a line of FLOWS is: the element of OWNERS with the same number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The socket's. Where the line has another by now, this tells nothing.
    pub cookie: u64,
    /// Where the kernel has the socket (`struct sock`).
    pub address: u64,
}

/// Lines that a run of the program looks at which ends records of sockets that are no more.
pub const SWEPT: u32 = 16;

/// The socket is connected there; without it, an unconnected one sends datagrams there.
pub const CONNECTED: u8 = 1;
/// The record counts as open at its service too, which has a limit.
pub const COUNTED: u8 = 2;
/// `TCP_USER_TIMEOUT` is set for the connect alone.
pub const TIMED: u8 = 4;

impl Flow {
    pub const fn is_connected(&self) -> bool {
        self.flags & CONNECTED != 0
    }

    pub const fn is_counted(&self) -> bool {
        self.flags & COUNTED != 0
    }

    pub const fn is_timed(&self) -> bool {
        self.flags & TIMED != 0
    }
}

/// Live state of an endpoint or a service: an element of ENDPOINTS, under the same index as in COUNTERS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// Records that name the endpoint: sockets that were sent there and have not been closed or sent elsewhere. Of a service,
    /// those that keep their address, and all where there is a limit.
    pub open: u32,
    /// Of a service: turns that have been taken.
    pub turn: u32,
    /// Connects that have failed since the last that did not.
    pub consecutive_failures: u32,
    pub refused: u32,
    pub timed_out: u32,
    pub succeeded: u32,
    /// Of the connects that succeeded, together.
    pub latency_us: u64,
}

/// How many `open` stands for. While one agent takes the place of another, a record may end here that is still counted there: below
/// zero it is none.
#[must_use]
pub const fn at_least_none(open: u32) -> u32 {
    if open > i32::MAX as u32 { 0 } else { open }
}

/// Key of REPLIES: what a socket sent to when it asked for a destination, and the reverse.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairKey {
    cookie: u64,
    address: Address,
    port: Port,
    direction: u16,
    reserved: u32,
}

const FROM_ORIGINAL: u16 = 0;
const FROM_ENDPOINT: u16 = 1;

impl PairKey {
    const fn new(cookie: u64, (address, port): (Address, Port), direction: u16) -> Self {
        Self {
            cookie,
            address,
            port,
            direction,
            reserved: 0,
        }
    }

    /// Leads from what the client asks for to the endpoint.
    pub const fn original(cookie: u64, asked: (Address, Port)) -> Self {
        Self::new(cookie, asked, FROM_ORIGINAL)
    }

    /// Leads from the endpoint back to what the client asked for.
    pub const fn endpoint(cookie: u64, sent_to: (Address, Port)) -> Self {
        Self::new(cookie, sent_to, FROM_ENDPOINT)
    }
}

/// Value of REPLIES.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairValue {
    address: Address,
    port: Port,
    reserved: [u16; 3],
}

impl PairValue {
    pub const fn new((address, port): (Address, Port)) -> Self {
        Self {
            address,
            port,
            reserved: [0; 3],
        }
    }

    pub const fn place(&self) -> (Address, Port) {
        (self.address, self.port)
    }
}
