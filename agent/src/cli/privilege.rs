//! Whether this process may do what a command needs, asked before the command begins: the kernel's own EPERM names nothing.

use anyhow::{Context, Result};

use crate::dataplane::rights;

use super::exit::Refusal;

/// Refuses with the names of the capabilities that are missing.
pub(super) fn require(command: &'static str) -> Result<()> {
    let missing = rights::missing().context("asking for our capabilities")?;
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" and ");
    Err(Refusal::NoPermission { command, missing }.into())
}
