//! The kernel ABI: the bytes that the agent writes and the kernel programs read, and the reverse.
//!
//! Addresses and ports are byte arrays in network order, IPv4 as v4-mapped IPv6; everything else is in the machine's
//! order. No structure has padding, so each may be a map key or be compared as bytes.

mod address;
mod capture;
mod client;
mod counter;
mod denial;
mod event;
mod flow;
mod frontend;
mod group;
mod identity;

pub use address::{Address, Port, Range};
pub use capture::{CAPTURE_WORDS, Capture, LISTENERS, NAME_PORT, NameServer};
pub use client::{ClientWord, Exemption, LEVELS, Outbound};
pub use counter::{Counter, TOTALS, Total};
pub use denial::{DENIAL_BYTES, DENIAL_SIZE, Denial, Denied};
pub use event::{EVENT_BYTES, Event};
pub use flow::{
    CONNECTED, COUNTED, EndpointState, Flow, Owner, PairKey, PairValue, SWEPT, TIMED, at_least_none,
};
pub use frontend::{FrontendKey, FrontendWord};
pub use group::{
    Action, Algorithm, Cell, Column, Extra, GroupHeader, GroupShape, INDEXES, MAX_SLOTS, Slot,
    Table,
};
pub use identity::{Identified, IdentifiedService, Identity, NO_GROUP};

/// Names the layout of everything in this module; part of the pin directory, so that two layouts never meet.
pub const ABI_VERSION: u32 = 7;

/// Names the layout of what outlives a change of all else: FLOWS, OWNERS, STORED, REPLIES, ENDPOINTS, COUNTERS, TOTALS and
/// IDENTITIES. Agents of two ABIs that have it in common hand on to each other what is remembered of sockets.
pub const SOCKET_ABI_VERSION: u32 = 2;

/// `IPPROTO_TCP`.
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u8 = 17;
/// `IPPROTO_ICMP`.
pub const ICMP: u8 = 1;
/// `IPPROTO_ICMPV6`.
pub const ICMPV6: u8 = 58;

/// The scope of clients that no workload claims.
pub const DEFAULT_SCOPE: u32 = 0;

/// In the place of the id of a service or endpoint: counted nowhere.
pub const UNCOUNTED: u32 = u32::MAX;

/// Lines of FLOWS that are tried for one socket before the record is given up.
pub const FLOW_PROBES: u32 = 4;

/// The one element of CONFIG.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Cgroup of the agent, whose own sockets are exempt; 0 for none.
    pub own_cgroup: u64,
    /// Whether PREFIXES holds anything, and so must be asked.
    pub has_prefixes: u32,
    /// Whether connections are followed, so that what was set for the connect alone can be taken back.
    pub is_following: u32,
    /// How deep in the hierarchy the cgroups of workloads are, the deepest first; 0 for none. Where there is none at all, every
    /// client is the default one.
    pub levels: [u8; LEVELS],
    pub reserved: u32,
    /// The client that no workload claims.
    pub client: ClientWord,
    /// Where automatic VIPs are taken from: an address in it that no service declares is refused.
    pub vip_v4: Range,
    pub vip_v6: Range,
}

const _: () = assert!(size_of::<Address>() == 16 && size_of::<Port>() == 2);
const _: () = assert!(size_of::<FrontendKey>() == 24 && size_of::<FrontendWord>() == 8);
const _: () = assert!(size_of::<GroupHeader>() == 32 && size_of::<Slot>() == 32);
const _: () = assert!(size_of::<Cell>() == 32 && size_of::<Flow>() == 64);
const _: () = assert!(size_of::<Config>() == 96 && size_of::<Counter>() == 16);
const _: () = assert!(size_of::<PairKey>() == 32 && size_of::<PairValue>() == 24);
const _: () = assert!(size_of::<Event>() == 16);
const _: () = assert!(size_of::<ClientWord>() == 8 && size_of::<Denial>() == 48);
const _: () = assert!(size_of::<EndpointState>() == 32 && size_of::<Identity>() == 32);
const _: () = assert!(size_of::<Extra>() == 32);
const _: () = assert!(size_of::<Capture>() == 8 * CAPTURE_WORDS && size_of::<NameServer>() == 24);
