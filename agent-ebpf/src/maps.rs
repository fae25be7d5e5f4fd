//! The maps, and how a decision reads them.
//!
//! The sizes here are placeholders: the agent sets each at load, from its limits.

use agent_common::Tables;
use agent_common::abi::{
    Address, Cell, Config, Counter, Flow, FrontendKey, FrontendWord, GroupHeader, Slot, TOTALS,
    Total,
};
use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG};
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray};
use aya_ebpf::macros::btf_map;
use aya_ebpf::maps::lpm_trie::Key;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;
/// Programs only read these: the verifier holds them to it. The kernel refuses it together with a writable mapping.
const READ_ONLY: usize = BPF_F_RDONLY_PROG as usize;

#[btf_map]
static FRONTENDS: HashMap<FrontendKey, FrontendWord, 1, { NO_PREALLOC | READ_ONLY }> =
    HashMap::new();

#[btf_map]
static PREFIXES: LpmTrie<[u32; 4], u32, 1, { NO_PREALLOC | READ_ONLY }> = LpmTrie::new();

#[btf_map]
static ARENA: Array<Cell, 1, MMAPABLE> = Array::new();

#[btf_map]
static FLOWS: Array<Flow, 1, MMAPABLE> = Array::new();

#[btf_map]
static COUNTERS: PerCpuArray<Counter, 1> = PerCpuArray::new();

#[btf_map(name = "TOTALS")]
static TOTALS_MAP: PerCpuArray<u64, { TOTALS as usize }> = PerCpuArray::new();

#[btf_map]
static CONFIG: Array<Config, 1, MMAPABLE> = Array::new();

/// Lines of FLOWS less one. A constant to the verifier, once the agent has set it.
#[unsafe(no_mangle)]
static FLOW_MASK: Global<u32> = Global::new(0);

/// Whether a denied connect can be given an errno of its own (Linux 6.1); the verifier drops the call where not.
#[unsafe(no_mangle)]
static CAN_SET_ERRNO: Global<u8> = Global::new(0);

/// The line of FLOWS that is tried for the socket `cookie` at the given probe.
#[inline(always)]
pub fn flow(cookie: u64, probe: u32) -> Option<*mut Flow> {
    FLOWS.get_ptr_mut((cookie as u32).wrapping_add(probe) & FLOW_MASK.load())
}

#[inline(always)]
pub fn can_set_errno() -> bool {
    CAN_SET_ERRNO.load() != 0
}

/// Counts a connect that was sent on. `index` is that of an endpoint, or of a service that keeps addresses.
#[inline(always)]
pub fn count_connect(index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: this CPU's own element.
        unsafe { (*counter).connects += 1 };
    }
}

#[inline(always)]
pub fn count_denied(service: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(service) {
        // SAFETY: this CPU's own element.
        unsafe { (*counter).denied += 1 };
    }
}

#[inline(always)]
pub fn count_total(total: Total) {
    if let Some(counter) = TOTALS_MAP.get_ptr_mut(total as u32) {
        // SAFETY: this CPU's own element.
        unsafe { *counter += 1 };
    }
}

/// The live maps, as a decision reads them.
pub struct Live;

impl Tables for Live {
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0)
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        let word = FRONTENDS.get_ptr(key)?;
        // SAFETY: the element stays mapped while a program runs, and an aligned word is read whole. It may by now be
        // another key's: `FrontendWord::is_for` tells.
        Some(unsafe { word.read_volatile() })
    }

    #[inline(always)]
    fn prefix(&self, address: Address) -> Option<u32> {
        PREFIXES.get(&Key::new(128, address.words())).copied()
    }

    #[inline(always)]
    fn header(&self, cell: u32) -> Option<&GroupHeader> {
        ARENA.get(cell).map(Cell::as_header)
    }

    #[inline(always)]
    fn slot(&self, cell: u32) -> Option<&Slot> {
        ARENA.get(cell).map(Cell::as_slot)
    }
}
