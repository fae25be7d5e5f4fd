//! `VirtualService`, as far as it is carried out: which connections its routes take, and where to.

mod gateways;
mod http;
mod reach;
mod read;
mod routes;
mod schema;
mod unreachable;

use std::collections::BTreeMap;

use ipnet::IpNet;

pub(super) use read::read;
pub(super) use schema::SCHEMA;

/// The gateway that stands for every client of the mesh, and so for those of this node.
pub const MESH_GATEWAY: &str = "mesh";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualService {
    /// As written. Empty for a delegate, which has neither `tcp` nor `tls`.
    pub hosts: Vec<String>,
    /// As written; empty means [`MESH_GATEWAY`] alone.
    pub gateways: Vec<String>,
    pub export_to: Vec<String>,
    /// For ports whose protocol is not TLS, in order.
    pub tcp: Vec<Route>,
    /// For ports whose protocol is TLS or HTTPS, in order; each has a match.
    pub tls: Vec<Route>,
}

impl VirtualService {
    /// Whether the routes are for clients of the mesh, and not for gateways alone.
    pub fn is_for_mesh(&self) -> bool {
        names_mesh(&self.gateways)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Any one of them suffices; empty means every connection.
    pub matches: Vec<Match>,
    /// At least one.
    pub destinations: Vec<RouteDestination>,
    pub line: u32,
}

/// What a connection must be; empty fields ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// A port of the service.
    pub port: Option<u16>,
    /// The client's destination must be in one of them. As written: bits after the prefix may be set.
    pub destination_subnets: Vec<IpNet>,
    pub source_labels: BTreeMap<String, String>,
    pub source_namespace: Option<String>,
    pub gateways: Vec<String>,
    /// Not empty below `tls`, always empty below `tcp`.
    pub sni_hosts: Vec<String>,
    pub line: u32,
}

impl Match {
    /// Whether the match is for clients of the mesh, and not for gateways alone.
    pub fn is_for_mesh(&self) -> bool {
        names_mesh(&self.gateways)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteDestination {
    /// As written; a name without dots is short for one in the object's namespace.
    pub host: String,
    pub subset: Option<String>,
    pub port: Option<u16>,
    /// As written, 0 where it is absent. The only destination of a route takes everything, whatever its weight; of
    /// several, one with 0 takes nothing, and not all are 0.
    pub weight: u32,
    pub line: u32,
}

fn names_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == MESH_GATEWAY)
}

#[cfg(test)]
mod tests;
