//! Which endpoints a port has: inline or selected, with address, target port and weight. Knows nothing of shares.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use crate::api::{
    Diagnostic, EndpointAddress, Locality, Meta, ObjectId, Origin, Resolution, ServicePort,
    Severity, WorkloadEntry,
};
use crate::model::{Answer, Snapshot};

use super::catalog::{Entry, Workloads};
use super::codes;
use super::hosts::{Host, resolvable};
use super::program::RefuseReason;

/// The annotation of objects whose endpoints are to be emptied: they stay endpoints, and get no new connects.
const DRAIN: &str = "shunt.internal/drain";

pub(super) type Labels = Arc<BTreeMap<String, String>>;

/// Where an endpoint can be reached: an address, or a name that has some.
#[derive(Clone)]
enum Target {
    Ip(IpAddr),
    Name(Arc<str>),
}

/// A usable endpoint of an entry, before port and address are known.
pub(super) struct Source<'a> {
    target: Target,
    ports: &'a BTreeMap<String, u16>,
    /// 0 for one that drains.
    pub(super) weight: u32,
    /// Whether its object says that it is unhealthy.
    pub(super) failing: bool,
    pub(super) locality: &'a Locality,
    /// Empty: the node's own.
    pub(super) network: &'a str,
    pub(super) labels: Labels,
    pub(super) object: Arc<ObjectId>,
    pub(super) origin: Origin,
}

/// What an entry has for endpoints, for all its hosts and ports alike.
#[derive(Default)]
pub(super) struct Sources<'a> {
    usable: Vec<Source<'a>>,
    /// The host itself is the endpoint.
    implicit: bool,
    /// Why others cannot be used.
    unusable: Option<RefuseReason>,
}

/// One address of one endpoint.
pub(super) struct Candidate<'a, 's> {
    pub(super) source: &'s Source<'a>,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) hostname: Option<Arc<str>>,
}

impl<'a> Sources<'a> {
    /// Whether there is nothing to send a connect to, and why.
    pub(super) fn refusal(&self) -> Option<RefuseReason> {
        let none = self.usable.is_empty() && !self.implicit;
        none.then_some(self.unusable).flatten()
    }

    /// Whether the host itself is the endpoint.
    pub(super) fn is_implicit(&self) -> bool {
        self.implicit
    }

    /// The names that must be kept resolved for these endpoints, but for the host's own.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.usable
            .iter()
            .filter_map(|source| match &source.target {
                Target::Name(name) => Some(name),
                Target::Ip(_) => None,
            })
    }

    /// These endpoints, or the host itself where it is its own endpoint.
    pub(super) fn of_host(&self, host: &Host, entry: &Entry<'a>) -> Option<Source<'a>> {
        let name = host.resolvable.clone()?;
        self.implicit.then(|| Source {
            target: Target::Name(name),
            ports: &NO_PORTS,
            weight: u32::from(!drains(entry.meta)),
            failing: false,
            locality: &NOWHERE,
            network: "",
            labels: no_labels(),
            object: Arc::clone(&entry.id),
            origin: entry.meta.origin.clone(),
        })
    }

    /// The addresses for `port`, in the order of the objects. `own` is what [`Self::of_host`] gave.
    pub(super) fn candidates<'s>(
        &'s self,
        own: Option<&'s Source<'a>>,
        resolution: Resolution,
        port: &ServicePort,
        snapshot: &Snapshot,
    ) -> Vec<Candidate<'a, 's>> {
        // Envoy's LOGICAL_DNS has one endpoint, and connects to the first address of its newest answer.
        let single = resolution == Resolution::DnsRoundRobin;
        let sources = self.usable.iter().chain(own);
        let limit = if single { 1 } else { usize::MAX };
        let mut candidates = Vec::with_capacity(self.usable.len());
        for source in sources.take(limit) {
            let number = source.ports.get(&port.name).copied();
            let number = number.or(port.target_port).unwrap_or(port.number);
            let candidate = |address, hostname| Candidate {
                source,
                address,
                port: number,
                hostname,
            };
            match &source.target {
                Target::Ip(address) => candidates.push(candidate(*address, None)),
                Target::Name(name) => {
                    let addresses = answered(snapshot, name);
                    let chosen = addresses.iter().take(limit);
                    candidates.extend(chosen.map(|a| candidate(*a, Some(Arc::clone(name)))));
                }
            }
        }
        candidates
    }
}

