//! From a program to the kernel: what must change, and the one adapter that changes it. All of aya is here.
//!
//! A program becomes a plan (`plan`) against what is live (`live`), which the engine carries out on a store: the kernel's
//! maps (`kernel`) or tables in memory (`memory`), where the same decisions are made without root.

mod address;
mod alias;
mod cleanup;
mod engine;
mod findings;
mod group;
mod kernel;
mod live;
mod memory;
pub mod mounts;
mod names;
mod own_cgroup;
mod plan;
mod space;
mod store;
mod wanted;

#[cfg(test)]
mod tests;

pub use cleanup::cleanup;
pub use engine::Applied;
pub use kernel::{
    AttachError, Counts, Dataplane, EndpointCounts, Fill, KernelTables, LoadError, LoadOptions,
    ProgramFigures, ServiceCounts,
};
pub use memory::{MemoryDataplane, MemoryTables};
pub use names::Names;
