//! The maps, and how a decision reads them.
//!
//! The sizes here are placeholders: the agent sets each at load, from its limits.

use core::ffi::c_void;
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::ptr::NonNull;

use agent_common::abi::{
    Address, Capture, Cell, Config, Counter, EndpointState, Exemption, Flow, FrontendKey,
    FrontendWord, LISTENERS, NameServer, Owner, PairKey, PairValue, Port, TOTALS, Total,
    at_least_none,
};
use agent_common::{Connect, Tables};
use aya_ebpf::Global;
use aya_ebpf::bindings::{
    BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG, BPF_SK_STORAGE_GET_F_CREATE,
};
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use aya_ebpf::maps::lpm_trie::Key;

use crate::names;
use crate::sockaddr::SockAddr;

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
static EXEMPT: LpmTrie<[u32; 4], u32, 1, { NO_PREALLOC | READ_ONLY }> = LpmTrie::new();

#[btf_map]
static ARENA: Array<Cell, 1, MMAPABLE> = Array::new();

#[btf_map]
static FLOWS: Array<Flow, 1, MMAPABLE> = Array::new();

/// The FLOWS of an agent that had another number of lines, while sockets have some of these. No lines are claimed here.
#[btf_map]
static EARLIER_FLOWS: Array<Flow, 1, MMAPABLE> = Array::new();

/// Whose the lines of FLOWS are.
#[btf_map]
static OWNERS: Array<Owner, 1> = Array::new();

/// Flows of sockets that have no line.
#[btf_map]
static STORED: SkStorage<Flow> = SkStorage::new();

#[btf_map]
pub static REPLIES: LruHashMap<PairKey, PairValue, 1> = LruHashMap::new();

/// The REPLIES of an agent that had another number of them. Nothing is remembered here any more.
#[btf_map]
pub static EARLIER_REPLIES: LruHashMap<PairKey, PairValue, 1> = LruHashMap::new();

#[btf_map]
static ENDPOINTS: Array<EndpointState, 1, MMAPABLE> = Array::new();

#[btf_map]
static COUNTERS: PerCpuArray<Counter, 1> = PerCpuArray::new();

#[btf_map]
static SCRATCH: PerCpuArray<u64, 1> = PerCpuArray::new();

#[btf_map(name = "TOTALS")]
static TOTALS_MAP: PerCpuArray<u64, { TOTALS as usize }> = PerCpuArray::new();

#[btf_map]
static CONFIG: Array<Config, 1, MMAPABLE> = Array::new();

#[btf_map]
pub static CAPTURE: Array<Capture, 1, MMAPABLE> = Array::new();

#[btf_map]
pub static NAME_SERVERS: HashMap<u32, NameServer, { LISTENERS as usize }> = HashMap::new();

/// Lines of FLOWS less one. A constant to the verifier, once the agent has set it.
#[unsafe(no_mangle)]
static FLOW_MASK: Global<u32> = Global::new(0);

/// The lines of FLOWS as a power of two.
#[unsafe(no_mangle)]
static FLOW_BITS: Global<u32> = Global::new(0);

/// Lines of `EARLIER_FLOWS`, a power of two; 0 where there are none to look in, so that the verifier drops all that would.
#[unsafe(no_mangle)]
static EARLIER_FLOW_LINES: Global<u32> = Global::new(0);

/// Whether `EARLIER_REPLIES` has something.
#[unsafe(no_mangle)]
static HAS_EARLIER_REPLIES: Global<u8> = Global::new(0);

/// Whether a denied connect can be given an errno of its own (Linux 6.1); the verifier drops the call where not.
#[unsafe(no_mangle)]
static CAN_SET_ERRNO: Global<u8> = Global::new(0);

/// Where `struct mptcp_sock` has its first subflow, and `struct tcp_sock` whether it is one; 0 where the kernel does not
/// describe its types.
#[unsafe(no_mangle)]
static MPTCP_FIRST: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static MPTCP_SUBFLOW: Global<u32> = Global::new(0);

