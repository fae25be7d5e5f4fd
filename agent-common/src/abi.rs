//! The kernel ABI: the bytes that the agent writes and the kernel programs read, and the reverse.
//!
//! Addresses and ports are byte arrays in network order, IPv4 as v4-mapped IPv6; everything else is in the machine's
//! order. No structure has padding, so each may be a map key or be compared as bytes.

use core::cmp::Ordering;
use core::fmt;
use core::net::Ipv6Addr;

/// Names the layout of everything in this file; part of the pin directory, so that two layouts never meet.
pub const ABI_VERSION: u32 = 2;

/// `IPPROTO_TCP`.
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u8 = 17;

/// The scope of clients that no workload claims.
pub const DEFAULT_SCOPE: u32 = 0;

/// Lines of FLOWS that are tried for one socket before the record is given up.
pub const FLOW_PROBES: u32 = 4;

/// An IPv6 address, or an IPv4 address as v4-mapped: 16 bytes in network order, held as two words so that the BPF target,
/// which assumes no unaligned access, moves and compares it in two instructions.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Address([u64; 2]);

impl Address {
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let o = &octets;
        Self([
            u64::from_ne_bytes([o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7]]),
            u64::from_ne_bytes([o[8], o[9], o[10], o[11], o[12], o[13], o[14], o[15]]),
        ])
    }

    /// The v4-mapped form of an IPv4 address in network order.
    pub const fn from_v4_octets(v4: [u8; 4]) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(v4))
    }

    /// The v4-mapped form of the word of a `sockaddr_in`, in network order.
    pub const fn from_v4_word(word: u32) -> Self {
        let host = u32::from_be(word) as u64;
        Self([0, (MAPPED | host).to_be()])
    }

    /// From the four words of a `sockaddr_in6`, each in network order.
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self([join(words[0], words[1]), join(words[2], words[3])])
    }

    pub const fn octets(self) -> [u8; 16] {
        let (a, b) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [
            a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5],
            b[6], b[7],
        ]
    }

    /// The four words of a `sockaddr_in6`, each in network order.
    pub const fn words(self) -> [u32; 4] {
        let [a, b] = self.0;
        let (a, b) = (u64::from_be(a), u64::from_be(b));
        [
            ((a >> 32) as u32).to_be(),
            (a as u32).to_be(),
            ((b >> 32) as u32).to_be(),
            (b as u32).to_be(),
        ]
    }

    /// The word of a `sockaddr_in`: the IPv4 address of a v4-mapped one, in network order.
    pub const fn v4_word(self) -> u32 {
        (u64::from_be(self.0[1]) as u32).to_be()
    }

    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && u64::from_be(self.0[1]) >> 32 == MAPPED >> 32
    }

    /// Whether the address stands for another host on each link (fe80::/10), or for many hosts: multicast (ff00::/8,
    /// 224.0.0.0/4) and broadcast.
    pub const fn is_of_link(self) -> bool {
        if self.is_v4() {
            let v4 = u64::from_be(self.0[1]) as u32;
            return v4 >> 28 == 0xe || v4 == u32::MAX;
        }
        let first = u64::from_be(self.0[0]) >> 48;
        first & 0xffc0 == 0xfe80 || first >> 8 == 0xff
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        let words = |address: &Self| address.0.map(u64::from_be);
        words(self).cmp(&words(other))
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Ipv6Addr::from(self.octets()), f)
    }
}

/// The second half of every v4-mapped address, as a number.
const MAPPED: u64 = 0xffff_0000_0000;

/// Two words of network order as one.
const fn join(first: u32, second: u32) -> u64 {
    ((u32::from_be(first) as u64) << 32 | u32::from_be(second) as u64).to_be()
}

/// A port: two bytes in network order.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Port(u16);

impl Port {
    pub const fn new(port: u16) -> Self {
        Self(port.to_be())
    }

    /// From the word of a socket address, in network order.
    pub const fn from_word(word: u16) -> Self {
        Self(word)
    }