/// The addresses that `name` has now, IPv4 first, each once.
pub(super) fn answered(snapshot: &Snapshot, name: &str) -> Vec<IpAddr> {
    let Some(Answer { addresses, .. }) = snapshot.answers.get(name) else {
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    let mut addresses: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
    addresses.retain(|address| seen.insert(*address));
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}

static NOWHERE: Locality = Locality {
    region: String::new(),
    zone: String::new(),
    subzone: String::new(),
};
static NO_PORTS: BTreeMap<String, u16> = BTreeMap::new();

fn no_labels() -> Labels {
    static NONE: LazyLock<Labels> = LazyLock::new(Labels::default);
    Arc::clone(&NONE)
}

/// Whether the endpoints of an object are to get no new connects.
fn drains(meta: &Meta) -> bool {
    meta.annotations
        .get(DRAIN)
        .is_some_and(|value| value == "true")
}

/// An endpoint as it is written: in its entry, or as a workload of its own.
struct Written<'e, 'a> {
    spec: &'a WorkloadEntry,
    meta: &'e Meta,
    id: &'e Arc<ObjectId>,
    /// Which endpoint of the entry; `None` for a workload of its own, which was selected.
    index: Option<usize>,
}

/// Collects what `entry` has for endpoints; what cannot be used is reported.
pub(super) fn collect<'a>(
    entry: &Entry<'a>,
    workloads: &Workloads<'a>,
    snapshot: &'a Snapshot,
    diagnostics: &mut Vec<Diagnostic>,
) -> Sources<'a> {
    let spec = entry.spec;
    let mut sources = Sources::default();
    let by_name = match spec.resolution {
        Resolution::None => return sources,
        Resolution::Static => false,
        Resolution::Dns | Resolution::DnsRoundRobin | Resolution::DynamicDns => true,
    };
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        let written = Written {
            spec: endpoint,
            meta: entry.meta,
            id: &entry.id,
            index: Some(i),
        };
        sources.add(&written, by_name, snapshot, diagnostics);
    }
    match &spec.workload_selector {
        Some(selector) if spec.endpoints.is_empty() => {
            for workload in workloads.select(&entry.namespace, selector) {
                let written = Written {
                    spec: workload.spec,
                    meta: workload.meta,
                    id: &workload.id,
                    index: None,
                };
                sources.add(&written, by_name, snapshot, diagnostics);
            }
        }
        Some(_) => {}
        None => sources.implicit = by_name && spec.endpoints.is_empty(),
    }
    sources
}

impl<'a> Sources<'a> {
    fn add(
        &mut self,
        written: &Written<'_, 'a>,
        by_name: bool,
        snapshot: &Snapshot,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let target = match target(written, by_name, snapshot) {
            Ok(target) => target,
            Err((reason, diagnostic)) => {
                self.unusable = match (self.unusable, reason) {
                    (Some(RefuseReason::UnixSocket), _) | (_, None) => self.unusable,
                    (_, some) => some,
                };
                diagnostics.push(*diagnostic);
                return;
            }
        };
        let spec = written.spec;
        self.usable.push(Source {
            target,
            ports: &spec.ports,
            weight: if drains(written.meta) {
                0
            } else {
                spec.weight.max(1)
            },
            failing: spec.failing,
            locality: &spec.locality,
            network: &spec.network,
            labels: if spec.labels.is_empty() {
                no_labels()
            } else {
                Arc::new(spec.labels.clone())
            },
            object: Arc::clone(written.id),
            origin: Origin {
                file: Arc::clone(&written.meta.origin.file),
                line: spec.line,
            },
        });
    }
}

type Unusable = (Option<RefuseReason>, Box<Diagnostic>);

/// Where the endpoint is reached, or why it cannot be.
fn target(written: &Written, by_name: bool, snapshot: &Snapshot) -> Result<Target, Unusable> {
    let network = &written.spec.network;
    // Where either network is unknown, both count as one (Istio's `Proxy.InNetwork`).
    let away = !network.is_empty()
        && !snapshot.node.network.is_empty()
        && *network != snapshot.node.network;
    if away && snapshot.mesh.gateway_networks.contains(network) {
        return Err(behind_gateway(written));
    }
    match &written.spec.address {
        EndpointAddress::Ip(address) => Ok(Target::Ip(address.to_canonical())),
        EndpointAddress::Fqdn(name) if by_name => Ok(Target::Name(resolvable(name))),
        EndpointAddress::Network => Err(behind_gateway(written)),
        EndpointAddress::Unix(path) if by_name || written.index.is_some() => {
            Err(unix(written, path))
        }
        EndpointAddress::Fqdn(text) | EndpointAddress::Unix(text) => {
            Err(needs_address(written, text))
        }
    }
}

fn about(written: &Written, code: &str, field: &str, message: String) -> Diagnostic {
    let path = match written.index {
        Some(i) => format!("spec.endpoints[{i}].{field}"),
        None => format!("spec.{field}"),
    };
    Diagnostic::about(Severity::Warning, code, written.meta, message).at(path, written.spec.line)
}

fn behind_gateway(written: &Written) -> Unusable {
    let message = format!(
        "the endpoint is reached only through the gateway of network {}, which takes mutual TLS; it is left out",
        written.spec.network
    );
    let diagnostic = about(written, codes::NETWORK_GATEWAY, "network", message)
        .hint("remove the gateways of the network from meshNetworks if its endpoints can be dialled directly, and give the endpoint an address");
    (Some(RefuseReason::NetworkGateway), Box::new(diagnostic))
}

fn unix(written: &Written, path: &str) -> Unusable {
    let message =
        format!("a connect cannot be sent to the Unix socket {path}; the endpoint is left out");
    let diagnostic = about(written, codes::UNIX_SOCKET, "address", message)
        .hint("have the server listen on a TCP port of the loopback address too");
    (Some(RefuseReason::UnixSocket), Box::new(diagnostic))
}

fn needs_address(written: &Written, text: &str) -> Unusable {
    let message =
        format!("{text} is not an IP address: entries of resolution STATIC do not select it");
    let diagnostic = about(written, codes::WORKLOAD_UNUSABLE, "address", message)
        .hint("give the workload an IP address, or select it from an entry of resolution DNS");
    (None, Box::new(diagnostic))
}
