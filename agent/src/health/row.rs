//! What do probes of one endpoint come to? Those that fail in a row count as failed connects do, in a row of their own: the
//! kernel's numbers are the kernel's.

use serde::{Deserialize, Serialize};

use crate::api::OutlierDetection;

use super::Failure;

/// The probes that have failed since the last that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    in_a_row: u32,
    last: Option<Failure>,
}

impl Row {
    /// Takes in a probe.
    pub(super) fn note(&mut self, result: Result<(), Failure>) {
        self.last = result.err();
        self.in_a_row = match self.last {
            Some(_) => self.in_a_row.saturating_add(1),
            None => 0,
        };
    }

    /// What the last probe met, and how many have failed in a row by now; `None` where it succeeded.
    pub(super) fn failures(self) -> Option<(Failure, u32)> {
        Some((self.last?, self.in_a_row))
    }

    /// Whether the failure that was noted last is the one that is enough. Those that were are not counted again.
    pub(super) fn is_due(self, detection: &OutlierDetection) -> bool {
        let threshold = detection.threshold();
        threshold.is_some_and(|enough| self.in_a_row > 0 && self.in_a_row.is_multiple_of(enough))
    }
}
