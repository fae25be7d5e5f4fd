//! The one owner of what is known.

use crate::api::Diagnostic;

use super::fact::{Fact, SourceId};
use super::snapshot::{Node, Snapshot};
use super::vip::{VipRanges, VipTable};

/// Folds facts into what is known now.
#[derive(Debug, Default)]
pub struct Registry {}

impl Registry {
    /// `vips` are those of an earlier run, which stay with their hosts.
    pub fn new(node: Node, ranges: VipRanges, vips: VipTable) -> Self {
        let _ = (node, ranges, vips);
        Self {}
    }

    /// Returns whether anything is different now.
    pub fn apply(&mut self, fact: Fact) -> bool {
        let _ = (&self, fact);
        true
    }

    /// Whether every one of `sources` has told what it held at its start.
    pub fn is_synced(&self, sources: &[SourceId]) -> bool {
        let _ = sources;
        true
    }

    /// Allocates VIPs where they are missing, and freezes.
    pub fn snapshot(&mut self) -> Snapshot {
        Snapshot::default()
    }

    /// What is wrong with the files, and with objects as parts of the whole (duplicates).
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        Vec::new()
    }
}