/// Where `struct sock` has its cookie, and how many hold it; 0 where the kernel does not describe its types.
#[unsafe(no_mangle)]
static SOCK_COOKIE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_REFERENCES: Global<u32> = Global::new(0);

/// Where `struct inet_sock` has the device of `IP_UNICAST_IF`, and the pointer to `struct ipv6_pinfo`, and where that has the
/// one of `IPV6_UNICAST_IF`; 0 where the kernel does not describe its types.
#[unsafe(no_mangle)]
static UNICAST_DEVICE_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static PINET6: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static UNICAST_DEVICE_V6: Global<u32> = Global::new(0);

/// Where `struct sock` has the bit of `IPV6_V6ONLY`: offset of its byte, and the mask in it; no mask where the kernel does not
/// describe its types.
#[unsafe(no_mangle)]
static V6_ONLY_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static V6_ONLY_MASK: Global<u8> = Global::new(0);

/// An array of lines.
#[derive(Clone, Copy)]
pub enum Lines {
    Now,
    Earlier,
}

/// The line with the low bits of that number.
#[inline(always)]
pub fn flow(lines: Lines, line: u32) -> Option<*mut Flow> {
    match lines {
        Lines::Now => FLOWS.get_ptr_mut(line & FLOW_MASK.load()),
        Lines::Earlier => EARLIER_FLOWS.get_ptr_mut(line & (EARLIER_FLOW_LINES.load() - 1)),
    }
}

/// Whose the line of FLOWS with the low bits of that number is.
#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub fn owner(line: u32) -> Option<*mut Owner> {
    OWNERS.get_ptr_mut(line & FLOW_MASK.load())
}

/// Whether the lines with the low bits of these numbers are one.
#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub fn is_same_line(one: u32, other: u32) -> bool {
    (one ^ other) & FLOW_MASK.load() == 0
}

/// What a record that is stored at its socket has in the place of `displaced`, so that it is known which lines count it there.
#[inline(always)]
pub fn flow_bits() -> u16 {
    FLOW_BITS.load() as u16
}

#[inline(always)]
pub fn has_earlier_flows() -> bool {
    EARLIER_FLOW_LINES.load() != 0
}

#[inline(always)]
pub fn has_earlier_replies() -> bool {
    HAS_EARLIER_REPLIES.load() != 0
}

/// What is stored at a socket; where nothing is and `initial` is not null, that is stored. The socket is as the helper takes
/// it.
#[inline(always)]
pub fn stored(socket: *mut c_void, initial: *mut Flow) -> Option<NonNull<Flow>> {
    let flags = if initial.is_null() {
        0
    } else {
        u64::from(BPF_SK_STORAGE_GET_F_CREATE)
    };
    let map = (&raw const STORED).cast_mut().cast();
    // SAFETY: the verifier holds `socket` to be a socket.
    NonNull::new(unsafe { bpf_sk_storage_get(map, socket, initial.cast(), flags) }.cast())
}

/// Offset of the first subflow in `struct mptcp_sock`, and of the cookie in `struct sock`.
#[inline(always)]
pub fn mptcp_offsets() -> Option<(u64, u64)> {
    let (first, cookie) = (MPTCP_FIRST.load(), SOCK_COOKIE.load());
    (first != 0).then_some((u64::from(first), u64::from(cookie)))
}

/// Offsets of the cookie in `struct sock`, and of how many hold it.
#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub fn socket_offsets() -> Option<(u64, u64)> {
    let (cookie, references) = (SOCK_COOKIE.load(), SOCK_REFERENCES.load());
    (references != 0).then_some((u64::from(cookie), u64::from(references)))
}

/// Offset in `struct tcp_sock` of whether the socket is a subflow of an MPTCP socket.
#[inline(always)]
pub fn subflow_offset() -> Option<u32> {
    let offset = MPTCP_SUBFLOW.load();
    (offset != 0).then_some(offset)
}

