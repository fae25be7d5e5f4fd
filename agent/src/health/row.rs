//! What do probes of one endpoint come to? Those that fail in a row count as failed connects do, in a row of their own: the
//! kernel's numbers are the kernel's.

use crate::api::OutlierDetection;

/// How many probes have failed since the last that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row(u32);

impl Row {
    /// Takes in a probe, and returns how many have failed in a row by now.
    pub(super) fn note(&mut self, failed: bool) -> u32 {
        self.0 = if failed { self.0.saturating_add(1) } else { 0 };
        self.0
    }

    /// Whether the failure that was noted last is the one that is enough. Those that were are not counted again.
    pub(super) fn is_due(self, detection: &OutlierDetection) -> bool {
        let threshold = detection.threshold();
        self.last_failed() && threshold.is_some_and(|enough| self.0.is_multiple_of(enough))
    }

    pub(super) fn last_failed(self) -> bool {
        self.0 > 0
    }
}
