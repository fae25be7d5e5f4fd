//! When is an endpoint left out, and for how long? Envoy's arithmetic for one endpoint
//! (`source/common/upstream/outlier_detection_impl.cc`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::OutlierDetection;

/// Envoy's `max_ejection_time`, which Istio never sets.
const LONGEST: Duration = Duration::from_mins(5);

/// What is remembered of an endpoint that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ejection {
    /// When it was left out, where it is, by the monitor's clock.
    pub since: Option<Duration>,
    /// How many base times it is left out for; less by one with every interval in which it was in.
    pub multiplier: u32,
    /// Times that it was left out so far.
    pub count: u32,
    /// Failures in a row that were looked at already.
    counted: u32,
}

impl Ejection {
    /// Whether these failures in a row are enough. Those that were are not counted again, whether it is left out or not.
    pub(super) fn is_due(&mut self, in_a_row: u32, detection: &OutlierDetection) -> bool {
        // A lower number than that means that a connect succeeded in between.
        if in_a_row < self.counted {
            self.counted = 0;
        }
        let is_due = detection
            .threshold()
            .is_some_and(|threshold| in_a_row - self.counted >= threshold);
        if is_due {
            self.counted = in_a_row;
        }
        is_due && self.since.is_none()
    }

    pub(super) fn eject(&mut self, now: Duration, detection: &OutlierDetection) {
        self.since = Some(now);
        self.count = self.count.saturating_add(1);
        if detection.base_ejection_time.saturating_mul(self.multiplier)
            < longest(detection) + detection.base_ejection_time
        {
            self.multiplier = self.multiplier.saturating_add(1);
        }
    }

    /// For how long it is left out.
    pub(super) fn duration(&self, detection: &OutlierDetection) -> Duration {
        let time = detection.base_ejection_time.saturating_mul(self.multiplier);
        time.min(longest(detection))
    }

    /// What every interval does: lets it in again when its time is over, and forgives where it was in. Returns whether it is
    /// let in.
    pub(super) fn sweep(&mut self, now: Duration, detection: &OutlierDetection) -> bool {
        match self.since {
            None => {
                self.multiplier = self.multiplier.saturating_sub(1);
                false
            }
            Some(since) if now.saturating_sub(since) >= self.duration(detection) => {
                self.since = None;
                true
            }
            Some(_) => false,
        }
    }
}

fn longest(detection: &OutlierDetection) -> Duration {
    LONGEST.max(detection.base_ejection_time)
}
