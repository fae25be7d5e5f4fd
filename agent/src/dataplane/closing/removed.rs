//! Which sockets are still connected to endpoints that are gone?

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_common::abi::Flow;

use crate::compile::{Program, ServiceKey};
use crate::dataplane::names::Names;

use super::Target;

/// A socket that is connected to an endpoint that no service has any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    pub target: Target,
    pub service: ServiceKey,
    pub endpoint: (IpAddr, u16),
}

/// The sockets among `flows` whose endpoint is not in `program`. Only ids for which `is_lingering` holds are looked at: a
/// group that could not be replaced keeps its endpoints.
pub(in crate::dataplane) fn removed(
    flows: impl Iterator<Item = Flow>,
    names: &Names,
    is_lingering: impl Fn(u32) -> bool,
    program: &Program,
) -> Vec<Leftover> {
    let mut gone: BTreeMap<u32, Option<(ServiceKey, IpAddr, u16)>> = BTreeMap::new();
    let connected = flows.filter(|flow| flow.is_connected == 1);
    let lingering = connected.filter(|flow| is_lingering(flow.endpoint));
    let leftovers = lingering.filter_map(|flow| {
        let entry = gone.entry(flow.endpoint);
        let found = entry.or_insert_with(|| gone_endpoint(flow.endpoint, names, program));
        let (service, address, port) = found.as_ref()?;
        let target = Target::of(&flow);
        // What was half written when it was read names two.
        (target.endpoint() == (*address, *port)).then(|| Leftover {
            target,
            service: service.clone(),
            endpoint: (*address, *port),
        })
    });
    leftovers.collect()
}

fn gone_endpoint(id: u32, names: &Names, program: &Program) -> Option<(ServiceKey, IpAddr, u16)> {
    let (key, address, port) = names.endpoint(id)?;
    let is_there = program.services.get(key).is_some_and(|service| {
        let mut endpoints = service.endpoints.iter();
        endpoints.any(|endpoint| (endpoint.address, endpoint.port) == (address, port))
    });
    (!is_there).then(|| (key.clone(), address, port))
}

#[cfg(test)]
mod tests {
    use agent_common::abi::{Port, TCP, UDP};

    use crate::dataplane::{Limits, address};

    use super::*;

    const LIMITS: Limits = Limits {
        frontends: 1,
        prefixes: 1,
        cells: 1,
        services: 4,
        endpoints: 4,
        flows: 1024,
        replies: 1,
    };

    fn key(host: &str) -> ServiceKey {
        ServiceKey {
            namespace: "default".into(),
            host: host.into(),
            port: 80,
            transport: UDP,
        }
    }

    /// Ids of one endpoint each for two services; nothing of either is in a program.
    fn names() -> (Names, [Flow; 2]) {
        let mut names = Names::new(&LIMITS);
        let flows = ["a", "b"].map(|host| {
            let service = names.services.acquire(&key(host)).unwrap();
            let rewritten = address::from_ip([10, 0, 0, 1].into());
            let place = (service, rewritten, Port::new(8080));
            Flow {
                cookie: 7,
                rewritten,
                rewritten_port: place.2,
                endpoint: names.endpoints.acquire(&place).unwrap(),
                service,
                protocol: UDP,
                is_connected: 1,
                ..Flow::default()
            }
        });
        (names, flows)
    }

    fn of(flows: &[Flow], names: &Names, lingering: &[u32]) -> Vec<(u64, String)> {
        let is_lingering = |id| lingering.contains(&id);
        let found = removed(
            flows.iter().copied(),
            names,
            is_lingering,
            &Program::default(),
        );
        let shown = found
            .iter()
            .map(|l| (l.target.cookie, l.service.to_string()));
        shown.collect()
    }

    #[test]
    fn a_record_is_left_over_by_the_endpoint_that_it_names() {
        let (names, flows) = names();
        let lingering = [flows[1].endpoint];
        // The same address and port under another service is another endpoint.
        let expected = [(7, "default/b:80/udp".to_owned())];
        assert_eq!(of(&flows, &names, &lingering), expected);
    }

    #[test]
    fn what_is_unconnected_or_names_two_endpoints_is_left_alone() {
        let (names, [flow, _]) = names();
        let unconnected = Flow {
            is_connected: 0,
            ..flow
        };
        let torn = Flow {
            rewritten_port: Port::new(9),
            protocol: TCP,
            ..flow
        };
        assert_eq!(of(&[unconnected, torn], &names, &[flow.endpoint]), []);
    }
}
