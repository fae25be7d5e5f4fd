//! What the agent publishes for readers after each update: one moment, immutable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::api::Diagnostic;
use crate::compile::Compiled;
use crate::health::Records;
use crate::model::Snapshot;

/// One published state of the agent.
#[derive(Clone, Debug)]
pub struct State {
    /// Counts publications; 0 before the first.
    pub generation: u64,
    pub started: SystemTime,
    /// The time of day at which the clock was at zero that `ejections` go by.
    pub epoch: SystemTime,
    /// Whether the programs are attached.
    pub ready: bool,
    pub cgroups: Vec<PathBuf>,
    pub snapshot: Arc<Snapshot>,
    pub compiled: Arc<Compiled>,
    /// Endpoints that were ejected; times in them are since `epoch`.
    pub ejections: Records,
    /// What is wrong with the files and the objects in them.
    pub file_diagnostics: Arc<[Diagnostic]>,
    /// What the maps could not take.
    pub dataplane_diagnostics: Arc<[Diagnostic]>,
    pub updated: SystemTime,
    /// What the last update took, from the first fact folded to the maps.
    pub took: Duration,
}

impl State {
    /// The state before anything is known. At its start the clock of ejections shows `clock`.
    pub fn initial(started: SystemTime, clock: Duration, cgroups: Vec<PathBuf>) -> Self {
        Self {
            generation: 0,
            started,
            epoch: started.checked_sub(clock).unwrap_or(started),
            ready: false,
            cgroups,
            snapshot: Arc::default(),
            compiled: Arc::default(),
            ejections: Records::default(),
            file_diagnostics: Arc::default(),
            dataplane_diagnostics: Arc::default(),
            updated: started,
            took: Duration::ZERO,
        }
    }

    /// Everything that is wrong, or not carried out.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        let compiled = self.compiled.diagnostics.iter();
        let of_files = self.file_diagnostics.iter();
        of_files.chain(compiled).chain(&*self.dataplane_diagnostics)
    }
}
