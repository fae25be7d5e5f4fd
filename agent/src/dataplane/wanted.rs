//! What the tables should hold, in their terms: the program, and the CIDRs that PREFIXES must tell apart.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use agent_common::abi::{Config, Range};
use ipnet::{IpNet, Ipv4Net};

use crate::compile::{Destination, Program};

use super::address;

/// Bits that v4-mapped addresses have in common.
const MAPPED_BITS: u8 = 96;

#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub program: &'a Program,
    pub prefixes: BTreeSet<IpNet>,
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
        if prefixes.iter().any(|&net| covers_mapped(net)) {
            // An IPv6 CIDR must not catch IPv4 destinations: they find this one, which has no ports of its own.
            prefixes.insert(IpNet::V4(Ipv4Net::default()));
        }
        Self { program, prefixes }
    }

    /// The rest is as in `base`, which does not come of the program.
    pub(super) fn config(&self, base: &Config) -> Config {
        let ranges = self.program.vip_ranges;
        Config {
            has_prefixes: u32::from(!self.prefixes.is_empty()),
            vip_v4: address::range(IpNet::V4(ranges.v4)),
            vip_v6: address::range(IpNet::V6(ranges.v6)),
            ..*base
        }
    }
}

fn covers_mapped(net: IpNet) -> bool {
    let (base, bits) = address::from_net(net);
    let any_v4 = address::from_ip(Ipv4Addr::UNSPECIFIED.into());
    matches!(net, IpNet::V6(_))
        && bits <= MAPPED_BITS
        && (bits == 0 || Range::new(base, bits).contains(any_v4))
}
