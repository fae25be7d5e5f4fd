//! `PeerAuthentication`: whether workloads take connections with or without mutual TLS.

mod read;
mod schema;

use std::collections::BTreeMap;

pub(super) use read::read;
pub(super) use schema::SCHEMA;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// Labels of the workloads; `None` or no labels mean everything in the object's namespace, or everywhere for the root
    /// namespace.
    pub selector: Option<BTreeMap<String, String>>,
    pub mode: MtlsMode,
    /// By port of the workload, before `mode`. Empty where no labels select workloads.
    pub ports: BTreeMap<u16, MtlsMode>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MtlsMode {
    /// As the namespace or else the mesh has it, or `Permissive` where none has.
    #[default]
    Unset,
    Disable,
    Permissive,
    Strict,
}

#[cfg(test)]
mod tests;
