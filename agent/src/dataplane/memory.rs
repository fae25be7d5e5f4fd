//! Tables in memory: the same decisions without a kernel, for tests and for explaining files offline.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use agent_common::abi::{
    Address, Cell, ClientWord, Config, Counter, Exemption, FrontendKey, FrontendWord, Identity,
    Port, Range,
};
use agent_common::{Connect, Tables};

use crate::dataplane::Limits;

use super::address;
use super::engine::Engine;
use super::store::{Inventory, Map, MapFailure, Portion, PrefixKey, Store};

/// A data plane in memory.
pub type MemoryDataplane = Engine<MemoryTables>;

impl MemoryDataplane {
    pub fn in_memory(limits: &Limits) -> Self {
        Self::new(MemoryTables::new(limits), limits)
    }
}

/// A keyed table of limited size.
#[derive(Clone, Debug)]
pub struct MemoryMap<K, V> {
    elements: BTreeMap<K, V>,
    capacity: usize,
}

impl<K: Ord + Copy, V: Copy> MemoryMap<K, V> {
    fn new(capacity: u32) -> Self {
        Self {
            elements: BTreeMap::new(),
            capacity: capacity as usize,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.elements.iter()
    }

    fn all(&self) -> Vec<(K, V)> {
        self.iter().map(|(&key, &value)| (key, value)).collect()
    }
}

impl<K: Ord + Copy, V: Copy> Map<K, V> for MemoryMap<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.elements.get(key).copied()
    }

    fn portion(&self, _from: u32) -> io::Result<Portion<K, V>> {
        Ok(Portion {
            elements: self.all(),
            next: None,
        })
    }

    fn set(&mut self, key: &K, value: V) -> Result<(), MapFailure> {
        if self.elements.len() >= self.capacity && !self.elements.contains_key(key) {
            return Err(MapFailure::Full);
        }
        self.elements.insert(*key, value);
        Ok(())
    }

    fn remove(&mut self, key: &K) -> Result<(), MapFailure> {
        self.elements.remove(key);
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct MemoryTables {
    pub frontends: MemoryMap<FrontendKey, FrontendWord>,
    pub prefixes: MemoryMap<PrefixKey, u32>,
    pub exempt: MemoryMap<PrefixKey, u32>,
    pub scopes: MemoryMap<u64, ClientWord>,
    cells: Vec<Cell>,
    config: Config,
    identities: BTreeMap<u32, Identity>,
    /// What is counted, as a test has it.
    pub counters: BTreeMap<u32, Counter>,
    /// Records that count as open at an endpoint or a service, as a test has it.
    pub open: BTreeMap<u32, u32>,
    /// The listener that answers in the place of each name server, as a test has it.
    pub name_servers: BTreeMap<IpAddr, (Address, Port)>,
}

impl MemoryTables {
    fn new(limits: &Limits) -> Self {
        Self {
            frontends: MemoryMap::new(limits.frontends),
            prefixes: MemoryMap::new(limits.prefixes),
            exempt: MemoryMap::new(limits.exempt),
            scopes: MemoryMap::new(limits.cgroups),
            cells: Vec::new(),
            config: Config::default(),
            identities: BTreeMap::new(),
            counters: BTreeMap::new(),
            open: BTreeMap::new(),
            name_servers: BTreeMap::new(),
        }
    }

    /// Who a process is, as the kernel programs tell: `cgroups` are its own and those around it, by their depth.
    pub fn client(&self, cgroups: &[u64]) -> ClientWord {
        let levels = self.config.levels.into_iter().filter(|&level| level != 0);
        let around = levels.filter_map(|level| cgroups.get(usize::from(level)));
        let mut looked_up = cgroups.last().into_iter().chain(around);
        let known = looked_up.find_map(|cgroup| self.scopes.get(cgroup));
        match known {
            Some(client) if self.config.levels[0] != 0 => client,
            _ => self.config.client,
        }
    }
}

/// The value of the longest CIDR that holds the address.
fn longest(map: &MemoryMap<PrefixKey, u32>, address: Address) -> Option<u32> {
    map.iter()
        .filter(|(key, _)| key.bits == 0 || Range::new(key.base, key.bits).contains(address))
        .max_by_key(|(key, _)| key.bits)
        .map(|(_, &value)| value)
}

impl Tables for MemoryTables {
    fn config(&self) -> Option<&Config> {
        Some(&self.config)
    }

    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.frontends.get(key)
    }

    fn prefix(&self, address: Address) -> Option<u32> {
        longest(&self.prefixes, address)
    }

    fn exemption(&self, address: Address) -> Option<Exemption> {
        Exemption::from_value(longest(&self.exempt, address)?)
    }

    fn cell(&self, cell: u32) -> Option<&Cell> {
        self.cells.get(cell as usize)
    }

    fn open(&self, index: u32) -> u32 {
        self.open.get(&index).copied().unwrap_or_default()
    }

    fn name_server(&self, connect: &Connect) -> Option<(Address, Port)> {
        let asked = address::to_ip(connect.address);
        self.name_servers.get(&asked).copied()
    }
}

impl Store for MemoryTables {
    type Frontends = MemoryMap<FrontendKey, FrontendWord>;
    type Prefixes = MemoryMap<PrefixKey, u32>;
    type Exempt = MemoryMap<PrefixKey, u32>;
    type Scopes = MemoryMap<u64, ClientWord>;

    fn frontends(&mut self) -> &mut Self::Frontends {
        &mut self.frontends
    }

    fn prefixes(&mut self) -> &mut Self::Prefixes {
        &mut self.prefixes
    }

    fn exempt(&mut self) -> &mut Self::Exempt {
        &mut self.exempt
    }

    fn scopes(&mut self) -> &mut Self::Scopes {
        &mut self.scopes
    }

    fn write_cells(&mut self, first: u32, cells: &[Cell]) {
        let first = first as usize;
        let end = first + cells.len();
        if self.cells.len() < end {
            self.cells.resize(end, Cell::default());
        }
        self.cells[first..end].copy_from_slice(cells);
    }

    fn set_config(&mut self, config: &Config) {
        self.config = *config;
    }

    fn wait_for_readers(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn counter(&self, index: u32) -> io::Result<Counter> {
        Ok(self.counters.get(&index).copied().unwrap_or_default())
    }

    fn forget(&mut self, index: u32) -> io::Result<()> {
        self.counters.remove(&index);
        self.identities.remove(&index);
        Ok(())
    }

    fn identity(&self, index: u32) -> Identity {
        self.identities.get(&index).copied().unwrap_or_default()
    }

    fn set_identity(&mut self, index: u32, identity: &Identity) {
        if *identity == Identity::default() {
            self.identities.remove(&index);
        } else {
            self.identities.insert(index, *identity);
        }
    }

    fn identities(&self, first: u32, count: u32) -> Option<Vec<Identity>> {
        let ids = first..first + count;
        Some(ids.map(|id| self.identity(id)).collect())
    }

    fn inventory(&self) -> io::Result<Inventory> {
        Ok(Inventory {
            frontends: self.frontends.all(),
            prefixes: self.prefixes.all(),
            exempt: self.exempt.all(),
            scopes: self.scopes.all(),
            identities: self.identities.clone().into_iter().collect(),
        })
    }
}
