//! ARENA: groups, which are what services publish.

use super::address::{Address, Port};

/// What a group does with a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Spread over the slots.
    Balance,
    /// Resolution NONE: keep the original address, and the port unless the header overrides it.
    Original,
    /// Nothing can carry this out; connects fail closed.
    Refuse,
    /// Policies deny it to these clients.
    Deny,
}

const ACTION_BALANCE: u8 = 1;
const ACTION_ORIGINAL: u8 = 2;
const ACTION_REFUSE: u8 = 3;
const ACTION_DENY: u8 = 4;

/// How one of several slots is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// By weight.
    #[default]
    Random,
    /// Of two that are drawn by weight and are of one pool, the one with fewer open connections for its weight.
    LeastRequest,
    /// In turns, as the index table says; where there is none, each slot in its turn.
    RoundRobin,
    /// By the hash of who connects, as the index table says; where there is none, evenly.
    SourceHash,
}

const LEAST_REQUEST: u8 = 1;
const ROUND_ROBIN: u8 = 2;
const SOURCE_HASH: u8 = 3;

/// There is no table for sockets of that family.
const NOWHERE: u32 = u32::MAX;

/// First cell of a group, and of each further table in it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// This header's own cell: a reader that followed a stale word notices.
    group: u32,
    /// Index in COUNTERS, stable for the life of the service.
    service: u32,
    /// Slots from the cell after the header.
    slots: u32,
    /// What the thresholds of the slots are fractions of.
    total: u32,
    /// Cell, relative to this one, of the header whose slots are the IPv4 ones; 0 where these are.
    v4: u32,
    /// The same for IPv6.
    v6: u32,
    /// Cell of an [`Extra`], relative to this one; 0 for none.
    extra: u32,
    action: u8,
    algorithm: u8,
    /// Replaces the port when the action is `Original`; 0 keeps it.
    port: Port,
}

/// The parts of a [`GroupHeader`] that its writer chooses. Cells are relative to the header's.
#[derive(Clone, Copy, Debug)]
pub struct GroupShape {
    pub action: Action,
    pub algorithm: Algorithm,
    pub slots: u32,
    pub total: u32,
    /// 0 for the header's own table.
    pub v4: Option<u32>,
    pub v6: Option<u32>,
    pub extra: Option<u32>,
    pub port: Option<u16>,
}

impl GroupHeader {
    #[must_use]
    pub fn new(group: u32, service: u32, shape: &GroupShape) -> Self {
        Self {
            group,
            service,
            slots: shape.slots,
            total: shape.total,
            v4: shape.v4.unwrap_or(NOWHERE),
            v6: shape.v6.unwrap_or(NOWHERE),
            extra: shape.extra.unwrap_or(0),
            action: match shape.action {
                Action::Balance => ACTION_BALANCE,
                Action::Original => ACTION_ORIGINAL,
                Action::Refuse => ACTION_REFUSE,
                Action::Deny => ACTION_DENY,
            },
            algorithm: match shape.algorithm {
                Algorithm::Random => 0,
                Algorithm::LeastRequest => LEAST_REQUEST,
                Algorithm::RoundRobin => ROUND_ROBIN,
                Algorithm::SourceHash => SOURCE_HASH,
            },
            port: Port::new(shape.port.unwrap_or(0)),
        }
    }

    /// Whether this is the header at `cell`, and not what a recycled cell holds now.
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
            ACTION_DENY => Some(Action::Deny),
            _ => None,
        }
    }

    pub const fn algorithm(&self) -> Algorithm {
        match self.algorithm {
            LEAST_REQUEST => Algorithm::LeastRequest,
            ROUND_ROBIN => Algorithm::RoundRobin,
            SOURCE_HASH => Algorithm::SourceHash,
            _ => Algorithm::Random,
        }
    }

    /// The port that replaces the client's when the action is `Original`.
    pub fn port_override(&self) -> Option<Port> {
        (self.port != Port::new(0)).then_some(self.port)
    }

    /// The slots behind this header, which is at `cell`.
    pub const fn table(&self, cell: u32) -> Table {
        Table {
            first: cell.wrapping_add(1),
            slots: self.slots,
            total: self.total,
        }
    }

    /// The cell of the header of the IPv4 endpoints, seen from this one at `cell`; `None` where there are none.
    pub const fn v4(&self, cell: u32) -> Option<u32> {
        of_family(cell, self.v4)
    }

    /// The same for the IPv6 endpoints.
    pub const fn v6(&self, cell: u32) -> Option<u32> {
        of_family(cell, self.v6)
    }

    /// The cell of the [`Extra`] of this header, which is at `cell`.
    pub const fn extra(&self, cell: u32) -> Option<u32> {
        if self.extra == 0 {
            None
        } else {
            Some(cell.wrapping_add(self.extra))
        }
    }
}

