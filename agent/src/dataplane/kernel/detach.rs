//! Detaching a pinned link at once. Removing the pin would detach too, but a moment later: the kernel lets go of a file's
//! inode after a grace period.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::dataplane::bpf;

/// After this the link that is pinned at `path` does nothing, whoever holds it.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    bpf::detach_link(bpf::get_pinned(path)?.as_fd())
}
