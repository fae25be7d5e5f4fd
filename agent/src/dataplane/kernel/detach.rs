//! Ending a pinned attachment at once. Removing the pin alone would end it too, but a moment later: the kernel lets go of a
//! file's inode after a grace period.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::dataplane::bpf;

/// After this the link that is pinned at `path` does nothing, whoever holds it, and the pin is gone.
pub(super) fn end(path: &Path) -> io::Result<()> {
    let detached = bpf::get_pinned(path).and_then(|link| bpf::detach_link(link.as_fd()));
    if let Err(error) = detached {
        tracing::warn!(%error, pin = %path.display(), "the program is detached a moment later, with its pin");
    }
    fs::remove_file(path)
}
