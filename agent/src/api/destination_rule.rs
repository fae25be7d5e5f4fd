//! `DestinationRule`, as far as it is carried out.

mod connection_pool;
mod load_balancer;
mod locality_setting;
mod read;
mod schema;
mod tls;

use std::collections::BTreeMap;

pub(super) use locality_setting::read as read_locality_setting;
pub(super) use read::read;
pub(super) use schema::{LOCALITY_SETTING, SCHEMA};

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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    pub locality_lb: Option<LocalityLbSetting>,
    /// Whether `outlierDetection` is present, which is what turns failover on.
    pub outlier_detection: bool,
    pub tls: Option<TlsMode>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationRule {
    /// As written.
    pub host: String,
    pub traffic_policy: Option<TrafficPolicy>,
    /// `trafficPolicy.portLevelSettings`: each replaces the whole policy for its port.
    pub port_policies: BTreeMap<u16, TrafficPolicy>,
    pub export_to: Vec<String>,
    /// `None` when absent.
    pub workload_selector: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests;
