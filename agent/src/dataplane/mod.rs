//! From a program to the kernel: what must change, and the one adapter that changes it. All of aya is here.
//!
//! A program becomes a plan (`plan`) against what is live (`live`), which the engine carries out on a store: the kernel's
//! maps (`kernel`) or tables in memory (`memory`), where the same decisions are made without root.

mod address;
mod alias;
mod bpf;
pub mod checks;
mod cleanup;
mod clients;
pub mod closing;
mod drift;
mod engine;
mod findings;
mod group;
mod identity;
mod inheritance;
mod kernel;
mod limits;
mod live;
mod memory;
pub mod mounts;
mod names;
mod neighbours;
mod own_cgroup;
mod plan;
pub mod rights;
mod space;
mod store;
mod wanted;

#[cfg(test)]
mod tests;

pub use address::{from_ip as abi_address, to_ip as ip_address};
pub use cleanup::cleanup;
pub use clients::client_word;
pub use drift::{Deviation, Drift, Part, Survey};
pub use engine::{Applied, Engine};
pub use kernel::{
    AttachError, Counts, Dataplane, Denials, EndpointCounts, Events, Fill, Heart, KernelTables,
    LISTENERS, Listeners, LoadError, LoadOptions, Origins, Outcomes, Pass, Pinned, ProgramFigures,
    ServiceCounts,
};
pub use limits::Limits;
pub use memory::{MemoryDataplane, MemoryMap, MemoryTables};
pub use names::Names;
pub use neighbours::{Neighbour, Running, running_at_connect};
pub use store::{Inventory, Map, MapFailure, Portion, PrefixKey, Store};
