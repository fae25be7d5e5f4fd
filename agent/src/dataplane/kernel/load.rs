//! From the embedded object to loaded programs.

use agent_common::abi::TOTALS;
use aya::programs::{CgroupSock, CgroupSockAddr, ProgramType};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel, include_bytes_aligned};

use crate::dataplane::Limits;

use super::error::LoadError;

static OBJECT: &[u8] = include_bytes_aligned!(env!("SHUNT_BPF_OBJECT"));
static TRACE_OBJECT: &[u8] = include_bytes_aligned!(env!("SHUNT_BPF_TRACE_OBJECT"));

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Connect4,
    Connect6,
    PeerName4,
    PeerName6,
    Release,
}

impl Hook {
    /// In the order of attaching: what forgets and what shows come before what remembers and rewrites.
    pub(super) const ALL: [Self; 5] = [
        Self::Release,
        Self::PeerName4,
        Self::PeerName6,
        Self::Connect4,
        Self::Connect6,
    ];

    /// The name of the program, as kernel listings have it too.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Connect4 => "shunt_connect4",
            Self::Connect6 => "shunt_connect6",
            Self::PeerName4 => "shunt_peername4",
            Self::PeerName6 => "shunt_peername6",
            Self::Release => "shunt_release",
        }
    }
}

/// Loads every program. `trace` takes the object that says what it decides.
pub(super) fn load(limits: &Limits, trace: bool) -> Result<Ebpf, LoadError> {
    if !limits.flows.is_power_of_two() {
        return Err(LoadError::Flows(limits.flows));
    }
    let flow_mask = limits.flows - 1;
    let can_set_errno = u8::from(can_set_errno());
    let object = if trace { TRACE_OBJECT } else { OBJECT };
    let mut ebpf = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .map_max_entries("FRONTENDS", limits.frontends)
        .map_max_entries("PREFIXES", limits.prefixes)
        .map_max_entries("ARENA", limits.cells)
        .map_max_entries("FLOWS", limits.flows)
        .map_max_entries("COUNTERS", limits.services.saturating_add(limits.endpoints))
        .map_max_entries("TOTALS", TOTALS)
        .override_global("FLOW_MASK", &flow_mask, true)
        .override_global("CAN_SET_ERRNO", &can_set_errno, true)
        .load(object)
        .map_err(|error| LoadError::Object {
            error: Box::new(error),
        })?;
    for hook in Hook::ALL {
        load_program(&mut ebpf, hook)?;
    }
    Ok(ebpf)
}

fn load_program(ebpf: &mut Ebpf, hook: Hook) -> Result<(), LoadError> {
    let name = hook.program();
    let program = ebpf
        .program_mut(name)
        .ok_or(LoadError::Incomplete { name })?;
    let loaded = match hook {
        Hook::Release => <&mut CgroupSock>::try_from(program).and_then(CgroupSock::load),
        Hook::Connect4 | Hook::Connect6 | Hook::PeerName4 | Hook::PeerName6 => {
            <&mut CgroupSockAddr>::try_from(program).and_then(CgroupSockAddr::load)
        }
    };
    loaded.map_err(|error| LoadError::Program {
        name,
        error: Box::new(error),
    })
}

/// Whether a `sock_addr` program may choose the errno of a connect that it fails (Linux 6.1). Where this cannot be told,
/// clients see EPERM, as with an older kernel.
pub(in crate::dataplane) fn can_set_errno() -> bool {
    is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval).unwrap_or_else(
        |error| {
            tracing::debug!(%error, "probing for bpf_set_retval");
            false
        },
    )
}
