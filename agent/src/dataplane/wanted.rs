//! What the tables should hold, in their terms: the program, and what longest-prefix matching needs beside it.
//!
//! PREFIXES gives the longest CIDR only, so that a CIDR inside another one must answer for the ports of the outer one too.

use std::collections::{BTreeMap, BTreeSet};

use agent_common::abi::Config;
use ipnet::{IpNet, Ipv4Net};

use crate::compile::{Destination, Frontend, Program, ServiceKey};

use super::address;

/// Bits that v4-mapped addresses have in common.
const MAPPED_BITS: u8 = 96;

#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub program: &'a Program,
    pub prefixes: BTreeSet<IpNet>,
    /// Frontends of inner CIDRs that the program lists for an outer one.
    inherited: BTreeMap<Frontend, &'a ServiceKey>,
}

/// What tells frontends of one destination apart: port, transport, scope.
type Door = (u16, u8, u32);

impl<'a> Wanted<'a> {
    pub(super) fn new(program: &'a Program) -> Self {
        let mut doors: BTreeMap<IpNet, BTreeMap<Door, &ServiceKey>> = BTreeMap::new();
        for (frontend, service) in &program.frontends {
            if let Destination::Prefix(net) = frontend.destination {
                let door = (frontend.port, frontend.transport, frontend.scope);
                doors.entry(net.trunc()).or_default().insert(door, service);
            }
        }
        let inherited = inherit(&doors);
        let mut prefixes: BTreeSet<IpNet> = doors.into_keys().collect();
        if prefixes.iter().any(|&net| covers_mapped(net)) {
            // An IPv6 CIDR must not catch IPv4 destinations: they find this one, which has no ports of its own.
            prefixes.insert(IpNet::V4(Ipv4Net::default()));
        }
        Self {
            program,
            prefixes,
            inherited,
        }
    }

    pub(super) fn frontends(&self) -> impl Iterator<Item = (Frontend, &'a ServiceKey)> {
        let inherited = self
            .inherited
            .iter()
            .map(|(&frontend, &service)| (frontend, service));
        let listed = self.program.frontends.iter();
        listed
            .map(|(frontend, service)| (*frontend, service))
            .chain(inherited)
    }

    pub(super) fn has_frontend(&self, frontend: &Frontend) -> bool {
        self.program.frontends.contains_key(frontend) || self.inherited.contains_key(frontend)
    }

    pub(super) fn config(&self, own_cgroup: u64) -> Config {
        let ranges = self.program.vip_ranges;
        Config {
            own_cgroup,
            has_prefixes: u32::from(!self.prefixes.is_empty()),
            vip_v4: address::range(IpNet::V4(ranges.v4)),
            vip_v6: address::range(IpNet::V6(ranges.v6)),
            ..Config::default()
        }
    }
}

/// The doors of every outer CIDR that an inner one does not list itself.
fn inherit<'a>(
    doors: &BTreeMap<IpNet, BTreeMap<Door, &'a ServiceKey>>,
) -> BTreeMap<Frontend, &'a ServiceKey> {
    let mut inherited = BTreeMap::new();
    for (&net, own) in doors {
        let outer = std::iter::successors(net.supernet(), IpNet::supernet);
        // From the nearest to the widest: the first that lists a door has it.
        for (&(port, transport, scope), &service) in outer.filter_map(|o| doors.get(&o)).flatten() {
            if !own.contains_key(&(port, transport, scope)) {
                let destination = Destination::Prefix(net);
                inherited
                    .entry(Frontend {
                        destination,
                        port,
                        transport,
                        scope,
                    })
                    .or_insert(service);
            }
        }
    }
    inherited
}

fn covers_mapped(net: IpNet) -> bool {
    let (base, bits) = address::from_net(net);
    let any_v4 = address::from_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    bits <= MAPPED_BITS
        && matches!(net, IpNet::V6(_))
        && (bits == 0 || agent_common::abi::Range::new(base, bits).contains(any_v4))
}
