//! What the engine asks of the tables that it fills, be they the kernel's or memory.

use std::io;

use agent_common::Tables;
use agent_common::abi::{
    Address, Cell, ClientWord, Config, Counter, FrontendKey, FrontendWord, Identity,
};

/// Key of PREFIXES and EXEMPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrefixKey {
    pub base: Address,
    /// Counted in the v4-mapped form.
    pub bits: u8,
}

/// Why one element could not be changed. It stays pending.
#[derive(Debug, thiserror::Error)]
pub enum MapFailure {
    #[error("the table is full")]
    Full,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is in the tables, in no order.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub frontends: Vec<(FrontendKey, FrontendWord)>,
    pub prefixes: Vec<(PrefixKey, u32)>,
    pub exempt: Vec<(PrefixKey, u32)>,
    pub scopes: Vec<(u64, ClientWord)>,
    /// By index, of those that are somebody's.
    pub identities: Vec<(u32, Identity)>,
}

/// Some of the elements of a table.
#[derive(Clone, Debug)]
pub struct Portion<K, V> {
    /// In no order.
    pub elements: Vec<(K, V)>,
    /// Where the next portion begins; `None` after the last.
    pub next: Option<u32>,
}

/// A keyed table.
pub trait Map<K, V> {
    fn get(&self, key: &K) -> Option<V>;
    /// The elements from `from` on, where the first portion begins at 0. What stays in the table meanwhile is in one of them.
    fn portion(&self, from: u32) -> io::Result<Portion<K, V>>;
    /// Adds or replaces whole: a reader sees the old value or the new one.
    fn set(&mut self, key: &K, value: V) -> Result<(), MapFailure>;
    /// Removing what is not there succeeds.
    fn remove(&mut self, key: &K) -> Result<(), MapFailure>;
}

/// All elements of a table.
pub(super) fn all<K, V>(map: &impl Map<K, V>) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    let mut from = Some(0);
    while let Some(place) = from {
        let Portion { elements, next } = map.portion(place)?;
        all.extend(elements);
        from = next;
    }
    Ok(all)
}

/// All tables of one data plane.
pub trait Store: Tables {
    type Frontends: Map<FrontendKey, FrontendWord>;
    type Prefixes: Map<PrefixKey, u32>;
    type Exempt: Map<PrefixKey, u32>;
    type Scopes: Map<u64, ClientWord>;

    fn frontends(&mut self) -> &mut Self::Frontends;
    fn prefixes(&mut self) -> &mut Self::Prefixes;
    /// Values are those of [`agent_common::abi::Exemption::value`].
    fn exempt(&mut self) -> &mut Self::Exempt;
    fn scopes(&mut self) -> &mut Self::Scopes;
    /// Writes cells that no reader can reach yet. They must lie within the arena.
    fn write_cells(&mut self, first: u32, cells: &[Cell]);
    fn set_config(&mut self, config: &Config);
    /// Returns when every decision that was under way has ended.
    fn wait_for_readers(&mut self) -> io::Result<()>;
    /// An element of COUNTERS, summed over the CPUs.
    fn counter(&self, index: u32) -> io::Result<Counter>;
    /// Forgets what was counted under an id of COUNTERS and ENDPOINTS that nobody has, and who had it, for its next owner. What
    /// fails changes nothing.
    fn forget(&mut self, index: u32) -> io::Result<()>;
    /// Who has an id of COUNTERS.
    fn identity(&self, index: u32) -> Identity;
    fn set_identity(&mut self, index: u32, identity: &Identity);
    /// Who has so many ids from `first` on; `None` where nobody keeps that.
    fn identities(&self, first: u32, count: u32) -> Option<Vec<Identity>>;
    /// All that the keyed tables and IDENTITIES hold.
    fn inventory(&self) -> io::Result<Inventory>;
}
