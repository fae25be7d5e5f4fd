//! Automatic VIPs: one IPv4 and one IPv6 address for each (namespace, host) that has no address of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Where VIPs are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipRanges {
    pub v4: Ipv4Net,
    pub v6: Ipv6Net,
}

impl Default for VipRanges {
    /// Istio's own ranges.
    fn default() -> Self {
        Self {
            v4: Ipv4Net::new_assert(Ipv4Addr::new(240, 240, 0, 0), 16),
            v6: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vips {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// (namespace, host) → VIPs. Kept in the state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipTable(pub BTreeMap<(String, String), Vips>);
