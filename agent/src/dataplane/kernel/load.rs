//! From the embedded objects to loaded programs.

use aya::programs::{CgroupSock, CgroupSockAddr, Program, ProgramError, SchedClassifier, SockOps};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel, include_bytes_aligned};

use super::LoadOptions;
use super::earlier::Earlier;
use super::error::LoadError;
use super::features::Features;
use super::map_set::{self, MapSet};

static OBJECT: &[u8] = include_bytes_aligned!(env!("SHUNT_BPF_OBJECT"));
static TRACE_OBJECT: &[u8] = include_bytes_aligned!(env!("SHUNT_BPF_TRACE_OBJECT"));
/// For kernels before 5.12, which refuse an object that has a compare-and-swap anywhere.
static OBJECT_5_10: &[u8] = include_bytes_aligned!(env!("SHUNT_BPF_5_10_OBJECT"));

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Connect4,
    Connect6,
    SendMessage4,
    SendMessage6,
    ReceiveMessage4,
    ReceiveMessage6,
    PeerName4,
    PeerName6,
    Release,
    SockOps,
}

impl Hook {
    /// In the order of attaching: what forgets and what shows come before what remembers and rewrites.
    const ALWAYS: [Self; 9] = [
        Self::Release,
        Self::PeerName4,
        Self::PeerName6,
        Self::ReceiveMessage4,
        Self::ReceiveMessage6,
        Self::SendMessage4,
        Self::SendMessage6,
        Self::Connect4,
        Self::Connect6,
    ];

    /// The programs to load, in the order of attaching. What follows connections is attached only where that is asked for.
    pub(super) fn wanted(options: &LoadOptions) -> impl Iterator<Item = Self> {
        let sock_ops = has_lines(options).then_some(Self::SockOps);
        sock_ops.into_iter().chain(Self::ALWAYS)
    }

    /// Whether the program makes records, and so counts connections that begin.
    pub(super) const fn remembers(self) -> bool {
        self.sends() || matches!(self, Self::Connect4 | Self::Connect6)
    }

    /// Whether the program makes records of datagrams.
    pub(super) const fn sends(self) -> bool {
        matches!(self, Self::SendMessage4 | Self::SendMessage6)
    }

    /// Whether the program shows clients what is on record, and changes nothing.
    pub(super) const fn shows(self) -> bool {
        matches!(
            self,
            Self::PeerName4 | Self::PeerName6 | Self::ReceiveMessage4 | Self::ReceiveMessage6
        )
    }

    pub(super) fn is_loaded(ebpf: &Ebpf, hook: Self) -> bool {
        ebpf.program(hook.program())
            .is_some_and(|program| program.fd().is_ok())
    }

    /// Of `enum bpf_attach_type`, include/uapi/linux/bpf.h.
    pub(super) const fn attach_type(self) -> u32 {
        match self {
            Self::SockOps => 3,
            Self::Connect4 => 10,
            Self::Connect6 => 11,
            Self::SendMessage4 => 14,
            Self::SendMessage6 => 15,
            Self::ReceiveMessage4 => 19,
            Self::ReceiveMessage6 => 20,
            Self::PeerName4 => 29,
            Self::PeerName6 => 30,
            Self::Release => 34,
        }
    }

    /// The name of the program, as kernel listings have it too.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Connect4 => "shunt_connect4",
            Self::Connect6 => "shunt_connect6",
            Self::SendMessage4 => "shunt_sendmsg4",
            Self::SendMessage6 => "shunt_sendmsg6",
            Self::ReceiveMessage4 => "shunt_recvmsg4",
            Self::ReceiveMessage6 => "shunt_recvmsg6",
            Self::PeerName4 => "shunt_peername4",
            Self::PeerName6 => "shunt_peername6",
            Self::Release => "shunt_release",
            Self::SockOps => "shunt_sockops",
        }
    }
}

/// The program that ends records of sockets whose end was not seen; the agent runs it.
pub(super) const SWEEP: &str = "shunt_sweep";

