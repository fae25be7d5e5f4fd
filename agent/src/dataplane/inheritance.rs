//! What another agent has left in the tables, read off them alone, and whether one can go on from there.
//!
//! Whatever a killed agent was about to do is found half done: groups that nothing leads to, frontends that nothing reaches.
//! Such is no damage. Damage is what no agent leaves at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use agent_common::Tables;
use agent_common::abi::{
    FrontendKey, FrontendWord, Identified, IdentifiedService, NO_GROUP, UNCOUNTED,
};
use ipnet::IpNet;

use crate::compile::{Destination, Frontend};
use crate::dataplane::Limits;

use super::address;
use super::group::Extent;
use super::names::EndpointKey;
use super::space::Space;
use super::store::{Inventory, PrefixKey, Store};

/// Why nobody can go on from what the tables hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    /// Whoever tries again may.
    #[error("the tables cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("an element of FRONTENDS is not its key's")]
    Word,
    #[error("no group that is whole and alone is at cell {0}, where a frontend leads")]
    Group(u32),
    #[error("the CIDR of {0} bits is none")]
    Prefix(u8),
}

#[derive(Debug)]
pub(super) struct Inheritance {
    /// By first cell: those that a frontend leads to, and the newest of each service.
    pub groups: BTreeMap<u32, Extent>,
    pub frontends: BTreeMap<Frontend, u32>,
    /// Keys of FRONTENDS below ids that are no CIDR's: nothing reaches them.
    pub orphans: Vec<FrontendKey>,
    pub prefixes: BTreeMap<IpNet, u32>,
    pub exempt: BTreeMap<IpNet, u32>,
    pub services: BTreeMap<u32, IdentifiedService>,
    pub endpoints: BTreeMap<u32, EndpointKey>,
    /// What the groups leave.
    pub space: Space,
}

impl Inheritance {
    /// What is in the tables, and what there was beside it.
    pub(super) fn read(store: &impl Store, limits: &Limits) -> Result<(Self, Inventory), Damage> {
        let inventory = store.inventory()?;
        let mut inheritance = Self::of_ids(&inventory, limits);
        inheritance.prefixes = networks(&inventory.prefixes)?;
        inheritance.exempt = networks(&inventory.exempt)?;
        inheritance.read_frontends(&inventory.frontends)?;
        inheritance.read_groups(store)?;
        Ok((inheritance, inventory))
    }

    /// No more than who is counted under which number.
    pub(super) fn of_ids(inventory: &Inventory, limits: &Limits) -> Self {
        let mut inheritance = Self {
            groups: BTreeMap::new(),
            frontends: BTreeMap::new(),
            orphans: Vec::new(),
            prefixes: BTreeMap::new(),
            exempt: BTreeMap::new(),
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            space: Space::new(limits.cells),
        };
        inheritance.identify(inventory);
        inheritance
    }

    fn identify(&mut self, inventory: &Inventory) {
        for (id, identity) in &inventory.identities {
            match identity.get() {
                Some(Identified::Service(service)) => {
                    self.services.insert(*id, service);
                }
                Some(Identified::Endpoint {
                    service,
                    address,
                    port,
                }) => {
                    self.endpoints.insert(*id, (service, address, port));
                }
                None => {}
            }
        }
    }

    fn read_frontends(&mut self, found: &[(FrontendKey, FrontendWord)]) -> Result<(), Damage> {
        let nets = self.prefixes.iter().map(|(&net, &id)| (id, net));
        let nets: BTreeMap<u32, IpNet> = nets.collect();
        for (key, word) in found {
            if !word.is_for(key) {
                return Err(Damage::Word);
            }
            match frontend(key, |id| nets.get(&id).copied()) {
                Some(frontend) => {
                    self.frontends.insert(frontend, word.group());
                }
                None => self.orphans.push(*key),
            }
        }
        Ok(())
    }

    fn read_groups(&mut self, tables: &impl Tables) -> Result<(), Damage> {
        let referenced: BTreeSet<u32> = self.frontends.values().copied().collect();
        for &first in &referenced {
            let extent = self.extent(first, tables).ok_or(Damage::Group(first))?;
            self.groups.insert(first, extent);
        }
        // Of those that nothing leads to, some are whole, and some are what is left of one that was given up.
        let newest: Vec<(u32, u32)> = self
            .services
            .iter()
            .map(|(&id, known)| (id, known.group))
            .filter(|(_, group)| *group != NO_GROUP && !referenced.contains(group))
            .collect();
        for (service, first) in newest {
            if let Some(extent) = self.extent(first, tables)
                && extent.service_id == service
            {
                self.groups.insert(first, extent);
            }
        }
        Ok(())
    }

    /// The group at `first`, whose cells are taken now. `None` where there is none that can be.
    fn extent(&mut self, first: u32, tables: &impl Tables) -> Option<Extent> {
        let extent = Extent::read(first, |cell| tables.cell(cell))?;
        let id = extent.service_id;
        let is_known = id == UNCOUNTED || self.services.contains_key(&id);
        let of_it = |endpoint: &u32| {
            let known = self.endpoints.get(endpoint);
            known.is_some_and(|(service, ..)| *service == id)
        };
        let is_whole = is_known && extent.endpoint_ids.iter().all(of_it);
        (is_whole && self.space.reserve(extent.run)).then_some(extent)
    }
}

fn networks(found: &[(PrefixKey, u32)]) -> Result<BTreeMap<IpNet, u32>, Damage> {
    let nets = found.iter().map(|(key, value)| {
        let net = address::to_net(key.base, key.bits).ok_or(Damage::Prefix(key.bits))?;
        Ok((net, *value))
    });
    nets.collect()
}

/// `None` below an id that is no CIDR's.
pub(super) fn frontend(
    key: &FrontendKey,
    net: impl FnOnce(u32) -> Option<IpNet>,
) -> Option<Frontend> {
    let destination = match key.prefix_id() {
        Some(id) => Destination::Prefix(net(id)?),
        None => Destination::Address(address::to_ip(key.destination())),
    };
    Some(Frontend {
        destination,
        port: key.port().get(),
        transport: key.protocol(),
        scope: key.scope(),
    })
}
