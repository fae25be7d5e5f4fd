//! A group: what one service publishes, as the cells of ARENA.
//!
//! All frontends of a service share one group. It holds two alias tables, one for sockets of the IPv6 family, which may be
//! given any endpoint (IPv4 ones as v4-mapped), and one for IPv4 sockets; they are the same cells unless the endpoints are
//! of both families.

use std::collections::BTreeMap;

use agent_common::abi::{self, Address, Cell, GroupHeader, GroupShape, Port, Slot};

use crate::compile::{Action, Service};

use super::address;
use super::alias::Table;

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
    /// `None` where IPv4 sockets use `any`.
    v4: Option<Table>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(content: &'a Content) -> Self {
        let shares = |wanted: fn(&Member) -> bool| -> Vec<u64> {
            let members = content.members.iter();
            members
                .map(|m| if wanted(m) { m.share } else { 0 })
                .collect()
        };
        let is_mixed = content
            .members
            .iter()
            .any(|m| m.share > 0 && !m.address.is_v4());
        Self {
            content,
            any: Table::new(&shares(|_| true)),
            v4: is_mixed.then(|| Table::new(&shares(|m| m.address.is_v4()))),
        }
    }

    /// How many cells the group takes.
    pub(super) fn cells(&self) -> u32 {
        count(1 + self.any.columns.len() + self.v4.as_ref().map_or(0, |t| t.columns.len()))
    }

    /// The group's cells, for a place that starts at cell `first`. `endpoints` are the ids of the members.
    pub(super) fn encode(&self, first: u32, service: u32, endpoints: &[u32]) -> Vec<Cell> {
        let any_slots = count(self.any.columns.len());
        let (offset_v4, v4) = match &self.v4 {
            Some(table) => (1 + any_slots, table),
            None => (1, &self.any),
        };
        let shape = GroupShape {
            action: self.content.action,
            slots: any_slots,
            total: self.any.total,
            slots_v4: count(v4.columns.len()),
            total_v4: v4.total,
            offset_v4,
            port: self.content.port,
        };
        let mut cells = vec![Cell::from(GroupHeader::new(first, service, &shape))];
        for column in [Some(&self.any), self.v4.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(|table| &table.columns)
        {
            let member = &self.content.members[column.own];
            cells.push(Cell::from(Slot::new(
                member.address,
                member.port,
                endpoints[column.own],
                column.threshold,
                count(column.alias),
            )));
        }
        cells
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a service has fewer than 2^32 endpoints")
}
