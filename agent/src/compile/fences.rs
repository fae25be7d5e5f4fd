//! What leads clients to an endpoint that policies deny them without its being picked: its own address, where that is dialled,
//! and services that leave the address as it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use agent_common::abi::{DEFAULT_SCOPE, TCP};
use ipnet::IpNet;

use crate::api::Origin;

use super::access::Subject;
use super::catalog::Entry;
use super::frontends::Claimant;
use super::mesh::{Site, Spot};
use super::program::{Action, Destination, Frontend, Service, ServiceKey};
use super::spread::Cluster;

/// Where name servers are asked.
const DNS_PORT: u16 = 53;

/// Endpoints that are denied, or would be, each with the service that does so.
#[derive(Clone, Debug, Default)]
pub(super) struct Fences(BTreeMap<Spot, Fence>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    /// Place of the service among the claimants.
    pub(super) claimant: usize,
    /// Or else it only counts.
    pub(super) is_denying: bool,
}

impl FromIterator<(Spot, Fence)> for Fences {
    fn from_iter<I: IntoIterator<Item = (Spot, Fence)>>(fences: I) -> Self {
        Self(fences.into_iter().collect())
    }
}

/// Whether policies hold there for those who dial it: for TCP, as servers enforce them for that alone, and not where each network
/// namespace has something of its own, nor where queries for names are answered by the agent.
pub(super) fn may_stand((address, port, transport): &Spot) -> bool {
    *transport == TCP && !address.is_loopback() && *port != DNS_PORT
}

/// What leads to one port of any address: networks, the longest first.
type Around = HashMap<(u16, u8), Vec<(IpNet, usize)>>;

impl Fences {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Spot, Fence)> {
        self.0.iter().map(|(spot, fence)| (*spot, *fence))
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
        learned.retain(|frontend| {
            let Destination::Address(address) = frontend.destination else {
                return true;
            };
            let port = target(winners[frontend], frontend.port).unwrap_or(frontend.port);
            let fence = self.denying(&(address, port, frontend.transport));
            if let Some(fence) = fence {
                winners.insert(*frontend, fence);
            }
            fence.is_none()
        });
        let mut around = Around::new();
        for (frontend, winner) in &mut *winners {
            let listener = (frontend.port, frontend.transport);
            match (frontend.destination, target(*winner, frontend.port)) {
                (Destination::Address(address), Some(port)) => {
                    let fence = self.denying(&(address, port, frontend.transport));
                    *winner = fence.unwrap_or(*winner);
                }
                (Destination::Address(_), None) => {}
                (Destination::Prefix(net), _) => {
                    around.entry(listener).or_default().push((net, *winner));
                }
            }
        }
        for nets in around.values_mut() {
            nets.sort_by_key(|(net, _)| Reverse(net.prefix_len()));
        }
        let passed = self.passed(&around, winners, target);
        winners.extend(passed);
        for (spot, fence) in self.iter() {
            let frontend = at(spot);
            if winners.contains_key(&frontend) || longest(&around, spot).is_some() {
                continue;
            }
            winners.insert(frontend, fence.claimant);
            learned.extend((!fence.is_denying).then_some(frontend));
        }
    }

    fn denying(&self, spot: &Spot) -> Option<usize> {
        let fence = self.0.get(spot).filter(|fence| fence.is_denying);
        fence.map(|fence| fence.claimant)
    }

    /// Where networks that leave addresses as they are lead to what is denied.
    fn passed(
        &self,
        around: &Around,
        winners: &HashMap<Frontend, usize>,
        target: impl Fn(usize, u16) -> Option<u16>,
    ) -> Vec<(Frontend, usize)> {
        let mut passed = Vec::new();
        for ((port, transport), nets) in around {
            for (net, winner) in nets {
                let Some(to) = target(*winner, *port) else {
                    continue;
                };
                let within = (net.network(), 0, 0)..=(net.broadcast(), u16::MAX, u8::MAX);
                for ((address, at_port, of), fence) in self.0.range(within) {
                    let spot = (*address, *port, *transport);
                    let is_led = (*at_port, *of) == (to, *transport) && fence.is_denying;
                    if is_led
                        && !winners.contains_key(&at(spot))
                        && longest(around, spot) == Some(*net)
                    {
                        passed.push((at(spot), fence.claimant));
                    }
                }
            }
        }
        passed
    }
}

/// The longest network with that port around the address: it has what no address has for itself.
fn longest(around: &Around, (address, port, transport): Spot) -> Option<IpNet> {
    let nets = around.get(&(port, transport))?;
    let mut nets = nets.iter().map(|(net, _)| *net);
    nets.find(|net| net.contains(&address))
}

/// The service of those who get to an endpoint of the mesh by its own address: they do, unless policies deny it.
pub(super) fn service(spot: Spot, site: &Site, entry: &Entry<'_>) -> (ServiceKey, Service) {
    let (address, port, transport) = spot;
    let declared = &entry.spec.ports[site.port];
    let host: Arc<str> = entry.spec.hosts[0].as_str().into();
    let key = ServiceKey {
        namespace: Arc::clone(&entry.namespace),
        host: Arc::clone(&host),
        port,
        transport,
        route: Some(format!("at {address}").into()),
        clients: None,
    };
    let service = Service {
        protocol: declared.protocol,
        port_name: declared.name.clone(),
        resolution: entry.spec.resolution,
        action: Action::Original { port: None },
        endpoints: Vec::new(),
        clusters: vec![Cluster::of(host)],
        subject: Some(Arc::new(Subject::endpoint(
            address,
            port,
            Arc::clone(&site.workloads),
        ))),
        access: None,
        unserved: 0,
        object: Arc::clone(&entry.id),
        origin: Origin {
            file: Arc::clone(&entry.meta.origin.file),
            line: declared.line,
        },
        reasons: vec!["connects get there by the endpoint's own address".to_owned()],
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