    /// The word of a socket address, in network order.
    pub const fn word(self) -> u16 {
        self.0
    }

    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl Ord for Port {
    fn cmp(&self, other: &Self) -> Ordering {
        self.get().cmp(&other.get())
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

/// What the first 16 bytes of a [`FrontendKey`] are.
const KIND_ADDRESS: u8 = 0;
const KIND_PREFIX: u8 = 1;

/// Key of FRONTENDS: a destination as a client of one scope names it. Three words, which the kernel programs write and
/// hash whole: bytes written one by one would have to reach the cache before the words that hold them can be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    address: Address,
    /// Port in network order, protocol, kind, scope.
    door: u64,
}

impl FrontendKey {
    pub const fn address(address: Address, port: Port, protocol: u8, scope: u32) -> Self {
        Self {
            address,
            door: door(port, protocol, KIND_ADDRESS, scope),
        }
    }

    /// The key under which the ports of a CIDR stand: its id in PREFIXES takes the place of the address.
    #[must_use]
    pub const fn prefix(id: u32, port: Port, protocol: u8, scope: u32) -> Self {
        Self {
            address: Address([0, (id as u64).to_be()]),
            door: door(port, protocol, KIND_PREFIX, scope),
        }
    }

    /// A hash of the key, kept beside the group in its [`FrontendWord`]. A hash-table element may be recycled for
    /// another key while a program reads it; the check tells.
    #[must_use]
    pub const fn check(&self) -> u32 {
        let [high, low] = self.address.0;
        let mut hash = mix(0x9e37_79b9_7f4a_7c15, high);
        hash = mix(hash, low);
        hash = mix(hash, self.door);
        (hash >> 32) as u32
    }

    pub const fn destination(&self) -> Address {
        self.address
    }

    pub const fn port(&self) -> Port {
        let [a, b, ..] = self.door.to_ne_bytes();
        Port::from_word(u16::from_ne_bytes([a, b]))
    }

    pub const fn protocol(&self) -> u8 {
        let [_, _, protocol, ..] = self.door.to_ne_bytes();
        protocol
    }

    pub const fn is_prefix(&self) -> bool {
        let [_, _, _, kind, ..] = self.door.to_ne_bytes();
        kind == KIND_PREFIX
    }
}

const fn door(port: Port, protocol: u8, kind: u8, scope: u32) -> u64 {
    let port = port.word().to_ne_bytes();
    let scope = scope.to_ne_bytes();
    u64::from_ne_bytes([
        port[0], port[1], protocol, kind, scope[0], scope[1], scope[2], scope[3],
    ])
}

const fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}

/// Value of FRONTENDS: one 64-bit word, so that it is read and replaced whole. The group is in the low half, the check in the
/// high one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendWord(u64);

impl FrontendWord {
    /// Points `key` at the group whose header is ARENA cell `group`.
    #[must_use]
    pub const fn new(key: &FrontendKey, group: u32) -> Self {
        Self((key.check() as u64) << 32 | group as u64)
    }

    pub const fn group(self) -> u32 {
        self.0 as u32
    }

    /// Whether this word was written for `key`.
    pub const fn is_for(self, key: &FrontendKey) -> bool {
        (self.0 >> 32) as u32 == key.check()
    }
}

/// What a group does with a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Spread over the slots.
    Balance,
    /// Resolution NONE: keep the original address, and the port unless the header overrides it.
    Original,
    /// Nothing can carry this out; connects fail closed.
    Refuse,
}

const ACTION_BALANCE: u8 = 1;
const ACTION_ORIGINAL: u8 = 2;
const ACTION_REFUSE: u8 = 3;

/// First cell of a group.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// This header's own cell: a reader that followed a stale word notices.
    group: u32,
    /// Index in COUNTERS, stable for the life of the service.
    service: u32,
    /// Slots that any socket of the IPv6 family may be given, from the cell after the header.
    slots: u32,
    /// Slots that an IPv4 socket may be given.
    slots_v4: u32,
    /// Cell of the first IPv4 slot, relative to the header: 1 when all endpoints are IPv4.
    offset_v4: u32,
    /// What the thresholds of the slots are fractions of.
    total: u32,
    total_v4: u32,
    action: u8,
    algorithm: u8,
    /// Replaces the port when the action is `Original`; 0 keeps it.
    port: Port,
}

/// The parts of a [`GroupHeader`] that its writer chooses.
#[derive(Clone, Copy, Debug)]
pub struct GroupShape {
    pub action: Action,
    pub slots: u32,
    pub total: u32,
    pub slots_v4: u32,
    pub total_v4: u32,
    pub offset_v4: u32,
    pub port: Option<u16>,
}

impl GroupHeader {
    #[must_use]
    pub fn new(group: u32, service: u32, shape: &GroupShape) -> Self {
        Self {
            group,
            service,
            slots: shape.slots,
            slots_v4: shape.slots_v4,
            offset_v4: shape.offset_v4,
            total: shape.total,
            total_v4: shape.total_v4,
            action: match shape.action {
                Action::Balance => ACTION_BALANCE,
                Action::Original => ACTION_ORIGINAL,
                Action::Refuse => ACTION_REFUSE,
            },
            algorithm: 0,
            port: Port::new(shape.port.unwrap_or(0)),
        }
    }

