//! Addresses as the standard library has them, and as the kernel tables do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_common::abi::{Address, Range};
use ipnet::IpNet;

/// Bits of a v4-mapped address before its IPv4 part.
const MAPPED_BITS: u8 = 96;

/// As the tables have it: IPv4 as v4-mapped.
pub fn from_ip(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => Address::from_v4_octets(v4.octets()),
        IpAddr::V6(v6) => Address::from_octets(v6.octets()),
    }
}

/// As people write it: a v4-mapped address is IPv4.
pub fn to_ip(address: Address) -> IpAddr {
    Ipv6Addr::from(address.octets()).to_canonical()
}

/// The first address of the network, and its length in bits of the v4-mapped form.
pub(super) fn from_net(net: IpNet) -> (Address, u8) {
    let bits = match net {
        IpNet::V4(_) => MAPPED_BITS + net.prefix_len(),
        IpNet::V6(_) => net.prefix_len(),
    };
    (from_ip(net.network()), bits)
}

/// The network that [`from_net`] gives this of; `base` may be any address of it.
pub(super) fn to_net(base: Address, bits: u8) -> Option<IpNet> {
    let net = match (base.is_v4(), bits.checked_sub(MAPPED_BITS)) {
        (true, Some(of_v4)) => IpNet::new(to_ip(base), of_v4),
        // It holds more than v4-mapped addresses, though this is one.
        (true, None) => IpNet::new(Ipv6Addr::from(base.octets()).into(), bits),
        (false, _) => IpNet::new(to_ip(base), bits),
    };
    Some(net.ok()?.trunc())
}

/// Whether the CIDR is one of IPv6 that holds all v4-mapped addresses.
pub(super) fn covers_mapped(net: IpNet) -> bool {
    let (base, bits) = from_net(net);
    let any_v4 = from_ip(Ipv4Addr::UNSPECIFIED.into());
    matches!(net, IpNet::V6(_))
        && bits <= MAPPED_BITS
        && (bits == 0 || Range::new(base, bits).contains(any_v4))
}

pub(super) fn range(net: IpNet) -> Range {
    let (base, bits) = from_net(net);
    Range::new(base, bits)
}
