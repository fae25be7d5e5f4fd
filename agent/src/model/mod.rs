//! What is known now: facts folded into a [`Registry`], frozen into a [`Snapshot`] for the compiler.
//!
//! This stage is pure. What it holds depends on the facts that hold now, never on the order in which they came.

mod ends;
pub mod fact;
mod file;
#[cfg(test)]
pub(crate) mod fixtures;
mod health;
mod learned;
mod recent;
pub mod registry;
pub mod snapshot;
mod time;
pub mod vip;

pub use fact::{Answer, Fact, FileFact, SourceId};
pub use file::outlives;
pub use health::{ServiceKey, ServiceVitals, Vital, Vitals};
pub use learned::{LearnedChanges, LearnedEnds, LearnedLimits};
pub use registry::Registry;
pub use snapshot::{Node, Snapshot, Surroundings};
pub use time::UnixTime;
pub use vip::{VipRanges, VipTable, VipTableError, Vips};

/// The codes of what this stage finds. Stable: others suppress and script by them.
pub mod codes {
    /// The same kind, namespace and name is declared twice.
    pub const DUPLICATE_OBJECT: &str = "SH2001";
    /// A file exists but cannot be read.
    pub const FILE_UNREADABLE: &str = "SH2002";
    /// What an object said before its document broke is still in force.
    pub const LAST_GOOD_IN_FORCE: &str = "SH2003";
    /// No address is left for a host.
    pub const VIPS_EXHAUSTED: &str = "SH2004";
}
