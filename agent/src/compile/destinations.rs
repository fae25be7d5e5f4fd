//! Where clients find a host: at the addresses that users declared, at automatic ones, and at what its name resolves to.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{Diagnostic, Resolution, Severity};
use crate::model::{Snapshot, vip};

use super::codes;
use super::endpoints::answered;
use super::frontends::{Claims, Rank};
use super::hosts::Host;
use super::names::Saying;
use super::routes::Branch;

/// Where clients find a host.
pub(super) struct Destinations {
    addresses: BTreeSet<IpNet>,
    vips: Vec<IpAddr>,
    resolved: Vec<IpAddr>,
    /// What the name server says of the host, where it says anything.
    pub(super) saying: Option<Saying>,
}

impl Destinations {
    pub(super) fn of(host: &Host, vips: &Vips, snapshot: &Snapshot) -> Self {
        let name = host.resolvable.as_ref();
        let mut resolved = name.map_or_else(Vec::new, |n| answered(snapshot, n));
        resolved.retain(|address| is_dialable(*address) && !snapshot.vip_ranges.contains(*address));
        let (addresses, vips) = (addresses(host), vips.of(host));
        Self {
            saying: saying(host, &addresses, &vips),
            addresses,
            vips,
            resolved,
        }
    }

    /// Divides them by routes that are for some subnets alone: what each of those takes, and what none does. Of the subnets
    /// that hold an address the longest decides, of equal ones the first, as for Envoy's filter chains.
    pub(super) fn divide(&self, branches: &[Branch]) -> (Vec<Part>, Part) {
        let mut parts: Vec<Part> = branches.iter().map(|_| Part::default()).collect();
        let mut rest = Part::default();
        let vips = self.vips.iter().map(|vip| IpNet::from(*vip));
        for net in self.addresses.iter().copied().chain(vips) {
            let mut inner = BTreeSet::new();
            for (place, branch) in branches.iter().enumerate() {
                let within = |subnet: &&IpNet| net.contains(*subnet) && **subnet != net;
                for subnet in branch.subnets.iter().filter(within) {
                    if inner.insert(*subnet) {
                        parts[place].declared.push(*subnet);
                    }
                }
            }
            let part = holder(net, branches).map_or(&mut rest, |place| &mut parts[place]);
            part.declared.push(net);
        }
        for address in &self.resolved {
            let holder = holder(IpNet::from(*address), branches);
            let part = holder.map_or(&mut rest, |place| &mut parts[place]);
            part.resolved.push(*address);
        }
        (parts, rest)
    }

    /// Whether clients find the host where other servers say that it is.
    pub(super) fn learns(&self) -> bool {
        matches!(self.saying, Some(Saying::Learned))
    }

    /// Whether clients that ask for the name are told addresses that exist only here.
    pub(super) fn are_automatic(&self) -> bool {
        self.addresses.is_empty() && !self.vips.is_empty()
    }

    /// A wildcard without addresses is reached by the names that clients asked us for.
    pub(super) fn unreachable(&self, host: &Host) -> Option<Diagnostic> {
        let entry = host.entries.first()?;
        if host.resolvable.is_some() || !self.addresses.is_empty() || host.ports.is_empty() {
            return None;
        }
        let (severity, message) = match self.saying {
            Some(Saying::Learned) => (
                Severity::Info,
                format!(
                    "{} has no address of its own: connects to it are recognised only where clients ask the agent's name server for the name",
                    host.name
                ),
            ),
            Some(Saying::OnDemand | Saying::Addresses(_)) => return None,
            None => (
                Severity::Warning,
                format!(
                    "no destination leads to {}: its label forbids automatic addresses",
                    host.name
                ),
            ),
        };
        let found = Diagnostic::about(severity, codes::UNREACHABLE_HOST, entry.meta, message);
        Some(
            found
                .at("spec.hosts", 0)
                .hint("give the entry spec.addresses, or list its hosts"),
        )
    }
}

/// Destinations of a host that lead to the same.
#[derive(Default)]
pub(super) struct Part {
    declared: Vec<IpNet>,
    resolved: Vec<IpAddr>,
}

impl Part {
    pub(super) fn is_empty(&self) -> bool {
        self.declared.is_empty() && self.resolved.is_empty()
    }

    /// All addresses of it.
    pub(super) fn all(&self) -> Arc<[IpNet]> {
        let resolved = self.resolved.iter().map(|address| IpNet::from(*address));
        self.declared.iter().copied().chain(resolved).collect()
    }

