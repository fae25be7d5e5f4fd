//! Where things are in the source tree.

use std::path::{Path, PathBuf};

/// The top folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the repository")
}

/// Where everything that is built goes.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Tools that `setup` installs for this tree alone.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}
