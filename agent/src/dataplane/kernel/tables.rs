//! The kernel's maps as a [`Store`].
#![expect(
    unsafe_code,
    reason = "aya must be told which structures are plain data"
)]

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use agent_common::abi::{
    Address, Cell, ClientWord, Config, Counter, EndpointState, Exemption, Flow, FrontendKey,
    FrontendWord, Identity, NameServer, PairKey, PairValue, Port, Total, at_least_none,
};
use agent_common::{Connect, Tables};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{
    HashMap, IterableMap as _, Map as AyaMap, MapData, MapError, PerCpuArray, PerCpuValues,
};
use aya::{Ebpf, Pod};
use rustix::thread::{MembarrierCommand, membarrier};

use crate::dataplane::Limits;
use crate::dataplane::bpf;
use crate::dataplane::store::{self, Inventory, Map, MapFailure, Portion, PrefixKey, Store};

use super::capture::Names;
use super::earlier::{EARLIER_FLOWS, Earlier};
use super::error::LoadError;
use super::map_set::{FLOWS, IDENTITIES, MapSet};
use super::mapping::Mapping;

/// A structure of the ABI as aya wants it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: `repr(C)` without padding, and every bit pattern is valid; the same for all below.
unsafe impl Pod for Plain<FrontendKey> {}
// SAFETY: see above.
unsafe impl Pod for Plain<FrontendWord> {}
// SAFETY: see above.
unsafe impl Pod for Plain<Counter> {}
// SAFETY: see above.
unsafe impl Pod for Plain<NameServer> {}
// SAFETY: see above.
unsafe impl Pod for Plain<ClientWord> {}
// SAFETY: see above.
unsafe impl Pod for Plain<u64> {}
// SAFETY: see above.
unsafe impl Pod for Plain<PairKey> {}
// SAFETY: see above.
unsafe impl Pod for Plain<PairValue> {}

/// FRONTENDS, or SCOPES.
pub struct Hash<K, V>(HashMap<MapData, Plain<K>, Plain<V>>);

/// PREFIXES, or EXEMPT.
pub struct Prefixes(LpmTrie<MapData, [u8; 16], u32>);

/// Elements that are read at once, at most.
const PORTION: usize = 4_096;

/// Every map.
pub struct KernelTables {
    frontends: Hash<FrontendKey, FrontendWord>,
    prefixes: Prefixes,
    exempt: Prefixes,
    scopes: Hash<u64, ClientWord>,
    counters: PerCpuArray<MapData, Plain<Counter>>,
    /// Where maps are pinned. Mapped, so that whose an id is can always be written.
    identities: Option<Mapping<Identity>>,
    totals: PerCpuArray<MapData, u64>,
    arena: Mapping<Cell>,
    endpoints: Mapping<EndpointState>,
    flows: Mapping<Flow>,
    /// Of an agent that had another number of them.
    earlier_flows: Option<Mapping<Flow>>,
    config: Mapping<Config>,
    pub(super) names: Names,
    cpus: usize,
}

impl KernelTables {
    /// Takes the maps out of what was loaded.
    pub(super) fn take(
        ebpf: &mut Ebpf,
        limits: &Limits,
        maps: Option<&MapSet>,
    ) -> Result<Self, LoadError> {
        let identities = maps.map(|maps| {
            let data = maps.identities(limits)?;
            mapping(&data, IDENTITIES, limits.counters())
        });
        let earlier = Earlier::of(maps).map_err(LoadError::unreadable)?;
        let earlier_flows = earlier.flows.map(|lines| map(ebpf, EARLIER_FLOWS, lines));
        Ok(Self {
            frontends: Hash(HashMap::try_from(take(ebpf, "FRONTENDS")?)?),
            prefixes: Prefixes(LpmTrie::try_from(take(ebpf, "PREFIXES")?)?),
            exempt: Prefixes(LpmTrie::try_from(take(ebpf, "EXEMPT")?)?),
            scopes: Hash(HashMap::try_from(take(ebpf, "SCOPES")?)?),
            counters: PerCpuArray::try_from(take(ebpf, "COUNTERS")?)?,
            identities: identities.transpose()?,
            totals: PerCpuArray::try_from(take(ebpf, "TOTALS")?)?,
            arena: map(ebpf, "ARENA", limits.cells)?,
            endpoints: map(ebpf, "ENDPOINTS", limits.counters())?,
            flows: map(ebpf, FLOWS, limits.flows)?,
            earlier_flows: earlier_flows.transpose()?,
            config: map(ebpf, "CONFIG", 1)?,
            names: Names::take(ebpf)?,
            cpus: aya::util::nr_cpus().map_err(|(_, error)| LoadError::Cpus(error))?,
        })
    }

