//! What is known now: facts folded into a [`Registry`], frozen into a [`Snapshot`] for the compiler.
//!
//! This stage is pure. What it holds depends on the facts that hold now, never on the order in which they came.

pub mod fact;
pub mod registry;
pub mod snapshot;
pub mod vip;

pub use fact::{Answer, Fact, FileFact, SourceId};
pub use registry::Registry;
pub use snapshot::{Node, Snapshot};
pub use vip::{VipRanges, VipTable};
