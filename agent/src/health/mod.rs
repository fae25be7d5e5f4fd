//! How are endpoints? What became of connects to them, folded into who is left out, who is let in again, and who is new.
//!
//! Pure: what happens is told, and when it happens is an argument. The answer is a fact for the registry.

mod ejection;
mod kept;
mod monitor;
mod probes;
mod row;
mod warmup;

pub use kept::{KeptEndpoint, KeptHealth, KeptService};
pub use monitor::{Failure, Monitor, Record, Records, ServiceRecords};
pub use probes::{Place, Probe, Schedule, Turn};

#[cfg(test)]
mod tests;
