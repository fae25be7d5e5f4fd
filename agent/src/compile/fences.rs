//! What leads clients to an endpoint that policies deny them without its being picked: its own address, where that is dialled,
//! and services that leave the address as it is.

use std::collections::{BTreeMap, HashMap, hash_map};
use std::sync::Arc;

use agent_common::abi::DEFAULT_SCOPE;
use ipnet::IpNet;

use super::access::Subject;
use super::frontends::Claimant;
use super::hosts::{Declared, Host};
use super::mesh::{Site, Spot};
use super::program::{Action, Destination, Frontend, Service, ServiceKey};
use super::spread::Cluster;

/// Endpoints that are denied, or would be, each with the service that does so, by its place among the claimants.
#[derive(Clone, Debug, Default)]
pub(super) struct Fences(BTreeMap<Spot, usize>);

impl FromIterator<(Spot, usize)> for Fences {
    fn from_iter<I: IntoIterator<Item = (Spot, usize)>>(fences: I) -> Self {
        Self(fences.into_iter().collect())
    }
}

impl Fences {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Spot, usize)> {
        self.0.iter().map(|(spot, claimant)| (*spot, *claimant))
    }

    /// Puts the fences before what leads around them. What users declared, and what names resolved to, keeps its destinations
    /// where it picks endpoints, as those are judged one by one. What only would be denied has what nothing else leads to, and
    /// yields to what clients are told.
    pub(super) fn close(
        &self,
        winners: &mut HashMap<Frontend, usize>,
        learned: &mut Vec<Frontend>,
        claimants: &[Claimant],
    ) {
        if self.0.is_empty() {
            return;
        }
        let target = |winner: usize, port: u16| claimants[winner].service.original_port(port);
        let is_denying = |fence: &usize| claimants[*fence].service.is_denied();
        let denying = |spot: &Spot| self.0.get(spot).copied().filter(is_denying);
        learned.retain(|frontend| {
            let Destination::Address(address) = frontend.destination else {
                return true;
            };
            let port = target(winners[frontend], frontend.port).unwrap_or(frontend.port);
            let fence = denying(&(address, port, frontend.transport));
            if let Some(fence) = fence {
                winners.insert(*frontend, fence);
            }
            fence.is_none()
        });
        let mut around = Vec::new();
        for (frontend, winner) in &mut *winners {
            let Some(port) = target(*winner, frontend.port) else {
                continue;
            };
            match frontend.destination {
                Destination::Address(address) => {
                    let fence = denying(&(address, port, frontend.transport));
                    *winner = fence.unwrap_or(*winner);
                }
                Destination::Prefix(net) => around.push((net, *frontend, port)),
            }
        }
        for (net, frontend, port) in around {
            let within = self.iter().filter(|((address, at, transport), fence)| {
                (*at, *transport) == (port, frontend.transport)
                    && net.contains(address)
                    && is_denying(fence)
            });
            for ((address, ..), fence) in within {
                let passed = at((address, frontend.port, frontend.transport));
                winners.entry(passed).or_insert(fence);
            }
        }
        for (spot, fence) in self.iter() {
            if let hash_map::Entry::Vacant(vacant) = winners.entry(at(spot)) {
                vacant.insert(fence);
                learned.extend((!is_denying(&fence)).then(|| at(spot)));
            }
        }
    }
}

/// The service of those who dial an endpoint of the mesh itself: they get there, unless policies deny it.
pub(super) fn service(spot: Spot, site: &Site, host: &Host<'_>) -> (ServiceKey, Service) {
    let (address, port, transport) = spot;
    let Declared {
        entry,
        port: declared,
    } = host.ports[site.port];
    let key = ServiceKey {
        namespace: Arc::clone(&host.namespace),
        host: Arc::clone(&host.name),
        port,
        transport,
        route: Some(format!("at {address}").into()),
        clients: None,
    };
    let subject = Subject {
        addresses: [IpNet::from(address)].into(),
        port: None,
        workloads: Arc::clone(&site.workloads),
        workload_port: port,
    };
    let service = Service {
        protocol: declared.protocol,
        port_name: declared.name.clone(),
        resolution: entry.spec.resolution,
        action: Action::Original { port: None },
        endpoints: Vec::new(),
        clusters: vec![Cluster::of(Arc::clone(&host.name))],
        subject: Some(Arc::new(subject)),
        access: None,
        unserved: 0,
        object: Arc::clone(&entry.id),
        origin: entry.meta.origin.clone(),
        reasons: vec!["the endpoint itself is dialled, and not the service".to_owned()],
    };
    (key, service)
}

fn at((address, port, transport): Spot) -> Frontend {
    Frontend {
        destination: Destination::Address(address),
        port,
        transport,
        scope: DEFAULT_SCOPE,
    }
}
