//! The parts of Istio's `MeshConfig` that are carried out, and its `MeshNetworks`.

mod read;
mod schema;

use std::collections::BTreeSet;
use std::time::Duration;

use super::destination_rule::LocalityLbSetting;

pub use read::read;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    pub locality_lb: LocalityLbSetting,
    /// First wait after a failed resolution.
    pub dns_refresh_rate: Duration,
    pub default_service_export_to: Vec<String>,
    pub default_destination_rule_export_to: Vec<String>,
    pub root_namespace: String,
    /// Networks that name gateways.
    pub gateway_networks: BTreeSet<String>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            locality_lb: LocalityLbSetting::default(),
            dns_refresh_rate: Duration::from_mins(1),
            default_service_export_to: vec!["*".to_owned()],
            default_destination_rule_export_to: vec!["*".to_owned()],
            root_namespace: "istio-system".to_owned(),
            gateway_networks: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests;