/// Offset of the device that a socket has chosen for IPv4; for IPv6, of the pointer to what it is in, and in that.
#[inline(always)]
pub fn unicast_device() -> Option<(u64, u64, u64)> {
    let offset = UNICAST_DEVICE_V4.load();
    let offsets = [offset, PINET6.load(), UNICAST_DEVICE_V6.load()];
    let [v4, of_v6, v6] = offsets.map(u64::from);
    (offset != 0).then_some((v4, of_v6, v6))
}

/// The pointer as a number, to compute with: the verifier loses sight of one that has been in a map.
#[inline(always)]
pub fn address_of(pointer: *mut c_void) -> Option<u64> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's own element.
    unsafe {
        scratch.cast::<*mut c_void>().write_volatile(pointer);
        Some(scratch.read_volatile())
    }
}

/// Offset and mask of the bit in `struct sock`.
#[inline(always)]
pub fn v6_only_bit() -> Option<(u32, u8)> {
    let mask = V6_ONLY_MASK.load();
    (mask != 0).then(|| (V6_ONLY_OFFSET.load(), mask))
}

/// `jiffies64`, which the kernel makes a plain read of.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_jiffies64() }
}

/// The live state of an endpoint.
#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub fn endpoint(index: u32) -> Option<*mut EndpointState> {
    ENDPOINTS.get_ptr_mut(index)
}

/// Counts a record of the endpoint or service, or no longer.
#[inline(always)]
pub fn count_open(index: u32, change: i32) {
    if let Some(state) = ENDPOINTS.get_ptr_mut(index) {
        // SAFETY: the word is aligned, and in a map value.
        unsafe {
            let open = &raw mut (*state).open;
            atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(open, change as u32);
        }
    }
}

/// Takes a turn of the service.
#[inline(always)]
pub fn turn(service: u32) -> u32 {
    let Some(state) = ENDPOINTS.get_ptr_mut(service) else {
        return 0;
    };
    // SAFETY: the word is aligned, and in a map value.
    unsafe { fetch_and_add_one(&raw mut (*state).turn) }
}

/// Written out, as the compiler knows the instruction only for processors of which it would use more than all kernels have:
/// `r2 = atomic_fetch_add((u32 *)(r1 + 0), r2)`.
///
/// # Safety
/// The word must be aligned, and in a map value.
#[cfg(feature = "compare-and-swap")]
#[inline(always)]
pub unsafe fn fetch_and_add_one(word: *mut u32) -> u32 {
    let was: u64;
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            ".8byte 0x00000001000021c3",
            in("r1") word,
            inout("r2") 1u64 => was,
        );
    }
    was as u32
}

/// Two that connect at once may see the same.
///
/// # Safety
/// As above.
#[cfg(not(feature = "compare-and-swap"))]
#[inline(always)]
pub unsafe fn fetch_and_add_one(word: *mut u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe {
        atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(word, 1);
        word.read_volatile().wrapping_sub(1)
    }
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
pub fn count_denied(index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
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

#[inline(always)]
pub fn config<'a>() -> Option<&'a Config> {
    CONFIG.get(0)
}

/// The live maps, as a decision about a socket reads them.
pub struct Live<'a> {
    pub socket: &'a SockAddr<'a>,
}

impl Tables for Live<'_> {
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        config()
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
    fn exemption(&self, address: Address) -> Option<Exemption> {
        let value = EXEMPT.get(&Key::new(128, address.words())).copied()?;
        Exemption::from_value(value)
    }

    #[inline(always)]
    fn cell(&self, cell: u32) -> Option<&Cell> {
        ARENA.get(cell)
    }

    #[inline(always)]
    fn open(&self, index: u32) -> u32 {
        // SAFETY: the element stays mapped while a program runs, and an aligned word is read whole.
        let open = ENDPOINTS.get_ptr(index).map_or(0, |state| unsafe {
            (&raw const (*state).open).read_volatile()
        });
        // Without lines nothing ends before it is counted, and the verifier of Linux 5.10 refuses what comes of this.
        if cfg!(feature = "compare-and-swap") {
            at_least_none(open)
        } else {
            open
        }
    }

    #[inline(always)]
    fn name_server(&self, connect: &Connect) -> Option<(Address, Port)> {
        names::listener(self.socket, connect)
    }
}
