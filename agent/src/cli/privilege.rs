//! Whether this process may do what a command needs, asked before the command begins: the kernel's own EPERM names nothing.

use anyhow::{Context, Result};
use rustix::thread::{CapabilitySet, capabilities};

use super::exit::Refusal;

/// Refuses with the names of the capabilities that are missing.
pub(super) fn require(command: &'static str) -> Result<()> {
    let held = capabilities(None)
        .context("asking for our capabilities")?
        .effective;
    let missing = missing(held);
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" and ");
    Err(Refusal::NoPermission { command, missing }.into())
}

fn missing(held: CapabilitySet) -> Vec<&'static str> {
    let bpf = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    let needs = [
        ("CAP_BPF", held.intersects(bpf)),
        ("CAP_NET_ADMIN", held.contains(CapabilitySet::NET_ADMIN)),
    ];
    let missing = needs.into_iter().filter(|(_, is_held)| !is_held);
    missing.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            missing(CapabilitySet::empty()),
            ["CAP_BPF", "CAP_NET_ADMIN"]
        );
        assert_eq!(missing(CapabilitySet::NET_ADMIN), ["CAP_BPF"]);
        let old_root = CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
        assert!(missing(old_root).is_empty());
    }
}
