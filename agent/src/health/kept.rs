//! What of an endpoint must the next agent know, so that it goes on as if it had seen all itself? Who was ejected, and who warms up.
//!
//! The monitor's clock must go on over restarts, too. What the passing of time makes of it is found out when it is recalled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::OutlierDetection;
use crate::model::ServiceKey;

use super::Failure;
use super::ejection::Ejection;
use super::row::Row;

/// What is kept of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEndpoint {
    /// When it joined others, while it warms up.
    pub(super) joined: Option<Duration>,
    pub(super) ejection: Ejection,
    pub(super) cause: (Failure, u32),
    pub(super) row: Option<Row>,
    /// When all this was so.
    pub(super) at: Duration,
}

/// Of a service: its endpoints that were ejected, or warm up.
pub type KeptService = BTreeMap<SocketAddr, KeptEndpoint>;

/// Of all services that have such endpoints; where it tells of changes, those that have none any more are empty.
pub type KeptHealth = BTreeMap<ServiceKey, KeptService>;

impl KeptEndpoint {
    /// Whether it says the same, but for what follows from the time in between.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let said = |kept: &Self| (kept.joined, kept.ejection.since, kept.ejection.count);
        said(self) == said(other)
    }

    /// Its ejection as it is now: one that has ended in the meantime is over, and intervals without one are forgiven.
    pub(super) fn ejection(&self, now: Duration, detection: &OutlierDetection) -> Ejection {
        let mut ejection = self.ejection;
        // No clock keeps an endpoint out for longer than it was to be.
        ejection.since = ejection.since.map(|since| since.min(now));
        let end = |since| since + ejection.duration(detection);
        let Some(good) = now.checked_sub(ejection.since.map_or(self.at, end)) else {
            return ejection;
        };
        let interval = detection.interval.max(Duration::from_millis(1));
        let forgiven = u32::try_from(good.as_millis() / interval.as_millis()).unwrap_or(u32::MAX);
        ejection.multiplier = ejection.multiplier.saturating_sub(forgiven);
        ejection.since = None;
        ejection
    }
}
