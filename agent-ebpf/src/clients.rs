//! Who the client is: what is known of its cgroup, or of one around it.

use agent_common::abi::ClientWord;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG};
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use aya_ebpf::macros::btf_map;

use crate::maps;

#[btf_map]
static SCOPES: HashMap<u64, ClientWord, 1, { (BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG) as usize }> =
    HashMap::new();

/// Who the current process is. A container that has just begun, or one that makes cgroups of its own, is known by the cgroup of
/// its workload.
#[inline(always)]
pub fn current() -> ClientWord {
    let Some(config) = maps::config() else {
        return ClientWord::default();
    };
    // SAFETY: in a map value, and the agent may write it meanwhile: read whole.
    let levels = unsafe { (&raw const config.levels).cast::<u32>().read_volatile() };
    if levels != 0 {
        // SAFETY: a helper without preconditions.
        if let Some(client) = of(unsafe { bpf_get_current_cgroup_id() }) {
            return client;
        }
        for level in levels.to_ne_bytes() {
            if level == 0 {
                break;
            }
            // SAFETY: as above; there is no cgroup 0, which is what it says of a level that is deeper than the process.
            let ancestor = unsafe { bpf_get_current_ancestor_cgroup_id(i32::from(level)) };
            if let Some(client) = of(ancestor) {
                return client;
            }
        }
    }
    // SAFETY: as the levels.
    unsafe { (&raw const config.client).read_volatile() }
}

#[inline(always)]
fn of(cgroup: u64) -> Option<ClientWord> {
    let word = SCOPES.get_ptr(&cgroup)?;
    // SAFETY: the element stays mapped while a program runs, and an aligned word is read whole.
    Some(unsafe { word.read_volatile() })
}