    /// The records in lines, earlier ones too: of the sockets that are redirected now, but for those whose record is stored at them.
    pub fn flows(&self) -> impl Iterator<Item = Flow> {
        let arrays = [&self.flows].into_iter().chain(&self.earlier_flows);
        arrays.flat_map(|lines| used(lines, 0..lines.len()))
    }

    /// How many lines FLOWS has.
    pub(super) fn lines(&self) -> u32 {
        self.flows.len()
    }

    /// How many of these lines of FLOWS, as far as there are any, are not free.
    pub(super) fn lines_in_use(&self, lines: Range<u32>) -> usize {
        used(&self.flows, lines).count()
    }

    /// Those that are somebody's.
    fn all_identities(&self) -> Vec<(u32, Identity)> {
        let identities = self.identities.iter();
        let all =
            identities.flat_map(|all| (0..all.len()).filter_map(|id| Some((id, all.copy(id)?))));
        all.filter(|(_, identity)| identity.get().is_some())
            .collect()
    }

    /// What is known of an endpoint that has this id.
    pub(super) fn endpoint(&self, id: u32) -> Option<EndpointState> {
        self.endpoints.copy(id).map(|state| EndpointState {
            open: at_least_none(state.open),
            ..state
        })
    }

    /// Has an id go on from what has been counted, before any program counts there.
    pub(super) fn go_on_counting(
        &mut self,
        id: u32,
        state: &EndpointState,
        counters: PerCpuValues<Plain<Counter>>,
    ) -> Result<(), MapError> {
        self.endpoints.write(id, &[*state]);
        self.counters.set(id, counters, 0)
    }

    /// See [`Mapping::change_open`].
    pub(super) fn change_open(&self, id: u32, difference: u32) {
        self.endpoints.change_open(id, difference);
    }

    /// An element of TOTALS, summed over the CPUs.
    pub fn total(&self, total: Total) -> u64 {
        self.totals
            .get(&(total as u32), 0)
            .map_or(0, |values| values.iter().sum())
    }
}

fn used(lines: &Mapping<Flow>, some: Range<u32>) -> impl Iterator<Item = Flow> {
    let some = some.filter_map(|line| lines.copy(line));
    some.filter(|flow| flow.cookie != 0)
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<AyaMap, LoadError> {
    ebpf.take_map(name).ok_or(LoadError::Incomplete { name })
}

pub(super) fn map<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    elements: u32,
) -> Result<Mapping<T>, LoadError> {
    let AyaMap::Array(data) = take(ebpf, name)? else {
        return Err(LoadError::Incomplete { name });
    };
    mapping(&data, name, elements)
}

fn mapping<T>(data: &MapData, name: &'static str, elements: u32) -> Result<Mapping<T>, LoadError> {
    Mapping::new(data.fd(), elements).map_err(|error| LoadError::Mapping { name, error })
}

impl<K: Copy, V: Copy> Map<K, V> for Hash<K, V>
where
    Plain<K>: Pod,
    Plain<V>: Pod,
{
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(&Plain(*key), 0).ok().map(|value| value.0)
    }

    /// In few system calls, and not two for each element.
    fn portion(&self, from: u32) -> io::Result<Portion<K, V>> {
        let map = self.0.map().fd().as_fd();
        // SAFETY: that the map's keys and values are of these sizes was checked when `self.0` was made, and they are plain data.
        let (elements, next) = unsafe { bpf::batch::<Plain<K>, Plain<V>>(map, from, PORTION) }?;
        let elements = elements.into_iter().map(|(key, value)| (key.0, value.0));
        Ok(Portion {
            elements: elements.collect(),
            next,
        })
    }

    fn set(&mut self, key: &K, value: V) -> Result<(), MapFailure> {
        self.0.insert(Plain(*key), Plain(value), 0).map_err(failure)
    }

    fn remove(&mut self, key: &K) -> Result<(), MapFailure> {
        removed(self.0.remove(&Plain(*key)))
    }
}

impl Prefixes {
    fn all(&self) -> Result<Vec<(PrefixKey, u32)>, MapError> {
        let elements = self.0.iter();
        elements
            .map(|element| {
                let (key, value) = element?;
                let base = Address::from_octets(key.data());
                let bits = u8::try_from(key.prefix_len()).unwrap_or(u8::MAX);
                Ok((PrefixKey { base, bits }, value))
            })
            .collect()
    }

    /// The value of the longest CIDR that holds the address.
    fn longest(&self, address: Address) -> Option<u32> {
        self.get(&PrefixKey {
            base: address,
            bits: 128,
        })
    }
}

impl Map<PrefixKey, u32> for Prefixes {
    fn get(&self, key: &PrefixKey) -> Option<u32> {
        self.0.get(&lpm_key(key), 0).ok()
    }

    /// All at once: a trie is read by its keys, one after the other, on some kernels.
    fn portion(&self, _from: u32) -> io::Result<Portion<PrefixKey, u32>> {
        Ok(Portion {
            elements: self.all().map_err(io::Error::other)?,
            next: None,
        })
    }

