//! Who the clients are: the scopes that they are divided into, and what each scope may reach beyond what is registered for it.
//! Plain data, a part of the program.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_common::abi::{DEFAULT_SCOPE, Exemption, Outbound};
use imbl::OrdMap;
use ipnet::IpNet;

/// Clients for which everything is the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Who they are, for people; empty for the default scope.
    pub name: Arc<str>,
    pub outbound: Outbound,
    /// Which object says so, where it is not the mesh.
    pub policy: Option<Arc<str>>,
    /// Scopes with the same number are told the same of names.
    pub names: u16,
}

/// All clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// By id; the default scope is always there.
    pub scopes: BTreeMap<u32, Scope>,
    /// The scope of each cgroup that is known, by the kernel's id of the cgroup. Empty where there is but the default scope.
    pub cgroups: OrdMap<u64, u32>,
    /// How deep in the hierarchy the cgroups of workloads are, the deepest first: there the kernel looks for who a cgroup
    /// belongs to that is not known yet. The root is 0 deep.
    pub levels: Vec<u8>,
    /// What may be reached though nothing claims it.
    pub exempt: BTreeMap<IpNet, Exemption>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            scopes: BTreeMap::from([(DEFAULT_SCOPE, Scope::default())]),
            cgroups: OrdMap::new(),
            levels: Vec::new(),
            exempt: BTreeMap::new(),
        }
    }
}

/// The same where the longest CIDR that holds an address decides alone: what is within one that is exempt on every port is so,
/// too.
#[must_use]
pub fn by_longest(exempt: &BTreeMap<IpNet, Exemption>) -> BTreeMap<IpNet, Exemption> {
    let everywhere = exempt.iter();
    let everywhere = everywhere.filter(|(_, exemption)| **exemption == Exemption::Destination);
    let everywhere: Vec<&IpNet> = everywhere.map(|(net, _)| net).collect();
    let exemption = |net: &IpNet| {
        if everywhere.iter().any(|wider| wider.contains(net)) {
            Exemption::Destination
        } else {
            Exemption::NameServer
        }
    };
    exempt.keys().map(|net| (*net, exemption(net))).collect()
}
