//! A group: what one service publishes, as the cells of ARENA.
//!
//! All frontends of a service share one group. It holds an alias table of all endpoints, for sockets of the IPv6 family,
//! which may be given any (IPv4 ones as v4-mapped). Where the endpoints are of both families, a table of the IPv4 ones
//! follows, for IPv4 sockets, and a header of its own with a table of the IPv6 ones, for sockets that cannot be given the
//! others.

use std::collections::BTreeMap;

use agent_common::abi::{self, Address, Cell, GroupHeader, GroupShape, Port, Slot};

use crate::compile::{Action, Service};

use super::address;
use super::alias::{Column, Table};

/// What of a service the kernel sees. Services of equal content need no update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub action: abi::Action,
    pub port: Option<u16>,
    /// In the order of address and port; those of one address and port are one member.
    pub members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub address: Address,
    pub port: Port,
    /// 0 for one that gets no connects, but keeps its id.
    pub share: u64,
}

impl Content {
    pub(super) fn of(service: &Service) -> Self {
        let (action, port) = match service.action {
            Action::Balance => (abi::Action::Balance, None),
            Action::Original { port } => (abi::Action::Original, port),
            Action::Refuse(_) => (abi::Action::Refuse, None),
        };
        let mut shares: BTreeMap<(Address, Port), u64> = BTreeMap::new();
        for endpoint in &service.endpoints {
            let place = (address::from_ip(endpoint.address), Port::new(endpoint.port));
            let share = shares.entry(place).or_default();
            *share = share.saturating_add(endpoint.share);
        }
        let members = shares
            .into_iter()
            .map(|((address, port), share)| Member {
                address,
                port,
                share,
            })
            .collect();
        Self {
            action,
            port,
            members,
        }
    }
}

/// A group without a place: its tables, but no cell numbers or ids.
#[derive(Clone, Debug)]
pub(super) struct Layout<'a> {
    content: &'a Content,
    any: Table,
    families: Families,
}

/// The endpoints of one family, for those that can be sent to no others.
#[derive(Clone, Debug)]
enum Families {
    /// All endpoints are IPv4: their table is that of all.
    V4,
    /// None is.
    V6,
    Both {
        v4: Table,
        v6: Table,
    },
}

impl<'a> Layout<'a> {
    pub(super) fn new(content: &'a Content) -> Self {
        let table = |wanted: fn(&Member) -> bool| {
            let members = content.members.iter();
            let shares: Vec<u64> = members
                .map(|m| if wanted(m) { m.share } else { 0 })
                .collect();
            Table::new(&shares)
        };
        let v4 = table(|m| m.address.is_v4());
        let v6 = table(|m| !m.address.is_v4());
        let families = match (v4.columns.is_empty(), v6.columns.is_empty()) {
            (true, _) => Families::V6,
            (false, true) => Families::V4,
            (false, false) => Families::Both { v4, v6 },
        };
        Self {
            content,
            any: table(|_| true),
            families,
        }
    }

    /// How many cells the group takes.
    pub(super) fn cells(&self) -> u32 {
        let apart = match &self.families {
            Families::V4 | Families::V6 => 0,
            Families::Both { v4, v6 } => v4.columns.len() + 1 + v6.columns.len(),
        };
        count(1 + self.any.columns.len() + apart)
    }

    /// The group's cells, for a place that starts at cell `first`. `endpoints` are the ids of the members.
    pub(super) fn encode(&self, first: u32, service: u32, endpoints: &[u32]) -> Vec<Cell> {
        let nothing = Table::default();
        let (offset_v4, v4) = match &self.families {
            Families::V4 => (1, &self.any),
            Families::V6 => (1, &nothing),
            Families::Both { v4, .. } => (1 + count(self.any.columns.len()), v4),
        };
        let header = |at, all: &Table, offset_v4, v4: &Table| {
            let shape = GroupShape {
                action: self.content.action,
                slots: count(all.columns.len()),
                total: all.total,
                slots_v4: count(v4.columns.len()),
                total_v4: v4.total,
                offset_v4,
                port: self.content.port,
            };
            Cell::from(GroupHeader::new(at, service, &shape))
        };
        let slots = |table: &Table| -> Vec<Cell> {
            let columns = table.columns.iter();
            columns.map(|column| self.slot(column, endpoints)).collect()
        };
        let mut cells = vec![header(first, &self.any, offset_v4, v4)];
        cells.extend(slots(&self.any));
        if let Families::Both { v4, v6 } = &self.families {
            cells.extend(slots(v4));
            let at = first + count(cells.len());
            cells.push(header(at, v6, 1, &nothing));
            cells.extend(slots(v6));
        }
        cells
    }

    fn slot(&self, column: &Column, endpoints: &[u32]) -> Cell {
        let member = &self.content.members[column.own];
        Cell::from(Slot::new(
            member.address,
            member.port,
            endpoints[column.own],
            column.threshold,
            count(column.alias),
        ))
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a service has fewer than 2^32 endpoints")
}
