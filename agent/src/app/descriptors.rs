//! How many files may the agent have open, and is that enough?

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// About 130 are for programs, maps and what names are asked by; others are for directories, the resolver, probes and clients.
const NEEDED: u64 = 256;

/// Takes all that the process may have: the lower limit is for programs that use select(2).
pub(super) fn take_all() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

/// Fails before anything else would, half-way.
pub(super) fn ensure_enough() -> Result<()> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        limit >= NEEDED,
        "the limit of {limit} open files is too low: the agent needs {NEEDED}; raise it by LimitNOFILE= in the unit, or `ulimit -n`"
    );
    Ok(())
}
