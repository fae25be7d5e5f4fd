//! Where facts come from: directories of YAML, and the resolver. Sources know objects and facts, and nothing of what
//! becomes of them.

pub mod directory;
pub mod dns;
mod file;
pub mod input;

pub use directory::{Directory, DirectoryStatus};
pub use dns::{NameStatus, Refresher, RefresherSettings, Timing, Upstream};
pub use input::{Input, InputError, read_paths};
