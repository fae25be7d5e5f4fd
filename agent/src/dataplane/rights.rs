//! What must a process be allowed to do, to load, attach and fill the programs?

use std::io;

use rustix::thread::{CapabilitySet, capabilities};

/// All that an agent cannot do without, on any kernel that takes the programs.
pub const NEEDED: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::PERFMON);

/// Each of [`NEEDED`], and what the kernel takes for it. Without `CAP_PERFMON` the verifier refuses programs that keep a
/// pointer in a map.
const NEEDS: [(&str, CapabilitySet); 3] = [
    (
        "CAP_BPF",
        CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN),
    ),
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
    (
        "CAP_PERFMON",
        CapabilitySet::PERFMON.union(CapabilitySet::SYS_ADMIN),
    ),
];

/// The names of what this process lacks.
pub fn missing() -> io::Result<Vec<&'static str>> {
    Ok(missing_in(capabilities(None)?.effective))
}

fn missing_in(held: CapabilitySet) -> Vec<&'static str> {
    let missing = NEEDS.into_iter().filter(|(_, any)| !held.intersects(*any));
    missing.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"];
        assert_eq!(missing_in(CapabilitySet::empty()), all);
        assert_eq!(missing_in(CapabilitySet::NET_ADMIN), [all[0], all[2]]);
        assert!(missing_in(NEEDED).is_empty());
        let old_root = CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
        assert!(missing_in(old_root).is_empty());
    }
}