    pub(super) fn claim(&self, claims: &mut Claims, claimant: usize, rank: Rank) {
        for net in &self.declared {
            claims.declare(claimant, rank, *net);
        }
        for address in &self.resolved {
            claims.resolve(claimant, rank, *address);
        }
    }
}

/// Which of the branches is for all of `net`.
fn holder(net: IpNet, branches: &[Branch]) -> Option<usize> {
    let of_branch = |(place, branch): (usize, &Branch)| {
        let subnets = branch.subnets.iter().filter(|subnet| subnet.contains(&net));
        let longest = subnets.map(IpNet::prefix_len).max()?;
        Some((longest, Reverse(place)))
    };
    let longest = branches.iter().enumerate().filter_map(of_branch).max();
    longest.map(|(_, Reverse(place))| place)
}

/// What the name server says of the host, where it says anything. Where only CIDRs lead to a host, or somebody decided
/// that it shall have no address, its name is left alone.
fn saying(host: &Host, addresses: &BTreeSet<IpNet>, vips: &[IpAddr]) -> Option<Saying> {
    let entry = host.entries.first()?;
    if host.ports.is_empty() {
        return None;
    }
    let single = addresses.iter();
    let declared: Vec<IpAddr> = single
        .filter(|net| net.prefix_len() == net.max_prefix_len())
        .map(IpNet::addr)
        .collect();
    if !declared.is_empty() {
        return Some(Saying::Addresses(declared.into()));
    }
    if !vips.is_empty() {
        return Some(Saying::Addresses(vips.into()));
    }
    if !addresses.is_empty() {
        return None;
    }
    match (entry.spec.resolution, &host.resolvable) {
        (Resolution::DynamicDns, None) => {
            let mut entries = host.entries.iter();
            let is_eligible = entries.any(|entry| vip::is_eligible(entry.meta, entry.spec));
            is_eligible.then_some(Saying::OnDemand)
        }
        (Resolution::None, _) | (_, None) => Some(Saying::Learned),
        _ => None,
    }
}

/// Whether a client can mean a service by this address: not where it means another host on each link, or many. Loopback is
/// one where services run beside their clients.
pub(super) fn is_dialable(address: IpAddr) -> bool {
    let is_of_link = match address {
        IpAddr::V4(v4) => v4 == Ipv4Addr::BROADCAST,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_unspecified() && !address.is_multicast() && !is_of_link
}

/// The addresses that users declared for the host: every port is reachable at every one of them.
fn addresses(host: &Host) -> BTreeSet<IpNet> {
    let written = host.entries.iter().flat_map(|entry| &entry.spec.addresses);
    written
        .map(|net| canonical(net.trunc()))
        .filter(|net| net.prefix_len() < net.max_prefix_len() || is_dialable(net.addr()))
        .collect()
}

/// A v4-mapped prefix as the IPv4 prefix that it is: the kernel sees no difference.
pub(super) fn canonical(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_canonical() {
            IpAddr::V4(v4) => {
                IpNet::new(v4.into(), v6.prefix_len() - 96).expect("at most 128 less 96 bits")
            }
            IpAddr::V6(_) => net,
        },
        IpNet::V4(_) | IpNet::V6(_) => net,
    }
}

/// Automatic addresses, found without going through the table.
pub(super) struct Vips<'a>(HashMap<(&'a str, &'a str), vip::Vips>);

impl<'a> Vips<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let all = snapshot.vips.iter();
        Self(
            all.map(|(namespace, host, vips)| ((namespace, host), vips))
                .collect(),
        )
    }

    /// The automatic addresses of the host: those that Istio allocated, or else ours.
    fn of(&self, host: &Host) -> Vec<IpAddr> {
        let mut eligible = host
            .entries
            .iter()
            .filter(|entry| vip::is_eligible(entry.meta, entry.spec))
            .peekable();
        if host.resolvable.is_none() || eligible.peek().is_none() {
            return Vec::new();
        }
        let given = eligible
            .map(|entry| vip::status_addresses(entry.spec, &host.name).collect::<Vec<_>>())
            .find(|addresses| !addresses.is_empty());
        given.unwrap_or_else(|| {
            let vips = self.0.get(&(&*host.namespace, &*host.name));
            vips.map_or_else(Vec::new, |vips| vec![vips.v4.into(), vips.v6.into()])
        })
    }
}
