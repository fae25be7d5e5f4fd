//! `WorkloadEntry`, alone or as an endpoint of a `ServiceEntry`.

mod read;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::locality::Locality;

pub(super) use read::{Addresses, SCHEMA, read, read_object, report_service_account};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointAddress {
    Ip(IpAddr),
    Fqdn(String),
    /// A Unix socket, without the `unix://`.
    Unix(String),
    /// No address of its own: reached through the gateway of its network.
    Network,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEntry {
    pub address: EndpointAddress,
    /// Service port name → port number.
    pub ports: BTreeMap<String, u16>,
    /// Those of the metadata win over those of the spec.
    pub labels: BTreeMap<String, String>,
    /// From the field, or else from the label that Istio falls back to. Empty: the client's own.
    pub network: String,
    /// From the field, or else from the labels that Istio falls back to.
    pub locality: Locality,
    /// At least 1: an unset weight counts as 1.
    pub weight: u32,
    pub service_account: String,
    /// Whether it has health checks and its status does not say that they pass.
    pub failing: bool,
    /// Line where it starts.
    pub line: u32,
}

#[cfg(test)]
mod tests;
