//! What the tables should hold, in their terms: the program, the CIDRs that PREFIXES must tell apart, and
//! who the clients are.

use std::collections::{BTreeMap, BTreeSet};

use agent_common::abi::{ClientWord, Config};
use ipnet::{IpNet, Ipv4Net};

use crate::compile::{Destination, Program};

use super::{address, clients};

#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub program: &'a Program,
    pub prefixes: BTreeSet<IpNet>,
    /// Values of EXEMPT.
    pub exempt: BTreeMap<IpNet, u32>,
    pub clients: BTreeMap<u64, ClientWord>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(program: &'a Program) -> Self {
        let destinations = program
            .frontends
            .keys()
            .map(|frontend| frontend.destination);
        let mut prefixes: BTreeSet<IpNet> = destinations
            .filter_map(|destination| match destination {
                Destination::Prefix(net) => Some(net),
                Destination::Address(_) => None,
            })
            .collect();
        if prefixes.iter().any(|&net| address::covers_mapped(net)) {
            // An IPv6 CIDR must not catch IPv4 destinations: they find this one, which has no ports of its own.
            prefixes.insert(IpNet::V4(Ipv4Net::default()));
        }
        Self {
            program,
            prefixes,
            exempt: clients::exempt(&program.clients),
            clients: clients::of_cgroups(&program.clients),
        }
    }

    /// The rest is as in `base`, which does not come of the program.
    pub(super) fn config(&self, base: &Config) -> Config {
        let ranges = self.program.vip_ranges;
        Config {
            has_prefixes: u32::from(!self.prefixes.is_empty()),
            levels: clients::levels(&self.program.clients),
            client: clients::default_client(&self.program.clients),
            vip_v4: address::range(IpNet::V4(ranges.v4)),
            vip_v6: address::range(IpNet::V6(ranges.v6)),
            ..*base
        }
    }
}
