//! Tables in memory that refuse changes now and then.

use std::cell::Cell as Mutable;
use std::io;

use agent::dataplane::Limits;
use agent::dataplane::{
    Engine, Inventory, Map, MapFailure, MemoryDataplane, MemoryMap, MemoryTables, Portion,
    PrefixKey, Store,
};
use agent_common::abi::{
    Address, Cell, ClientWord, Config, Counter, Exemption, FrontendKey, FrontendWord, Identity,
    Port,
};
use agent_common::{Connect, Tables};

/// A data plane over faulty tables.
pub type FaultyDataplane = Engine<FaultyTables>;

/// Refuses every n-th change of a keyed table, and every n-th grace period.
#[derive(Debug)]
pub struct FaultyTables {
    pub sound: MemoryTables,
    every: Mutable<u32>,
    changes: Mutable<u32>,
}

/// An empty data plane that refuses nothing yet.
pub fn dataplane(limits: &Limits) -> FaultyDataplane {
    let tables = FaultyTables {
        sound: MemoryDataplane::in_memory(limits).tables().clone(),
        every: Mutable::new(0),
        changes: Mutable::new(0),
    };
    Engine::new(tables, limits)
}

impl FaultyTables {
    /// Every `every`-th change is refused from now on; 0: none.
    pub fn refuse(&self, every: u32) {
        self.every.set(every);
    }

    fn strike(&self) -> io::Result<()> {
        let changes = self.changes.get() + 1;
        self.changes.set(changes);
        match self.every.get() {
            0 => Ok(()),
            every if changes.is_multiple_of(every) => {
                Err(io::Error::from(io::ErrorKind::OutOfMemory))
            }
            _ => Ok(()),
        }
    }
}

impl Tables for FaultyTables {
    fn config(&self) -> Option<&Config> {
        self.sound.config()
    }

    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.sound.frontend(key)
    }

    fn prefix(&self, address: Address) -> Option<u32> {
        self.sound.prefix(address)
    }

    fn exemption(&self, address: Address) -> Option<Exemption> {
        self.sound.exemption(address)
    }

    fn cell(&self, cell: u32) -> Option<&Cell> {
        self.sound.cell(cell)
    }

    fn open(&self, index: u32) -> u32 {
        self.sound.open(index)
    }

    fn name_server(&self, connect: &Connect) -> Option<(Address, Port)> {
        self.sound.name_server(connect)
    }
}

impl Map<FrontendKey, FrontendWord> for FaultyTables {
    fn get(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.sound.frontends.get(key)
    }

    fn portion(&self, from: u32) -> io::Result<Portion<FrontendKey, FrontendWord>> {
        self.sound.frontends.portion(from)
    }

    fn set(&mut self, key: &FrontendKey, value: FrontendWord) -> Result<(), MapFailure> {
        self.strike()?;
        self.sound.frontends.set(key, value)
    }

    fn remove(&mut self, key: &FrontendKey) -> Result<(), MapFailure> {
        self.strike()?;
        self.sound.frontends.remove(key)
    }
}

impl Map<PrefixKey, u32> for FaultyTables {
    fn get(&self, key: &PrefixKey) -> Option<u32> {
        self.sound.prefixes.get(key)
    }

    fn portion(&self, from: u32) -> io::Result<Portion<PrefixKey, u32>> {
        self.sound.prefixes.portion(from)
    }

    fn set(&mut self, key: &PrefixKey, value: u32) -> Result<(), MapFailure> {
        self.strike()?;
        self.sound.prefixes.set(key, value)
    }

    fn remove(&mut self, key: &PrefixKey) -> Result<(), MapFailure> {
        self.strike()?;
        self.sound.prefixes.remove(key)
    }
}

impl Map<u64, ClientWord> for FaultyTables {
    fn get(&self, key: &u64) -> Option<ClientWord> {
        self.sound.scopes.get(key)
    }

    fn portion(&self, from: u32) -> io::Result<Portion<u64, ClientWord>> {
        self.sound.scopes.portion(from)
    }

    fn set(&mut self, key: &u64, value: ClientWord) -> Result<(), MapFailure> {
        self.strike()?;
        self.sound.scopes.set(key, value)
    }

    fn remove(&mut self, key: &u64) -> Result<(), MapFailure> {
        self.strike()?;
        self.sound.scopes.remove(key)
    }
}

impl Store for FaultyTables {
    type Frontends = Self;
    type Prefixes = Self;
    /// No scenario has any.
    type Exempt = MemoryMap<PrefixKey, u32>;
    type Scopes = Self;

    fn frontends(&mut self) -> &mut Self {
        self
    }

    fn prefixes(&mut self) -> &mut Self {
        self
    }

    fn exempt(&mut self) -> &mut Self::Exempt {
        &mut self.sound.exempt
    }

    fn scopes(&mut self) -> &mut Self {
        self
    }

    fn write_cells(&mut self, first: u32, cells: &[Cell]) {
        self.sound.write_cells(first, cells);
    }

    fn set_config(&mut self, config: &Config) {
        self.sound.set_config(config);
    }

    fn wait_for_readers(&mut self) -> io::Result<()> {
        self.strike()
    }

    fn counter(&self, index: u32) -> io::Result<Counter> {
        self.sound.counter(index)
    }

    fn forget(&mut self, index: u32) -> io::Result<()> {
        self.strike()?;
        self.sound.forget(index)
    }

    fn identity(&self, index: u32) -> Identity {
        self.sound.identity(index)
    }

    fn set_identity(&mut self, index: u32, identity: &Identity) {
        self.sound.set_identity(index, identity);
    }

    fn identities(&self, first: u32, count: u32) -> Option<Vec<Identity>> {
        self.sound.identities(first, count)
    }

    fn inventory(&self) -> io::Result<Inventory> {
        self.sound.inventory()
    }
}