/// Whether flow records are lines of FLOWS, and not stored at their sockets.
pub(super) fn has_lines(options: &LoadOptions) -> bool {
    Features::get().compare_and_swap && !options.flows_at_sockets
}

/// Loads every program that is wanted, over the maps that are pinned there, or new ones that are from then on.
pub(super) fn load(options: &LoadOptions, maps: Option<&MapSet>) -> Result<Ebpf, LoadError> {
    let limits = &options.limits;
    if !limits.flows.is_power_of_two() {
        return Err(LoadError::Flows(limits.flows));
    }
    let features = Features::get();
    let object = match (has_lines(options), options.trace) {
        (true, true) => TRACE_OBJECT,
        (true, false) => OBJECT,
        (false, false) if !options.sock_ops => OBJECT_5_10,
        (false, _) => return Err(LoadError::NoCompareAndSwap),
    };
    let flow_mask = limits.flows - 1;
    let flow_bits = limits.flows.trailing_zeros();
    let socket = features.socket.unwrap_or_default();
    let mptcp = features.mptcp.unwrap_or_default();
    let device = features.unicast_device.unwrap_or_default();
    let (v6_only_offset, v6_only_mask) = features.v6_only.unwrap_or_default();
    let mut loader = EbpfLoader::new();
    let earlier = Earlier::of(maps).map_err(LoadError::unreadable)?;
    for (map, elements) in map_set::of_object(limits).chain(earlier.maps()) {
        if let Some(elements) = elements {
            loader.map_max_entries(map, elements);
        }
        if let Some(maps) = maps {
            loader.map_pin_path(map, maps.pin(map));
        }
    }
    let mut ebpf = loader
        // The programs need nothing of the kernel's types that is not set below; reading them takes longer than all else.
        .btf(None)
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global("FLOW_MASK", &flow_mask, true)
        .override_global("FLOW_BITS", &flow_bits, true)
        .override_global("EARLIER_FLOW_LINES", &earlier.flows.unwrap_or(0), true)
        .override_global(
            "HAS_EARLIER_REPLIES",
            &u8::from(earlier.replies.is_some()),
            true,
        )
        .override_global("CAN_SET_ERRNO", &u8::from(features.errno), true)
        .override_global("MPTCP_FIRST", &mptcp.first, true)
        .override_global("MPTCP_SUBFLOW", &mptcp.is_subflow, true)
        .override_global("SOCK_COOKIE", &socket.cookie, true)
        .override_global("SOCK_REFERENCES", &socket.references, true)
        .override_global("SOCK_ERROR", &features.error.unwrap_or_default(), false)
        .override_global("UNICAST_DEVICE_V4", &device.v4, true)
        .override_global("PINET6", &device.of_v6, true)
        .override_global("UNICAST_DEVICE_V6", &device.v6, true)
        .override_global("V6_ONLY_OFFSET", &v6_only_offset, true)
        .override_global("V6_ONLY_MASK", &v6_only_mask, true)
        .load(object)
        .map_err(|error| LoadError::Object {
            error: Box::new(error),
        })?;
    for hook in Hook::wanted(options) {
        load_program(&mut ebpf, hook.program(), |program| match hook {
            Hook::Release => <&mut CgroupSock>::try_from(program)?.load(),
            Hook::SockOps => <&mut SockOps>::try_from(program)?.load(),
            _ => <&mut CgroupSockAddr>::try_from(program)?.load(),
        })?;
    }
    if has_lines(options) && features.socket.is_some() {
        load_program(&mut ebpf, SWEEP, |program| {
            <&mut SchedClassifier>::try_from(program)?.load()
        })?;
    }
    Ok(ebpf)
}

fn load_program(
    ebpf: &mut Ebpf,
    name: &'static str,
    load: impl FnOnce(&mut Program) -> Result<(), ProgramError>,
) -> Result<(), LoadError> {
    let program = ebpf
        .program_mut(name)
        .ok_or(LoadError::Incomplete { name })?;
    load(program).map_err(|error| LoadError::Program {
        name,
        error: Box::new(error),
    })
}
