//! The endpoints: where connects to a service may be sent, and what part of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::compile::{Cluster, Endpoint, Service, ServiceKey};
use crate::dataplane::{Counts, EndpointCounts, Outcomes};
use crate::health::{Record, Records};

use super::super::State;
use super::ejection::EjectionView;
use super::place::Place;
use super::service::transport_name;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    /// The namespace, host, port and transport of the service.
    pub namespace: String,
    pub host: String,
    pub service_port: u16,
    /// Who the clients are that the service is for, where it is not what it is for others.
    pub clients: Option<String>,
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
    /// `healthy`, `warming`, `ejected` or `unhealthy`.
    pub health: String,
    /// Why its share is what it is; absent where its weight says it all.
    pub why: Option<String>,
    /// Absent where it never was ejected.
    pub ejection: Option<EjectionView>,
    /// The host whose endpoint it is; not that of the service where a route leads to another.
    pub destination: String,
    /// The subset of that host that it was chosen for, where a route names one.
    pub subset: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// The name that it was resolved from.
    pub hostname: Option<String>,
    /// Connects that were sent to this address and port since it is an endpoint of the service.
    pub connects: u64,
    /// Of those, the sockets that are not closed.
    pub open: u64,
    pub outcomes: OutcomesView,
    pub object: Place,
}

/// TCP connects that ended, while connects were followed: for `outlierDetection`, a `connectTimeout`, or
/// `--sock-ops`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomesView {
    pub succeeded: u32,
    pub refused: u32,
    pub timed_out: u32,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// The mean round trip of those that succeeded, in milliseconds; absent where none did.
    pub latency_ms: Option<f64>,
}

impl From<Outcomes> for OutcomesView {
    #[expect(clippy::cast_precision_loss, reason = "an average for people to read")]
    fn from(outcomes: Outcomes) -> Self {
        let succeeded = outcomes.succeeded;
        let mean = || outcomes.latency_us as f64 / f64::from(succeeded) / 1e3;
        Self {
            succeeded,
            refused: outcomes.refused,
            timed_out: outcomes.timed_out,
            failures_in_a_row: outcomes.failures_in_a_row,
            latency_ms: (succeeded > 0).then(mean),
        }
    }
}

/// What is known of endpoints at one moment, beside what was compiled.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    pub counts: &'a Counts,
    pub ejections: &'a Records,
    /// What time it is, as in the records.
    pub clock: Duration,
}

impl<'a> Live<'a> {
    pub fn at(state: &'a State, counts: &'a Counts, now: SystemTime) -> Self {
        Self {
            counts,
            ejections: &state.ejections,
            clock: now.duration_since(state.epoch).unwrap_or_default(),
        }
    }
}

/// Every endpoint of every service, in the order of the services.
pub fn endpoints(state: &State, live: Live<'_>) -> Vec<EndpointView> {
    let services = state.compiled.program.services.iter();
    services
        .flat_map(|(key, service)| endpoints_of(key, service, live))
        .collect()
}

/// The endpoints of one service, in its order.
pub fn endpoints_of(key: &ServiceKey, service: &Service, live: Live<'_>) -> Vec<EndpointView> {
    let total = service.total();
    let counts = live.counts.services.get(key);
    let records = live.ejections.get(key);
    let endpoints = service.endpoints.iter();
    let known = |endpoint: &Endpoint| {
        let at = SocketAddr::new(endpoint.address, endpoint.port);
        let counted = counts.and_then(|of| of.endpoints.get(&(at.ip(), at.port())));
        Known {
            total,
            cluster: service.clusters.get(endpoint.cluster as usize),
            counts: counted.copied().unwrap_or_default(),
            record: records.and_then(|of| of.get(&at)),
            clock: live.clock,
        }
    };
    endpoints
        .map(|endpoint| view(key, endpoint, &known(endpoint)))
        .collect()
}

/// What there is to say of an endpoint that it does not say itself.
struct Known<'a> {
    total: u64,
    cluster: Option<&'a Cluster>,
    counts: EndpointCounts,
    record: Option<&'a Record>,
    clock: Duration,
}

fn view(key: &ServiceKey, endpoint: &Endpoint, known: &Known<'_>) -> EndpointView {
    let (total, counts) = (known.total, known.counts);
    let ejection = known
        .record
        .map(|record| EjectionView::new(record, known.clock));
    let sentence = ejection.as_ref().map(EjectionView::sentence);
    let destination = known.cluster.map_or(&key.host, |cluster| &cluster.host);
    EndpointView {
        namespace: key.namespace.to_string(),
        host: key.host.to_string(),
        service_port: key.port,
        clients: key.clients.as_deref().map(str::to_owned),
        transport: transport_name(key.transport).to_owned(),
        address: endpoint.address,
        port: endpoint.port,
        share: fraction(endpoint.share, total),
        part: endpoint.share,
        total,
        priority: endpoint.priority,
        locality: endpoint.locality.to_string(),
        healthy: endpoint.vital.is_healthy(),
        health: endpoint.vital.name().to_owned(),
        why: endpoint.why(sentence.clone()).or(sentence),
        ejection,
        destination: destination.to_string(),
        subset: known
            .cluster
            .and_then(|c| c.subset.as_deref().map(str::to_owned)),
        labels: BTreeMap::clone(&endpoint.labels),
        hostname: endpoint.hostname.as_deref().map(str::to_owned),
        connects: counts.connects,
        open: counts.open,
        outcomes: counts.outcomes.into(),
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
