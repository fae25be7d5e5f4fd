//! Where facts come from: directories of YAML, the resolver, the cgroups and what else is around the agent. Sources know objects and facts, and nothing of what
//! becomes of them.

pub mod cgroups;
pub mod directory;
pub mod dns;
mod file;
pub mod input;
mod last_good;
pub mod store;
pub mod surroundings;

pub use directory::{Directory, DirectoryStatus};
pub use dns::{NameStatus, Refresher, RefresherSettings, Timing, Upstream};
pub use input::{Input, InputError, read_paths};
pub use last_good::LastGood;
