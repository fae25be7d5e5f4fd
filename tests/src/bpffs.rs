//! A BPF file system of one's own.
#![expect(unsafe_code, reason = "mount(2) and umount2(2)")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Mounted on a temporary directory, and unmounted on drop.
#[derive(Debug)]
pub struct TemporaryBpffs {
    directory: TempDir,
    target: CString,
}

impl TemporaryBpffs {
    pub fn new() -> Result<Self> {
        let directory = TempDir::new()?;
        let target = CString::new(directory.path().as_os_str().as_bytes())?;
        let kind = c"bpf".as_ptr();
        // SAFETY: NUL-terminated strings; data may be null.
        if unsafe { libc::mount(kind, target.as_ptr(), kind, 0, null()) } != 0 {
            return Err(io::Error::last_os_error()).context("mounting a BPF file system");
        }
        Ok(Self { directory, target })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for TemporaryBpffs {
    fn drop(&mut self) {
        // SAFETY: a NUL-terminated string.
        if unsafe { libc::umount2(self.target.as_ptr(), libc::MNT_DETACH) } != 0 {
            eprintln!(
                "{:?} stays mounted: {}",
                self.target,
                io::Error::last_os_error()
            );
        }
    }
}
