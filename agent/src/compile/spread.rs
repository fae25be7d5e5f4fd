//! The endpoints of a service, and which part of its connects each gets as long as their health is what it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Algorithm, ConnectionPool, OutlierDetection, Warmup};
use crate::model::{ServiceVitals, Vital};

use super::program::{Action, Endpoint, Service};
use super::shares::{self, Part};

/// What a `DestinationRule` says of the endpoints of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    pub algorithm: Algorithm,
    pub connection_pool: ConnectionPool,
    pub outlier_detection: Option<OutlierDetection>,
    pub warmup: Option<Warmup>,
}

/// Endpoints that one policy is for: those of a host, or of a subset of it. A service has several where a route spreads
/// its connects over several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The host whose endpoints these are.
    pub host: Arc<str>,
    pub subset: Option<Arc<str>>,
    /// Part of the service's connects, among the weights of all its clusters.
    pub weight: u32,
    /// The weight of each locality, where localities are weighted as such.
    pub localities: Option<Arc<[u64]>>,
    pub policy: Arc<Policy>,
    /// How often endpoints are probed that see no traffic; `None` for never.
    pub probe_interval: Option<Duration>,
}

impl Cluster {
    /// All endpoints of a host, with nothing said of them.
    pub fn of(host: Arc<str>) -> Self {
        Self {
            host,
            subset: None,
            weight: 1,
            localities: None,
            policy: Arc::default(),
            probe_interval: None,
        }
    }

    /// `minHealthPercent`: with fewer healthy endpoints, health does not count.
    fn panic_percent(&self) -> u32 {
        let detection = self.policy.outlier_detection;
        detection.map_or(0, |detection| detection.min_health_percent)
    }
}

impl Service {
    /// The service with the shares that follow from the health of its endpoints. This is what compiling it anew with that
    /// health gives.
    #[must_use]
    pub fn with_vitals(&self, vitals: &ServiceVitals) -> Self {
        let mut service = self.clone();
        service.examine(vitals);
        service
    }

    pub(super) fn examine(&mut self, vitals: &ServiceVitals) {
        for endpoint in &mut self.endpoints {
            let place = SocketAddr::new(endpoint.address, endpoint.port);
            endpoint.vital = if endpoint.failing {
                Vital::Failing
            } else {
                vitals.get(&place).copied().unwrap_or_default()
            };
        }
        self.spread();
    }

    /// Why the service is what it is, in sentences.
    pub fn explanation(&self) -> Vec<String> {
        let shares = (self.action == Action::Balance).then(|| self.shares_in_words());
        self.reasons.iter().cloned().chain(shares).collect()
    }

    fn shares_in_words(&self) -> String {
        let endpoints = &self.endpoints;
        if endpoints.is_empty() {
            return "there is no endpoint; connects are refused".to_owned();
        }
        let in_use = endpoints.iter().filter(|e| e.share > 0).count();
        let by = if self.clusters.iter().any(|c| c.localities.is_some()) {
            "by the weights of localities, then by their own"
        } else {
            "by their weights"
        };
        let mut text = format!(
            "{in_use} of {} endpoints share the connects {by}",
            endpoints.len()
        );
        let last = endpoints.iter().map(|e| e.priority).max().unwrap_or(0);
        let unhealthy = endpoints.iter().filter(|e| !e.vital.is_healthy()).count();
        let more = match (last, unhealthy) {
            (0, 0) => String::new(),
            (_, 0) => format!("; priority 0 of 0 to {last} can take all of the load"),
            (0, _) => format!("; {unhealthy} of them are unhealthy"),
            (_, _) => format!(
                "; {unhealthy} of them are unhealthy, and load that a priority of 0 to {last} cannot take goes to the next"
            ),
        };
        text.push_str(&more);
        text
    }

    /// Gives each endpoint its share.
    fn spread(&mut self) {
        let mut pools = Vec::with_capacity(self.clusters.len());
        for (cluster, place) in self.clusters.iter().zip(0..) {
            let members = |e: &&Endpoint| e.cluster == place;
            let parts: Vec<Part> = self.endpoints.iter().filter(members).map(part).collect();
            pools.push((
                u64::from(cluster.weight),
                shares::divide(
                    &parts,
                    cluster.localities.as_deref(),
                    cluster.panic_percent(),
                ),
            ));
        }
        let (joined, unserved) = shares::join(pools);
        for (place, shares) in (0..).zip(joined) {
            let members = self.endpoints.iter_mut().filter(|e| e.cluster == place);
            for (endpoint, share) in members.zip(shares) {
                endpoint.share = share;
            }
        }
        self.unserved = unserved;
    }
}

fn part(endpoint: &Endpoint) -> Part {
    Part {
        weight: endpoint.weight,
        vital: endpoint.vital,
        priority: endpoint.priority,
        group: endpoint.locality_group,
    }
}