#[inline(always)]
const fn of_family(cell: u32, offset: u32) -> Option<u32> {
    match offset {
        NOWHERE => None,
        _ => Some(cell.wrapping_add(offset)),
    }
}

/// What few groups have: a limit, options of TCP sockets, an index table.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// TCP connections of the service at a time; 0 for any number.
    pub max_connections: u32,
    /// Cell of the index table, relative to that of the header.
    pub index_first: u32,
    /// Indexes in it; 0 for no table.
    pub index_len: u32,
    /// In milliseconds; 0 leaves it to the system. So do zeros of what follows.
    pub connect_timeout: u32,
    /// Whether connections are kept alive.
    pub keepalive: u32,
    /// In seconds.
    pub keepalive_time: u32,
    pub keepalive_interval: u32,
    pub keepalive_probes: u32,
}

/// Indexes in one cell of an index table.
pub const INDEXES: u32 = 16;

/// A run of slots that are an alias table. Slots are in the order of their address and port, as they
/// stand there.
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
    /// 0 where a connect that draws it fails: in the place of clusters that have no endpoint, whose address is 0 too, and of
    /// endpoints that policies deny.
    port: Port,
    /// Share among those of the table, of which the largest is at most 65535.
    weight: u16,
    /// Index in COUNTERS, after those of all services, stable for (service, address, port).
    endpoint: u32,
    threshold: u32,
    /// In the low 24 bits the alias, a slot of the same table; above them the pool, 0 for none.
    alias: u32,
}

/// Slots that an alias can name.
pub const MAX_SLOTS: u32 = 1 << 24;

/// The parts of a [`Slot`] that depend on the others of its table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub threshold: u32,
    /// Less than [`MAX_SLOTS`].
    pub alias: u32,
    pub weight: u16,
    pub pool: u8,
}

impl Slot {
    #[must_use]
    pub const fn new(address: Address, port: Port, endpoint: u32, column: &Column) -> Self {
        Self {
            address,
            port,
            weight: column.weight,
            endpoint,
            threshold: column.threshold,
            alias: (column.alias % MAX_SLOTS) | ((column.pool as u32) << 24),
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
        self.alias % MAX_SLOTS
    }

    /// Endpoints of one pool may take connects of each other; 0 is none's.
    pub const fn pool(&self) -> u32 {
        self.alias / MAX_SLOTS
    }

    pub const fn weight(&self) -> u16 {
        self.weight
    }

    /// Whether a connect can be sent there.
    pub fn is_served(&self) -> bool {
        self.port != Port::new(0)
    }

    /// Whether there is an endpoint, but one that policies deny.
    pub fn is_denied(&self) -> bool {
        !self.is_served() && self.address != Address::default()
    }
}

/// One element of ARENA: a [`GroupHeader`], a [`Slot`], an [`Extra`] or [`INDEXES`] indexes of slots. Headers are at even
/// cells, so that each shares a cache line with its first slot.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cell([u64; 4]);

#[expect(
    unsafe_code,
    reason = "cells are plain words that stand for one of a few plain structures"
)]
mod cells {
    use super::{Cell, Extra, GroupHeader, INDEXES, Slot};

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

    impl From<Extra> for Cell {
        fn from(extra: Extra) -> Self {
            // SAFETY: both are 32 bytes of plain data without padding, and every bit pattern is a valid `Cell`.
            unsafe { core::mem::transmute(extra) }
        }
    }

    impl From<[u16; INDEXES as usize]> for Cell {
        fn from(indexes: [u16; INDEXES as usize]) -> Self {
            // SAFETY: both are 32 bytes of plain data without padding, and every bit pattern is a valid `Cell`.
            unsafe { core::mem::transmute(indexes) }
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

        pub const fn as_extra(&self) -> &Extra {
            // SAFETY: same size and alignment, and every bit pattern is a valid `Extra`.
            unsafe { &*core::ptr::from_ref(self).cast() }
        }

        pub const fn as_indexes(&self) -> &[u16; INDEXES as usize] {
            // SAFETY: same size and a lower alignment, and every bit pattern is valid.
            unsafe { &*core::ptr::from_ref(self).cast() }
        }
    }
}