    /// Whether this is the header of the group at `cell`, and not what a recycled cell holds now.
    pub const fn is_at(&self, cell: u32) -> bool {
        self.group == cell
    }

    pub const fn service(&self) -> u32 {
        self.service
    }

    /// `None` for a cell that holds no header.
    pub const fn action(&self) -> Option<Action> {
        match self.action {
            ACTION_BALANCE => Some(Action::Balance),
            ACTION_ORIGINAL => Some(Action::Original),
            ACTION_REFUSE => Some(Action::Refuse),
            _ => None,
        }
    }

    /// The port that replaces the client's when the action is `Original`.
    pub fn port_override(&self) -> Option<Port> {
        (self.port != Port::new(0)).then_some(self.port)
    }

    /// Whether any endpoint is IPv4.
    pub const fn has_v4(&self) -> bool {
        self.slots_v4 > 0
    }

    /// The table of all endpoints, for the header at cell `group`.
    pub const fn any(&self, group: u32) -> Table {
        Table {
            first: group.wrapping_add(1),
            slots: self.slots,
            total: self.total,
        }
    }

    /// The table of the IPv4 endpoints.
    pub const fn v4(&self, group: u32) -> Table {
        Table {
            first: group.wrapping_add(self.offset_v4),
            slots: self.slots_v4,
            total: self.total_v4,
        }
    }

    /// The cell of the header whose table of all endpoints has the IPv6 ones only; `None` where there are none. It stands
    /// behind the IPv4 endpoints of a group that has both.
    pub const fn v6(&self, group: u32) -> Option<u32> {
        if self.slots_v4 == 0 {
            return Some(group);
        }
        if self.offset_v4 == 1 {
            return None;
        }
        Some(
            group
                .wrapping_add(self.offset_v4)
                .wrapping_add(self.slots_v4),
        )
    }
}

/// A run of slots that are an alias table. Slots are in the order of their address and port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Cell of the first.
    pub first: u32,
    pub slots: u32,
    /// What the thresholds are fractions of.
    pub total: u32,
}

/// One column of an alias table (Vose): of draws that hit this column, `threshold` in `total` take this slot's own
/// endpoint and the others take the alias's.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    address: Address,
    port: Port,
    reserved: [u8; 2],
    /// Index in COUNTERS, after those of all services, stable for (service, address, port).
    endpoint: u32,
    threshold: u32,
    /// The alias: a slot of the same table.
    alias: u32,
}

impl Slot {
    pub const fn new(
        address: Address,
        port: Port,
        endpoint: u32,
        threshold: u32,
        alias: u32,
    ) -> Self {
        Self {
            address,
            port,
            reserved: [0; 2],
            endpoint,
            threshold,
            alias,
        }
    }

    pub const fn address(&self) -> Address {
        self.address
    }

    pub const fn port(&self) -> Port {
        self.port
    }

    pub const fn endpoint(&self) -> u32 {
        self.endpoint
    }

    pub const fn threshold(&self) -> u32 {
        self.threshold
    }

    pub const fn alias(&self) -> u32 {
        self.alias
    }
}

/// One element of ARENA: a [`GroupHeader`] or a [`Slot`]. Groups start at even cells, so that a header and its first
/// slot share a cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell([u64; 4]);

const _: () = assert!(size_of::<Address>() == 16 && size_of::<Port>() == 2);
const _: () = assert!(size_of::<FrontendKey>() == 24 && size_of::<FrontendWord>() == 8);
const _: () = assert!(size_of::<GroupHeader>() == 32 && size_of::<Slot>() == 32);
const _: () = assert!(size_of::<Cell>() == 32 && size_of::<Flow>() == 64);
const _: () = assert!(size_of::<Config>() == 96 && size_of::<Counter>() == 16);
const _: () = assert!(size_of::<PairKey>() == 32 && size_of::<PairValue>() == 24);
const _: () = assert!(size_of::<EndpointState>() == 8);

#[expect(
    unsafe_code,
    reason = "cells are plain words that stand for one of two plain structures"
)]
mod cells {
    use super::{Cell, GroupHeader, Slot};

    impl From<GroupHeader> for Cell {
        fn from(header: GroupHeader) -> Self {
            // SAFETY: both are 32 bytes of plain data without padding, and every bit pattern is a valid `Cell`.
            unsafe { core::mem::transmute(header) }
        }
    }

    impl From<Slot> for Cell {
        fn from(slot: Slot) -> Self {
            // SAFETY: both are 32 bytes of plain data without padding, and every bit pattern is a valid `Cell`.
            unsafe { core::mem::transmute(slot) }
        }
    }

