//! Which locality setting is in effect for a service. Knows nothing of what it does to endpoints.

use std::borrow::Cow;

use crate::api::LocalityLbSetting;
use crate::model::Snapshot;

use super::catalog::Entry;
use super::locality::{self, Setting};
use super::policy::Applied;

/// Istio's annotation that prefers endpoints which are near.
pub(super) const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// Which locality setting is in effect: the rule's whole, or the entry's annotation, or the mesh's.
pub(super) fn effective<'a>(
    applied: &Applied<'a>,
    entry: &Entry<'a>,
    snapshot: &'a Snapshot,
) -> (Option<Setting<'a>>, String) {
    let detects = applied.policy.outlier_detection.is_some();
    let (locality_lb, forced, whose) = if let Some(written) = applied.locality_lb {
        (Cow::Borrowed(written.block), false, written.by.to_string())
    } else if let Some(value) = entry.meta.annotations.get(TRAFFIC_DISTRIBUTION)
        && let Some((failover_priority, _)) = locality::traffic_distribution(value)
    {
        let preferred = LocalityLbSetting {
            failover_priority,
            ..LocalityLbSetting::default()
        };
        let origin = &entry.meta.origin;
        let whose = format!("annotation {TRAFFIC_DISTRIBUTION}: {value} ({origin})");
        (Cow::Owned(preferred), true, whose)
    } else {
        (
            Cow::Borrowed(&snapshot.mesh.locality_lb),
            false,
            "the mesh".to_owned(),
        )
    };
    let failover = detects || forced;
    let what = if !locality_lb.enabled {
        "is disabled"
    } else if !locality_lb.distribute.is_empty() {
        "distributes over localities"
    } else if !failover {
        "has no effect: failover needs outlierDetection, and no DestinationRule for this port has it"
    } else if !locality_lb.failover_priority.is_empty() {
        "gives priorities by failoverPriority"
    } else {
        "gives priorities by region, zone and subzone"
    };
    let node = &snapshot.node.locality;
    let seen = if node.is_empty() {
        "unknown".to_owned()
    } else {
        node.to_string()
    };
    let why = format!("localityLbSetting of {whose} {what}; this node's locality is {seen}");
    let setting = locality_lb.enabled.then_some(Setting {
        locality_lb,
        failover,
    });
    (setting, why)
}