    fn set(&mut self, key: &PrefixKey, value: u32) -> Result<(), MapFailure> {
        self.0.insert(&lpm_key(key), value, 0).map_err(failure)
    }

    fn remove(&mut self, key: &PrefixKey) -> Result<(), MapFailure> {
        removed(self.0.remove(&lpm_key(key)))
    }
}

fn lpm_key(key: &PrefixKey) -> Key<[u8; 16]> {
    Key::new(u32::from(key.bits), key.base.octets())
}

fn failure(error: MapError) -> MapFailure {
    match error {
        // A hash is full with E2BIG, a trie with ENOSPC.
        MapError::SyscallError(failed)
            if matches!(
                failed.io_error.raw_os_error(),
                Some(libc::E2BIG | libc::ENOSPC)
            ) =>
        {
            MapFailure::Full
        }
        MapError::SyscallError(failed) => MapFailure::Io(failed.io_error),
        other => MapFailure::Io(io::Error::other(other)),
    }
}

fn removed(result: Result<(), MapError>) -> Result<(), MapFailure> {
    match result.map_err(failure) {
        Err(MapFailure::Io(error)) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

impl Tables for KernelTables {
    fn config(&self) -> Option<&Config> {
        self.config.get(0)
    }

    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.frontends.get(key)
    }

    fn prefix(&self, address: Address) -> Option<u32> {
        self.prefixes.longest(address)
    }

    fn exemption(&self, address: Address) -> Option<Exemption> {
        Exemption::from_value(self.exempt.longest(address)?)
    }

    fn cell(&self, cell: u32) -> Option<&Cell> {
        self.arena.get(cell)
    }

    fn open(&self, index: u32) -> u32 {
        self.endpoint(index).map_or(0, |state| state.open)
    }

    fn name_server(&self, connect: &Connect) -> Option<(Address, Port)> {
        self.names.listener(connect)
    }
}

impl Store for KernelTables {
    type Frontends = Hash<FrontendKey, FrontendWord>;
    type Prefixes = Prefixes;
    type Exempt = Prefixes;
    type Scopes = Hash<u64, ClientWord>;

    fn frontends(&mut self) -> &mut Self::Frontends {
        &mut self.frontends
    }

    fn prefixes(&mut self) -> &mut Prefixes {
        &mut self.prefixes
    }

    fn exempt(&mut self) -> &mut Prefixes {
        &mut self.exempt
    }

    fn scopes(&mut self) -> &mut Self::Scopes {
        &mut self.scopes
    }

    fn write_cells(&mut self, first: u32, cells: &[Cell]) {
        self.arena.write(first, cells);
    }

    fn set_config(&mut self, config: &Config) {
        self.config.write(0, &[*config]);
    }

    /// `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu` (kernel/sched/membarrier.c), and programs run as RCU readers.
    fn wait_for_readers(&mut self) -> io::Result<()> {
        Ok(membarrier(MembarrierCommand::Global)?)
    }

    fn counter(&self, index: u32) -> io::Result<Counter> {
        let mut sum = Counter::default();
        let values = self.counters.get(&index, 0).map_err(io::Error::other)?;
        for value in values.iter() {
            sum.connects += value.0.connects;
            sum.denied += value.0.denied;
        }
        Ok(sum)
    }

    fn forget(&mut self, index: u32) -> io::Result<()> {
        let zeros = PerCpuValues::try_from(vec![Plain(Counter::default()); self.cpus])?;
        let reset = self.counters.set(index, zeros, 0);
        reset.map_err(io::Error::other)?;
        // No group and no record has the id, so that no program writes this.
        self.endpoints.write(index, &[EndpointState::default()]);
        // Last: while it says whose they were, the next agent finds counts that are left.
        self.set_identity(index, &Identity::default());
        Ok(())
    }

    fn identity(&self, index: u32) -> Identity {
        let identities = self.identities.as_ref();
        identities
            .and_then(|identities| identities.copy(index))
            .unwrap_or_default()
    }

    fn set_identity(&mut self, index: u32, identity: &Identity) {
        if let Some(identities) = &mut self.identities {
            identities.write(index, &[*identity]);
        }
    }

    fn identities(&self, first: u32, count: u32) -> Option<Vec<Identity>> {
        let identities = self.identities.as_ref()?;
        let some = (first..first + count).filter_map(|id| identities.copy(id));
        Some(some.collect())
    }

    fn inventory(&self) -> io::Result<Inventory> {
        Ok(Inventory {
            frontends: store::all(&self.frontends)?,
            prefixes: store::all(&self.prefixes)?,
            exempt: store::all(&self.exempt)?,
            scopes: store::all(&self.scopes)?,
            identities: self.all_identities(),
        })
    }
}