    impl Cell {
        pub const fn as_header(&self) -> &GroupHeader {
            // SAFETY: same size and alignment, and every bit pattern is a valid `GroupHeader`.
            unsafe { &*core::ptr::from_ref(self).cast() }
        }

        pub const fn as_slot(&self) -> &Slot {
            // SAFETY: same size and alignment, and every bit pattern is a valid `Slot`.
            unsafe { &*core::ptr::from_ref(self).cast() }
        }
    }
}

/// An address range: the addresses that equal `base` where `mask` has ones. All zero means no range.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    base: Address,
    mask: Address,
}

impl Range {
    /// The addresses whose first `bits` bits are those of `base`; an IPv4 range counts from bit 96.
    #[must_use]
    pub fn new(base: Address, bits: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        let mask = Address::from_octets(mask.to_be_bytes());
        Self {
            base: Address([base.0[0] & mask.0[0], base.0[1] & mask.0[1]]),
            mask,
        }
    }

    #[inline(always)]
    pub const fn contains(&self, address: Address) -> bool {
        let [base_high, base_low] = self.base.0;
        let [mask_high, mask_low] = self.mask.0;
        let [high, low] = address.0;
        mask_high | mask_low != 0 && high & mask_high == base_high && low & mask_low == base_low
    }
}

/// The one element of CONFIG.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Cgroup of the agent, whose own sockets are exempt; 0 for none.
    pub own_cgroup: u64,
    /// Whether PREFIXES holds anything, and so must be asked.
    pub has_prefixes: u32,
    pub reserved: [u32; 5],
    /// Where automatic VIPs are taken from: an address in it that no service declares is refused.
    pub vip_v4: Range,
    pub vip_v6: Range,
}

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
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// 1 where the socket is connected there, 0 where an unconnected one sends datagrams there.
    pub is_connected: u8,
    /// Of the line, whosoever it is: records that should be here by their cookie and are kept elsewhere.
    pub displaced: u16,
}

/// Live state of an endpoint: an element of ENDPOINTS, under the same index as in COUNTERS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// Records that name the endpoint: sockets that were sent there and have not been closed or sent elsewhere.
    pub open: u64,
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

/// One element of COUNTERS, per CPU. Services come first, then endpoints.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Connects sent on: to this endpoint, or past this service to their original address. An unconnected socket counts
    /// once for each endpoint that it is given, and with each datagram where the service keeps addresses.
    pub connects: u64,
    /// Connects that were failed on purpose (services only).
    pub denied: u64,
}

/// What belongs to no service: index into TOTALS, an array of per-CPU `u64`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Connects to an address in a VIP range with a port that nothing declares.
    PortNotDeclared = 0,
    /// Rewritten connects of which no record could be kept: they work, getpeername shows the endpoint.
    FlowsFull = 1,
    /// Words or headers that changed twice under a reader.
    Torn = 2,
    /// Records that found no free line in FLOWS and are stored at their socket.
    FlowsStored = 3,
}

/// Elements of TOTALS.
pub const TOTALS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_own_addresses_only() {
        let range = Range::new(Address::from_v4_octets([240, 240, 7, 9]), 96 + 16);
        assert!(range.contains(Address::from_v4_octets([240, 240, 0, 0])));
        assert!(range.contains(Address::from_v4_octets([240, 240, 255, 255])));
        assert!(!range.contains(Address::from_v4_octets([240, 241, 0, 0])));
        assert!(!Range::default().contains(Address::default()));
    }

    #[test]
    fn a_prefix_key_never_equals_an_address_key() {
        let loopback = Address::from_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let port = Port::new(80);
        let by_address = FrontendKey::address(loopback, port, TCP, DEFAULT_SCOPE);
        let by_prefix = FrontendKey::prefix(1, port, TCP, DEFAULT_SCOPE);
        assert_ne!(by_address, by_prefix);
        assert_ne!(by_address.check(), by_prefix.check());
    }

    #[test]
    fn addresses_of_a_link_and_of_many_hosts_are_told_apart() {
        let v6 = |text: &str| {
            let address: Ipv6Addr = text.parse().expect("a valid address");
            Address::from_octets(address.octets())
        };
        for of_link in [
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:224.0.0.251",
            "::ffff:255.255.255.255",
        ] {
            assert!(v6(of_link).is_of_link(), "{of_link}");
        }
        for other in [
            "fec0::1",
            "fd00::1",
            "::1",
            "::ffff:169.254.169.254",
            "::ffff:240.240.0.1",
        ] {
            assert!(!v6(other).is_of_link(), "{other}");
        }
    }

    #[test]
    fn only_mapped_addresses_are_v4() {
        assert!(Address::from_v4_octets([127, 0, 0, 1]).is_v4());
        assert!(!Address::default().is_v4());
    }
}
