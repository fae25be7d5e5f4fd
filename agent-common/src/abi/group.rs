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
