//! A thread of another process that hangs: it is stopped as a debugger stops it, and no other with it.
#![expect(unsafe_code, reason = "ptrace(2)")]

use std::io;
use std::ptr::{null_mut, without_provenance_mut};

use anyhow::{Context, Result};

/// The thread goes on, or is gone, when this is dropped, which must be where it was made.
#[derive(Debug)]
pub struct HungThread {
    id: i32,
}

impl HungThread {
    pub fn new(id: i32) -> Result<Self> {
        ptrace(libc::PTRACE_SEIZE, id).context("taking hold of a thread")?;
        let hung = Self { id };
        ptrace(libc::PTRACE_INTERRUPT, id).context("stopping a thread")?;
        hung.wait()?;
        Ok(hung)
    }

    /// Returns when it has stopped, or is gone.
    fn wait(&self) -> io::Result<()> {
        // SAFETY: no status is asked for.
        if unsafe { libc::waitpid(self.id, null_mut(), libc::__WALL) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for HungThread {
    fn drop(&mut self) {
        // One that its process has taken along is to be waited for, before anybody hears of the end of the process.
        if ptrace(libc::PTRACE_DETACH, self.id).is_err()
            && let Err(error) = self.wait()
        {
            eprintln!("waiting for the thread {}: {error}", self.id);
        }
    }
}

fn ptrace(request: libc::c_uint, id: i32) -> io::Result<()> {
    let nothing = without_provenance_mut::<libc::c_void>(0);
    // SAFETY: these requests neither read nor write our memory.
    if unsafe { libc::ptrace(request, id, nothing, nothing) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
