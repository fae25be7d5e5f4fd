//! Ending a pinned attachment at once. Removing the pin alone would end it too, but a moment later: the kernel lets go of a
//! file's inode after a grace period.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::dataplane::bpf;

/// After this the link that is pinned at `path` does nothing, whoever holds it, and the pin is gone.
pub(super) fn end(path: &Path) -> io::Result<()> {
    match bpf::get_pinned(path) {
        Ok(link) => end_link(link.as_fd(), path),
        Err(error) => {
            tracing::warn!(%error, pin = %path.display(), "the program is detached a moment later, with its pin");
            fs::remove_file(path)
        }
    }
}

/// The same of a link that is at hand. Its pin may be gone already.
pub(super) fn end_link(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    if let Err(error) = bpf::detach_link(link) {
        tracing::warn!(%error, pin = %path.display(), "the program is detached a moment later, with its pin");
    }
    remove_pin(path)
}

/// A pin that is gone is removed.
pub(super) fn remove_pin(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
