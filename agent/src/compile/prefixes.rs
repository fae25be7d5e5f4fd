//! CIDR destinations as the kernel looks them up: it asks for the longest prefix that holds an address first, and for
//! the port under that prefix second. Envoy asks the other way round, for the longest prefix among those with the
//! port. So a prefix takes on every port of the prefixes around it that it does not declare itself.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;

use super::program::{Destination, Frontend};

/// Everything of a frontend but its destination.
type Listener = (u16, u8, u32);

/// Adds to `winners` what prefixes take on from the prefixes around them.
pub(super) fn inherit(winners: &mut HashMap<Frontend, usize>) {
    let mut prefixes: BTreeMap<IpNet, BTreeMap<Listener, usize>> = BTreeMap::new();
    for (frontend, claimant) in &*winners {
        if let Destination::Prefix(net) = frontend.destination {
            let listener = (frontend.port, frontend.transport, frontend.scope);
            prefixes.entry(net).or_default().insert(listener, *claimant);
        }
    }
    // In this order a prefix comes right after those around it, and they are all on the stack, the longest on top.
    let mut around: Vec<(IpNet, BTreeMap<Listener, usize>)> = Vec::new();
    for (net, mut listeners) in prefixes {
        while around.pop_if(|(outer, _)| !outer.contains(&net)).is_some() {}
        for (listener, claimant) in around.last().iter().flat_map(|(_, outer)| outer) {
            let (port, transport, scope) = *listener;
            listeners.entry(*listener).or_insert_with(|| {
                let frontend = Frontend {
                    destination: Destination::Prefix(net),
                    port,
                    transport,
                    scope,
                };
                winners.insert(frontend, *claimant);
                *claimant
            });
        }
        around.push((net, listeners));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use agent_common::abi::{DEFAULT_SCOPE, TCP};

    use super::*;

    fn frontend(net: &str, port: u16) -> Frontend {
        Frontend {
            destination: Destination::Prefix(net.parse().unwrap()),
            port,
            transport: TCP,
            scope: DEFAULT_SCOPE,
        }
    }

    fn inherited(declared: &[(&str, u16)]) -> HashMap<Frontend, usize> {
        let pairs = declared.iter().zip(0..);
        let mut winners = pairs
            .map(|((net, port), i)| (frontend(net, *port), i))
            .collect();
        inherit(&mut winners);
        winners
    }

    #[test]
    fn a_longer_prefix_takes_on_the_ports_around_it_but_for_its_own() {
        let winners = inherited(&[
            ("10.0.0.0/8", 80),
            ("10.1.0.0/16", 443),
            ("10.1.2.0/24", 80),
            ("10.2.0.0/16", 22),
        ]);
        assert_eq!(winners[&frontend("10.1.0.0/16", 80)], 0);
        assert_eq!(
            winners[&frontend("10.1.2.0/24", 80)],
            2,
            "its own port stays its own"
        );
        assert_eq!(winners[&frontend("10.1.2.0/24", 443)], 1);
        assert_eq!(winners[&frontend("10.2.0.0/16", 80)], 0);
        assert_eq!(winners.len(), 7);
    }

    #[test]
    fn families_do_not_inherit_from_each_other() {
        assert_eq!(inherited(&[("::/0", 80), ("10.0.0.0/8", 443)]).len(), 2);
    }

    proptest! {
        #[test]
        fn asking_prefix_first_finds_what_asking_port_first_finds(
            declared in proptest::collection::vec((0u8..8, 0u8..4, 0u16..3), 1..12),
            address in 0u8..8,
            port in 0u16..3,
        ) {
            let nets: Vec<(String, u16)> = declared
                .iter()
                .map(|(base, bits, port)| {
                    let net: ipnet::Ipv4Net = format!("{}.0.0.0/{bits}", base << 5).parse().unwrap();
                    (net.trunc().to_string(), *port)
                })
                .collect();
            let declared: Vec<(&str, u16)> = nets.iter().map(|(net, port)| (net.as_str(), *port)).collect();
            let before: HashMap<Frontend, usize> =
                declared.iter().zip(0..).map(|((net, port), i)| (frontend(net, *port), i)).collect();
            let mut after = before.clone();
            inherit(&mut after);
            let address = std::net::IpAddr::from([address << 5, 0, 0, 1]);
            let longest = |table: &HashMap<Frontend, usize>, port: Option<u16>| {
                let holding = table.keys().filter(|f| port.is_none_or(|port| f.port == port));
                let nets = holding.filter_map(|f| match f.destination {
                    Destination::Prefix(net) if net.contains(&address) => Some(net),
                    _ => None,
                });
                nets.max_by_key(IpNet::prefix_len)
            };
            let port_first = longest(&before, Some(port)).map(|net| before[&frontend(&net.to_string(), port)]);
            let prefix_first = longest(&after, None)
                .and_then(|net| after.get(&frontend(&net.to_string(), port)).copied());
            prop_assert_eq!(port_first, prefix_first);
        }
    }
}
