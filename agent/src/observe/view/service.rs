//! The services: what each captures, and what becomes of connects to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use agent_common::abi;
use serde::{Deserialize, Serialize};

use crate::compile::report::ReportedPolicy;
use crate::compile::{Action, Destination, Frontend, RefuseReason, Service, ServiceKey};
use crate::dataplane::{Counts, ServiceCounts};
use crate::model::{VipRanges, Vital};

use super::super::State;
use super::place::Place;

/// One port of one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    pub namespace: String,
    pub host: String,
    pub port: u16,
    /// The route that is for some addresses of the host alone, where this is the service of those.
    pub route: Option<String>,
    /// Who the clients are that it is for, where it is not what it is for others.
    pub clients: Option<String>,
    pub port_name: String,
    /// As Istio spells it; empty when the object leaves it to be sniffed.
    pub protocol: String,
    /// `TCP` or `UDP`.
    pub transport: String,
    pub resolution: String,
    /// The automatic addresses among the frontends.
    pub vips: Vec<IpAddr>,
    /// `address:port`, `[address]:port` or `CIDR:port`.
    pub frontends: Vec<String>,
    #[serde(flatten)]
    pub action: ActionView,
    /// How an endpoint is picked, by Istio's name for it; `CONSISTENT_HASH/` and the table for what hashes clients.
    pub load_balancer: String,
    pub endpoint_count: usize,
    /// Of those, endpoints that are ejected.
    pub ejected_count: usize,
    /// Connects that were sent on since the service exists.
    pub connects: u64,
    /// Connects that were failed on purpose.
    pub denied: u64,
    /// Sockets that are connected through it now, endpoints that are gone left out unless there is a limit.
    pub open: u64,
    /// `maxConnections`, where there is a limit.
    pub max_connections: Option<u32>,
    /// The `ServiceEntry`, and the line of the port.
    pub object: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "action",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum ActionView {
    /// Spread over the endpoints.
    Balance,
    /// Passed to the original address, to this port where one is given.
    Original { original_port: Option<u16> },
    /// Fails closed.
    Refuse { refusal: String },
}

impl From<Action> for ActionView {
    fn from(action: Action) -> Self {
        match action {
            Action::Balance => Self::Balance,
            Action::Original { port } => Self::Original {
                original_port: port,
            },
            Action::Refuse(reason) => Self::Refuse {
                refusal: refusal(reason).to_owned(),
            },
        }
    }
}

/// Why a service fails closed.
pub(in crate::observe) const fn refusal(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::TlsOrigination => {
            "a DestinationRule asks for TLS, which cannot be originated here and is never given up for plaintext"
        }
        RefuseReason::UnixSocket => {
            "its endpoint is a Unix socket, which a connect cannot be sent to"
        }
        RefuseReason::NetworkGateway => {
            "all its endpoints are in networks that are reached only through a gateway"
        }
        RefuseReason::Passthrough => {
            "a DestinationRule passes connects on to the address that clients ask for, and they are told automatic ones only, at which there is nothing"
        }
        RefuseReason::Denied => "policies deny it to these clients",
    }
}

/// Every service of the program, in the order of namespace, host and port.
pub fn services(state: &State, counts: &Counts) -> Vec<ServiceView> {
    let program = &state.compiled.program;
    let mut frontends: BTreeMap<&ServiceKey, Vec<&Frontend>> = BTreeMap::new();
    for (frontend, key) in &program.frontends {
        frontends.entry(key).or_default().push(frontend);
    }
    program
        .services
        .iter()
        .map(|(key, service)| {
            let of_service = frontends.get(key).map(Vec::as_slice).unwrap_or_default();
            view(key, service, of_service, &program.vip_ranges, counts)
        })
        .collect()
}

fn view(
    key: &ServiceKey,
    service: &Service,
    frontends: &[&Frontend],
    ranges: &VipRanges,
    counts: &Counts,
) -> ServiceView {
    let counted = counts.services.get(key);
    let policy = ReportedPolicy::of(service);
    let endpoints = service.endpoints.iter();
    let ejected = endpoints.filter(|endpoint| endpoint.vital == Vital::Ejected);
    ServiceView {
        namespace: key.namespace.to_string(),
        host: key.host.to_string(),
        port: key.port,
        route: key.route.as_deref().map(str::to_owned),
        clients: key.clients.as_deref().map(str::to_owned),
        port_name: service.port_name.clone(),
        protocol: service.protocol.to_string(),
        transport: transport_name(key.transport).to_owned(),
        resolution: service.resolution.to_string(),
        vips: vips(frontends, ranges),
        frontends: frontends.iter().map(|f| frontend_name(f)).collect(),
        action: service.action.clone().into(),
        load_balancer: policy.load_balancer.to_owned(),
        endpoint_count: service.endpoints.len(),
        ejected_count: ejected.count(),
        connects: counted.map_or(0, |c| c.connects),
        denied: counted.map_or(0, |c| c.denied),
        open: counted.map_or(0, open),
        max_connections: policy.connection_pool.and_then(|pool| pool.max_connections),
        object: Place::new(&service.object, &service.origin),
    }
}

/// What has a count of its own, or else its endpoints together.
fn open(counts: &ServiceCounts) -> u64 {
    let endpoints = counts.endpoints.values().map(|endpoint| endpoint.open);
    counts.open.max(endpoints.sum())
}

fn vips(frontends: &[&Frontend], ranges: &VipRanges) -> Vec<IpAddr> {
    let addresses = frontends.iter().filter_map(|f| match f.destination {
        Destination::Address(address) => Some(address),
        Destination::Prefix(_) => None,
    });
    let automatic = addresses.filter(|address| match address {
        IpAddr::V4(v4) => ranges.v4.contains(v4),
        IpAddr::V6(v6) => ranges.v6.contains(v6),
    });
    automatic.collect::<BTreeSet<_>>().into_iter().collect()
}

/// How a frontend is written: `address:port`, `[address]:port` or `CIDR:port`.
pub fn frontend_name(frontend: &Frontend) -> String {
    let port = frontend.port;
    match frontend.destination {
        Destination::Address(address) => std::net::SocketAddr::new(address, port).to_string(),
        Destination::Prefix(net) if net.addr().is_ipv6() => format!("[{net}]:{port}"),
        Destination::Prefix(net) => format!("{net}:{port}"),
    }
}

/// `TCP` or `UDP`.
pub const fn transport_name(transport: u8) -> &'static str {
    if transport == abi::UDP { "UDP" } else { "TCP" }
}
