//! Which route takes the connects to a service: the first of the `VirtualServices` that are for its host, and that a
//! connection of this node matches. Knows nothing of where a route leads.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;

use crate::api::virtual_service::{Match, Route};
use crate::api::{MeshConfig, Meta, Protocol, VirtualService, host};

use super::client::{Client, Export, exported};
use super::destinations::canonical;
use super::hosts::full_name;

/// A connect to a service, as far as all connects to it are alike.
pub(super) struct Asked<'s> {
    pub(super) host: &'s str,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

/// The routes that take the connects to a service.
#[derive(Default)]
pub(super) struct Found<'a> {
    /// Those for some destinations alone, in order.
    pub(super) branches: Vec<Branch<'a>>,
    /// The first that is for all.
    pub(super) rest: Option<Taken<'a>>,
}

pub(super) struct Branch<'a> {
    pub(super) subnets: Vec<IpNet>,
    pub(super) taken: Taken<'a>,
}

/// The route that takes the connects.
#[derive(Clone, Copy)]
pub(super) struct Taken<'a> {
    pub(super) meta: &'a Meta,
    pub(super) route: &'a Route,
    /// `tcp` or `tls`.
    pub(super) list: &'static str,
    /// In that list.
    pub(super) index: usize,
}

impl Taken<'_> {
    pub(super) fn field(&self) -> String {
        format!("spec.{}[{}]", self.list, self.index)
    }

    /// What the route is called among all.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.meta.id, self.field())
    }
}

/// All routes that a client sees, found by host without looking at each.
pub(super) struct Routes<'a> {
    client: Client<'a>,
    /// Private ones first, then those exported to the client's namespace, then the others; each the oldest first.
    all: Vec<(&'a Meta, &'a VirtualService)>,
    /// Into `all`.
    exact: HashMap<String, Vec<usize>>,
    wildcards: Vec<usize>,
}

impl<'a> Routes<'a> {
    /// `routes` are the oldest first.
    pub(super) fn new(
        routes: &[(&'a Meta, &'a VirtualService)],
        mesh: &MeshConfig,
        client: Client<'a>,
    ) -> Self {
        let mut ranked: Vec<(Export, (&Meta, &VirtualService))> = routes
            .iter()
            .filter(|(_, spec)| spec.is_for_mesh())
            .filter(|(_, spec)| !spec.tcp.is_empty() || !spec.tls.is_empty())
            .filter_map(|routes| Some((rank(routes.0, routes.1, mesh, client)?, *routes)))
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        let all: Vec<_> = ranked.into_iter().map(|(_, routes)| routes).collect();
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut wildcards = Vec::new();
        for (place, (meta, spec)) in all.iter().enumerate() {
            for host in &spec.hosts {
                if host::is_wildcard(host) {
                    wildcards.push(place);
                } else {
                    let name = full_name(host, &meta.id.namespace);
                    exact.entry(name).or_default().push(place);
                }
            }
        }
        Self {
            client,
            all,
            exact,
            wildcards,
        }
    }

    /// The routes up to the first that takes all connects that `asked` stands for.
    pub(super) fn find(&self, asked: &Asked) -> Found<'a> {
        let mut found = Found::default();
        for place in self.places(asked.host) {
            let (meta, spec) = self.all[place];
            let (list, routes) = match kind(asked.protocol) {
                Kind::Tcp => ("tcp", &spec.tcp),
                Kind::Tls => ("tls", &spec.tls),
                Kind::Neither => return found,
            };
            for (index, route) in routes.iter().enumerate() {
                let taken = Taken {
                    meta,
                    route,
                    list,
                    index,
                };
                match takes(route, asked, self.client) {
                    Takes::All => {
                        found.rest = Some(taken);
                        return found;
                    }
                    Takes::None => {}
                    Takes::Within(subnets) => found.branches.push(Branch { subnets, taken }),
                }
            }
        }
        found
    }

    /// Those whose hosts match, in order.
    fn places(&self, name: &str) -> BTreeSet<usize> {
        let matches = |place: &&usize| {
            let (meta, spec) = self.all[**place];
            let mut hosts = spec.hosts.iter();
            hosts.any(|host| host::matches(&full_name(host, &meta.id.namespace), name))
        };
        if host::is_wildcard(name) {
            return (0..self.all.len())
                .filter(|place| matches(&place))
                .collect();
        }
        let exact = self.exact.get(name).into_iter().flatten();
        let wildcards = self.wildcards.iter().filter(matches);
        exact.chain(wildcards).copied().collect()
    }
}

/// Which routes come first. `None`: the client does not see them.
fn rank(
    meta: &Meta,
    spec: &VirtualService,
    mesh: &MeshConfig,
    client: Client<'_>,
) -> Option<Export> {
    let export_to = exported(&spec.export_to, &mesh.default_virtual_service_export_to);
    client.sees(export_to, &meta.id.namespace)
}

enum Kind {
    Tcp,
    Tls,
    Neither,
}

/// Which list of routes is for a port of that protocol. Ports of HTTP have none that a connection can follow.
fn kind(protocol: Protocol) -> Kind {
    match protocol {
        Protocol::Unset | Protocol::Tcp | Protocol::Mongo | Protocol::Redis | Protocol::Mysql => {
            Kind::Tcp
        }
        Protocol::Https | Protocol::Tls => Kind::Tls,
        Protocol::Udp
        | Protocol::Grpc
        | Protocol::GrpcWeb
        | Protocol::Http
        | Protocol::HttpProxy
        | Protocol::Http2 => Kind::Neither,
    }
}

/// Which of the connects to a service a route or match takes.
enum Takes {
    All,
    None,
    /// Those to destinations in them.
    Within(Vec<IpNet>),
}

fn takes(route: &Route, asked: &Asked, client: Client<'_>) -> Takes {
    if route.matches.is_empty() {
        return Takes::All;
    }
    let mut subnets = Vec::new();
    for item in route
        .matches
        .iter()
        .filter(|item| is_met(item, asked, client))
    {
        if item.destination_subnets.is_empty() {
            return Takes::All;
        }
        subnets.extend(
            item.destination_subnets
                .iter()
                .map(|net| canonical(net.trunc())),
        );
    }
    if subnets.is_empty() {
        Takes::None
    } else {
        Takes::Within(subnets)
    }
}

/// Whether connects of the client to the service meet the match, but for their destinations. The host behind the address that
/// was dialled stands for the SNI that is sent.
fn is_met(item: &Match, asked: &Asked, client: Client<'_>) -> bool {
    let is_port = item.port.is_none_or(|port| port == asked.port);
    let mut sni_hosts = item.sni_hosts.iter();
    let is_host = item.sni_hosts.is_empty() || sni_hosts.any(|sni| host::matches(sni, asked.host));
    is_for(item, client) && is_port && is_host
}

/// Whether the match is for connects of the client at all.
pub(super) fn is_for(item: &Match, client: Client<'_>) -> bool {
    let namespace = item.source_namespace.as_deref();
    client.has(&item.source_labels)
        && namespace.is_none_or(|namespace| namespace == client.namespace)
        && item.is_for_mesh()
}
