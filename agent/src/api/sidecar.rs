//! `Sidecar`, as far as it is carried out: what clients import, and what becomes of their connects to anything else.

mod egress;
mod ingress;
mod read;
mod schema;

use std::collections::BTreeMap;

use super::OutboundPolicy;

pub(super) use read::read;
pub(super) use schema::SCHEMA;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// The labels of the clients that it is for; none: all of its namespace, and those of all namespaces where that is the root.
    pub selector: BTreeMap<String, String>,
    /// In order. Empty: everything is imported.
    pub egress: Vec<EgressListener>,
    /// `None`: the mesh's.
    pub outbound: Option<OutboundPolicy>,
}

/// What is imported on some ports, or on all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressListener {
    /// `None`: all ports.
    pub port: Option<u16>,
    pub hosts: Vec<EgressHost>,
    /// Whether clients are to connect to it themselves, so that what it imports is not reached by its own addresses.
    pub is_explicit: bool,
    pub line: u32,
}

/// `namespace/host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressHost {
    /// Takes away from what the listener imports (`~namespace/host`).
    pub is_excluded: bool,
    pub namespace: HostNamespace,
    /// As written: a name, `*` or `*.example.com`.
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostNamespace {
    Any,
    /// The object's.
    Own,
    Named(String),
    /// `~`: nothing.
    None,
}

#[cfg(test)]
mod tests;
