//! `DestinationRule`, as far as it is carried out.

mod connection_pool;
mod consistent_hash;
mod load_balancer;
mod locality_setting;
mod outlier_detection;
mod policy;
mod read;
mod schema;
mod tls;

use std::collections::BTreeMap;

pub use policy::{
    Algorithm, ConnectionPool, HashTable, Keepalive, LoadBalancer, OutlierDetection, TrafficPolicy,
    Warmup,
};

pub(super) use connection_pool::{read as read_connection_pool, read_keepalive};
pub(super) use locality_setting::read as read_locality_setting;
pub(super) use outlier_detection::read as read_outlier_detection;
pub(super) use read::read;
pub(super) use schema::{
    CONNECTION_POOL, LOCALITY_SETTING, OUTLIER_DETECTION, SCHEMA, TCP_KEEPALIVE,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

/// `distribute` of a locality setting: from the client's locality, to patterns with percentages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribute {
    pub from: String,
    pub to: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    pub from: String,
    pub to: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalityLbSetting {
    pub enabled: bool,
    pub distribute: Vec<Distribute>,
    pub failover: Vec<Failover>,
    pub failover_priority: Vec<String>,
}

impl Default for LocalityLbSetting {
    fn default() -> Self {
        Self {
            enabled: true,
            distribute: Vec::new(),
            failover: Vec::new(),
            failover_priority: Vec::new(),
        }
    }
}

/// Endpoints with certain labels, which routes name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub traffic_policy: Option<TrafficPolicy>,
    pub port_policies: BTreeMap<u16, TrafficPolicy>,
    pub line: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationRule {
    /// As written.
    pub host: String,
    pub traffic_policy: Option<TrafficPolicy>,
    /// `trafficPolicy.portLevelSettings`: each replaces the whole policy for its port.
    pub port_policies: BTreeMap<u16, TrafficPolicy>,
    /// In the order of the rule.
    pub subsets: Vec<Subset>,
    pub export_to: Vec<String>,
    /// `None` when absent.
    pub workload_selector: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests;
