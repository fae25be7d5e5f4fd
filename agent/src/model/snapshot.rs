//! One moment's knowledge, complete and immutable: all that the compiler sees.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use ipnet::IpNet;

use crate::api::{Locality, MeshConfig, Object};

use super::fact::Answer;
use super::health::Vitals;
use super::vip::{VipRanges, VipTable};

/// What is particular to the node that shunt runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub locality: Locality,
    /// Empty: every endpoint is in reach.
    pub network: String,
    /// What may be reached without being registered, also where only what is registered may be.
    pub internal: Vec<IpNet>,
    /// Policies deny nothing: what they would have denied is told.
    pub is_audited: bool,
}

/// What is around the agent, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The node's own.
    pub addresses: BTreeSet<IpAddr>,
    /// That are in use.
    pub name_servers: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Oldest first (`Meta::age_key`), one per id.
    pub objects: Vec<Arc<Object>>,
    pub mesh: MeshConfig,
    pub node: Node,
    /// By host name, lower case and without a trailing dot.
    pub answers: BTreeMap<Arc<str>, Answer>,
    /// Names with the addresses that clients were told of.
    pub learned: BTreeSet<(Arc<str>, IpAddr)>,
    /// Names that clients asked for, which are to have automatic addresses of their own.
    pub asked: BTreeSet<Arc<str>>,
    /// Covers every host of `objects` that needs one, and every name of `asked`, unless the ranges are exhausted. Holds hosts of the past too.
    pub vips: VipTable,
    pub vip_ranges: VipRanges,
    pub vitals: Vitals,
    /// By path, which starts with `/` at the root of the hierarchy: the kernel's id of the cgroup.
    pub cgroups: OrdMap<Arc<str>, u64>,
    pub surroundings: Surroundings,
}
