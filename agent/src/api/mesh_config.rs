//! The parts of Istio's `MeshConfig` that are carried out, and its `MeshNetworks`.

mod read;
mod schema;
mod visibility;

use std::collections::BTreeSet;
use std::time::Duration;

use super::OutboundPolicy;
use super::destination_rule::{Keepalive, LocalityLbSetting, TrafficPolicy};

pub use read::read;
pub use visibility::{ServiceEntryVisibility, Visibility};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    pub locality_lb: LocalityLbSetting,
    /// First wait after a failed resolution.
    pub dns_refresh_rate: Duration,
    /// Of connects to services for which no rule says otherwise; `None` where it is not written.
    pub connect_timeout: Option<Duration>,
    /// Rules change it field by field.
    pub tcp_keepalive: Option<Keepalive>,
    /// Its `connectionPool` and `outlierDetection` stand where no rule has the block.
    pub default_traffic_policy: TrafficPolicy,
    pub default_service_export_to: Vec<String>,
    pub default_virtual_service_export_to: Vec<String>,
    pub default_destination_rule_export_to: Vec<String>,
    pub root_namespace: String,
    /// How far entries may be seen, whatever they say themselves.
    pub visibility: ServiceEntryVisibility,
    /// That of the identities of clients.
    pub trust_domain: String,
    /// Its other names.
    pub trust_domain_aliases: Vec<String>,
    pub outbound: OutboundPolicy,
    /// Networks that name gateways.
    pub gateway_networks: BTreeSet<String>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            locality_lb: LocalityLbSetting::default(),
            dns_refresh_rate: Duration::from_mins(1),
            connect_timeout: None,
            tcp_keepalive: None,
            default_traffic_policy: TrafficPolicy::default(),
            default_service_export_to: vec!["*".to_owned()],
            default_virtual_service_export_to: vec!["*".to_owned()],
            default_destination_rule_export_to: vec!["*".to_owned()],
            root_namespace: "istio-system".to_owned(),
            visibility: ServiceEntryVisibility::default(),
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: Vec::new(),
            outbound: OutboundPolicy::AllowAny,
            gateway_networks: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests;
