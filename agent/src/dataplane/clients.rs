//! Clients as the tables have them: a word for each cgroup, the depths at which workloads are, and what is exempt.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use agent_common::abi::{ClientWord, DEFAULT_SCOPE, Exemption, LEVELS};
use ipnet::{IpNet, Ipv4Net};

use crate::compile::{Clients, by_longest};

use super::address;

/// What SCOPES says of a cgroup of that scope; `None` for a scope that there is not.
pub fn client_word(clients: &Clients, scope: u32) -> Option<ClientWord> {
    let of = clients.scopes.get(&scope)?;
    Some(ClientWord::new(scope, of.names, of.outbound))
}

/// Who a client is that no workload claims.
pub(super) fn default_client(clients: &Clients) -> ClientWord {
    client_word(clients, DEFAULT_SCOPE).unwrap_or_default()
}

/// Who is in each cgroup. Nobody, where the kernel does not look.
pub(super) fn of_cgroups(clients: &Clients) -> BTreeMap<u64, ClientWord> {
    if levels(clients) == [0; LEVELS] {
        return BTreeMap::new();
    }
    let cgroups = clients.cgroups.iter();
    cgroups
        .filter_map(|(&cgroup, &scope)| Some((cgroup, client_word(clients, scope)?)))
        .collect()
}

/// Where the kernel looks: the deepest of what is asked for.
pub(super) fn levels(clients: &Clients) -> [u8; LEVELS] {
    let wanted: BTreeSet<Reverse<u8>> = clients.levels.iter().copied().map(Reverse).collect();
    let mut levels = [0; LEVELS];
    for (level, Reverse(wanted)) in levels.iter_mut().zip(wanted) {
        *level = wanted;
    }
    levels
}

/// What EXEMPT holds. The kernel asks for the longest CIDR alone.
pub(super) fn exempt(clients: &Clients) -> BTreeMap<IpNet, u32> {
    let exempt = by_longest(&clients.exempt).into_iter();
    let exempt = exempt.map(|(net, exemption)| (net.trunc(), Exemption::value(Some(exemption))));
    let mut exempt: BTreeMap<IpNet, u32> = exempt.collect();
    if exempt.keys().any(|&net| address::covers_mapped(net)) {
        // An IPv6 CIDR exempts no IPv4 destination: they find this one.
        let any_v4 = IpNet::V4(Ipv4Net::default());
        exempt.entry(any_v4).or_insert(Exemption::value(None));
    }
    exempt
}

/// Whether one value of EXEMPT lets pass what another does not.
pub(super) fn is_wider(value: u32, other: u32) -> bool {
    let width = |value| match Exemption::from_value(value) {
        None => 0,
        Some(Exemption::NameServer) => 1,
        Some(Exemption::Destination) => 2,
    };
    width(value) > width(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_levels_are_looked_at_and_the_root_is_not() {
        let of = |asked: &[u8]| {
            levels(&Clients {
                levels: asked.to_vec(),
                ..Clients::default()
            })
        };
        assert_eq!(of(&[]), [0; 4]);
        assert_eq!(of(&[0]), [0; 4]);
        assert_eq!(of(&[2, 4, 4]), [4, 2, 0, 0]);
        assert_eq!(of(&[6, 5, 4, 3, 2, 1]), [6, 5, 4, 3]);
    }

    #[test]
    fn what_is_within_an_exempt_cidr_is_exempt_on_every_port() {
        let clients = Clients {
            exempt: [
                ("10.0.0.0/8", Exemption::Destination),
                ("10.0.0.10/32", Exemption::NameServer),
                ("192.0.2.53/32", Exemption::NameServer),
                ("::/0", Exemption::Destination),
            ]
            .map(|(net, exemption)| (net.parse().unwrap(), exemption))
            .into(),
            ..Clients::default()
        };
        let expected: BTreeMap<IpNet, u32> = [
            ("0.0.0.0/0", 0),
            ("10.0.0.0/8", 1),
            ("10.0.0.10/32", 1),
            ("192.0.2.53/32", 2),
            ("::/0", 1),
        ]
        .map(|(net, value)| (net.parse().unwrap(), value))
        .into();
        assert_eq!(exempt(&clients), expected);
    }
}
