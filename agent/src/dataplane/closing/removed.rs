//! Which sockets are still connected to endpoints that are gone?

use std::collections::{BTreeMap, BTreeSet};
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

/// The sockets among `flows` whose endpoint is not in `program`. Endpoints that are not `lingering` are in the tables as
/// ever, and are not looked at.
pub(in crate::dataplane) fn removed(
    flows: impl Iterator<Item = Flow>,
    names: &Names,
    lingering: &BTreeSet<u32>,
    program: &Program,
) -> Vec<Leftover> {
    let mut present = Present::new(program);
    let connected = flows.filter(Flow::is_connected);
    let lingering = connected.filter(|flow| lingering.contains(&flow.endpoint));
    let leftovers = lingering.filter_map(|flow| {
        let (service, address, port) = names.endpoint(flow.endpoint)?;
        let (target, endpoint) = (Target::of(&flow), (address, port));
        // What was half written when it was read names two.
        let is_gone = target.endpoint() == endpoint && !present.has(service, endpoint);
        is_gone.then(|| Leftover {
            target,
            service: service.clone(),
            endpoint,
        })
    });
    leftovers.collect()
}

/// The endpoints of the services that were asked about.
struct Present<'a> {
    program: &'a Program,
    endpoints: BTreeMap<&'a ServiceKey, BTreeSet<(IpAddr, u16)>>,
}

impl<'a> Present<'a> {
    fn new(program: &'a Program) -> Self {
        Self {
            program,
            endpoints: BTreeMap::new(),
        }
    }

    fn has(&mut self, service: &ServiceKey, endpoint: (IpAddr, u16)) -> bool {
        let Some((key, service)) = self.program.services.get_key_value(service) else {
            return false;
        };
        let endpoints = self.endpoints.entry(key).or_insert_with(|| {
            let endpoints = service.endpoints.iter();
            endpoints.map(|e| (e.address, e.port)).collect()
        });
        endpoints.contains(&endpoint)
    }
}

#[cfg(test)]
mod tests {
    use agent_common::abi::{CONNECTED, Port, TCP, UDP};

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
        cgroups: 64,
        exempt: 16,
    };

    fn key(host: &str) -> ServiceKey {
        ServiceKey {
            namespace: "default".into(),
            host: host.into(),
            port: 80,
            transport: UDP,
            route: None,
            clients: None,
        }
    }

    /// Ids of one endpoint each for two services; nothing of either is in a program.
    fn names() -> (Names, [Flow; 2]) {
        let mut names = Names::new(&LIMITS);
        let flows = ["a", "b"].map(|host| {
            let service = names.acquire_service(&key(host)).unwrap();
            let rewritten = address::from_ip([10, 0, 0, 1].into());
            let place = (service, rewritten, Port::new(8080));
            Flow {
                cookie: 7,
                rewritten,
                rewritten_port: place.2,
                endpoint: names.acquire_endpoint(&place).unwrap(),
                service,
                protocol: UDP,
                flags: CONNECTED,
                ..Flow::default()
            }
        });
        (names, flows)
    }

    fn of(flows: &[Flow], names: &Names, lingering: &[u32]) -> Vec<(u64, String)> {
        let found = removed(
            flows.iter().copied(),
            names,
            &lingering.iter().copied().collect(),
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
        let unconnected = Flow { flags: 0, ..flow };
        let torn = Flow {
            rewritten_port: Port::new(9),
            protocol: TCP,
            ..flow
        };
        assert_eq!(of(&[unconnected, torn], &names, &[flow.endpoint]), []);
    }
}
