//! The endpoints: where connects to a service may be sent, and what part of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::compile::{Endpoint, Service, ServiceKey};
use crate::dataplane::Counts;

use super::super::State;
use super::place::Place;
use super::service::transport_name;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    /// The namespace, host, port and transport of the service.
    pub namespace: String,
    pub host: String,
    pub service_port: u16,
    /// `TCP` or `UDP`.
    pub transport: String,
    pub address: IpAddr,
    pub port: u16,
    /// Fraction of the service's new connections, which sum to 1 within a service that has a healthy endpoint.
    pub share: f64,
    /// The same exactly: `part` of `total`.
    pub part: u64,
    pub total: u64,
    pub priority: u32,
    /// `region/zone/subzone`; empty when unknown.
    pub locality: String,
    pub healthy: bool,
    pub labels: BTreeMap<String, String>,
    /// The name that it was resolved from.
    pub hostname: Option<String>,
    /// Connects that were sent to this address and port since it is an endpoint of the service.
    pub connects: u64,
    /// Of those, the sockets that are not closed.
    pub open: u64,
    pub object: Place,
}

/// Every endpoint of every service, in the order of the services.
pub fn endpoints(state: &State, counts: &Counts) -> Vec<EndpointView> {
    let services = state.compiled.program.services.iter();
    services
        .flat_map(|(key, service)| endpoints_of(key, service, counts))
        .collect()
}

/// The endpoints of one service, in its order.
pub fn endpoints_of(key: &ServiceKey, service: &Service, counts: &Counts) -> Vec<EndpointView> {
    let total = service.total();
    let endpoints = service.endpoints.iter();
    endpoints
        .map(|endpoint| view(key, endpoint, total, counts))
        .collect()
}

fn view(key: &ServiceKey, endpoint: &Endpoint, total: u64, counts: &Counts) -> EndpointView {
    let counted = counts
        .services
        .get(key)
        .and_then(|service| service.endpoints.get(&(endpoint.address, endpoint.port)))
        .copied()
        .unwrap_or_default();
    EndpointView {
        namespace: key.namespace.to_string(),
        host: key.host.to_string(),
        service_port: key.port,
        transport: transport_name(key.transport).to_owned(),
        address: endpoint.address,
        port: endpoint.port,
        share: fraction(endpoint.share, total),
        part: endpoint.share,
        total,
        priority: endpoint.priority,
        locality: endpoint.locality.to_string(),
        healthy: endpoint.vital.is_healthy(),
        labels: BTreeMap::clone(&endpoint.labels),
        hostname: endpoint.hostname.as_deref().map(str::to_owned),
        connects: counted.connects,
        open: counted.open,
        object: Place::new(&endpoint.object, &endpoint.origin),
    }
}

/// `part / total`, and 0 of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "for people to read; the exact numbers stand beside it"
)]
pub(in crate::observe) fn fraction(part: u64, total: u64) -> f64 {
    if total == 0 {
        0.0
    } else {
        part as f64 / total as f64
    }
}
