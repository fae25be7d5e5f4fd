//! Services as some classes of clients see them, before policies say who may connect: what is built once for all of these.

use std::collections::HashMap;

use crate::api::{Diagnostic, Meta};
use crate::model::Snapshot;

use super::access::{Asking, Stance};
use super::catalog::{Catalog, Entry};
use super::classes::Class;
use super::cluster::Supplies;
use super::destinations::{Destinations, Part};
use super::endpoints::Sources;
use super::hosts::Host;
use super::mesh::Mesh;
use super::mtls::PeerPolicies;
use super::policy::Policies;
use super::program::{RefuseReason, Service, ServiceKey};
use super::routed::Places;
use super::routes::Routes;
use super::services::{self, Built, Declaration, Routing};
use super::sidecars;

/// What services are built of.
#[derive(Clone, Copy)]
pub(super) struct Stock<'h, 'a> {
    pub(super) entries: &'h [Entry<'a>],
    pub(super) hosts: &'h [Host<'a>],
    pub(super) destinations: &'h [Destinations],
    /// By the age of the entry.
    pub(super) sources: &'h [Sources<'a>],
    pub(super) snapshot: &'a Snapshot,
}

/// Rules and routes as some classes of clients see them.
pub(super) struct Viewpoint<'h, 'a> {
    policies: Policies<'a>,
    routes: Routes<'a>,
    places: Places<'h, 'a>,
}

/// A service as a viewpoint has it, before policies.
pub(super) struct Prepared<'a> {
    pub(super) key: ServiceKey,
    /// `None` once it is built for everybody.
    pub(super) service: Option<Service>,
    pub(super) refused_by: Option<(&'a Meta, RefuseReason)>,
    /// What leads to it.
    pub(super) part: Part,
    /// The entry's age.
    pub(super) entry: usize,
    pub(super) posts: Posts<usize>,
}

/// What policies make of a service or an endpoint, for clients of whom they ask nothing else.
pub(super) struct Posts<T> {
    /// Rules that ask who connects, by their places.
    pub(super) asked: Vec<usize>,
    /// Claimants by the stances of clients to these rules.
    pub(super) known: HashMap<Vec<Stance>, T>,
}

impl<T> Posts<T> {
    pub(super) fn new(asked: Vec<usize>) -> Self {
        Self {
            asked,
            known: HashMap::new(),
        }
    }

    pub(super) fn of(&self, class: &Class<'_>) -> Vec<Stance> {
        self.asked
            .iter()
            .map(|place| class.stances[*place])
            .collect()
    }
}

impl<'h, 'a> Viewpoint<'h, 'a> {
    pub(super) fn new(catalog: &Catalog<'a>, class: &Class<'a>, stock: &Stock<'h, 'a>) -> Self {
        let mesh = &stock.snapshot.mesh;
        let imported = catalog.routes.iter().copied().filter(|(meta, routes)| {
            class.sidecar.is_none_or(|sidecar| {
                sidecars::imports_routes(sidecar, &meta.id.namespace, &routes.hosts)
            })
        });
        let imported: Vec<_> = imported.collect();
        Self {
            policies: Policies::new(&catalog.rules, mesh, class.client),
            routes: Routes::new(&imported, mesh, class.client),
            places: Places::new(stock.hosts, class.client),
        }
    }

    /// Prepares the services of one declared port of a host, by their places.
    pub(super) fn prepare(
        &self,
        stock: &Stock<'h, 'a>,
        (place, port): (usize, usize),
        guards: &Guards<'h, 'a>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Prepared<'a>> {
        let host = &stock.hosts[place];
        let declaration = Declaration {
            host,
            declared: &host.ports[port],
            destinations: &stock.destinations[place],
        };
        let routing = Routing {
            routes: &self.routes,
            places: &self.places,
            diagnostics: &mut *diagnostics,
        };
        let supplies = Supplies {
            sources: stock.sources,
            policies: &self.policies,
            snapshot: stock.snapshot,
        };
        let built = services::build(declaration, routing, supplies).into_iter();
        let entry = declaration.declared.entry;
        built
            .map(|built| guards.post(built, entry, diagnostics))
            .collect()
    }
}

/// What is said of who may connect, and how.
pub(super) struct Guards<'h, 'a> {
    pub(super) asking: &'h Asking<'h, 'a>,
    peers: PeerPolicies<'a>,
    /// Empty where nothing asks.
    pub(super) mesh: Mesh,
}

impl<'h, 'a> Guards<'h, 'a> {
    pub(super) fn new(
        catalog: &Catalog<'a>,
        asking: &'h Asking<'h, 'a>,
        stock: &Stock<'h, 'a>,
    ) -> Self {
        let peers = PeerPolicies::new(catalog, &stock.snapshot.mesh);
        let mesh = if asking.policies.select_workloads() || !peers.is_empty() {
            Mesh::new(stock.entries, stock.hosts, stock.sources, stock.snapshot)
        } else {
            Mesh::default()
        };
        Self {
            asking,
            peers,
            mesh,
        }
    }

    /// Says what of the service, which `entry` declares, policies are about.
    fn post(
        &self,
        built: Built<'a>,
        entry: &Entry<'a>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Prepared<'a> {
        let Built {
            key,
            mut service,
            refused_by,
            part,
        } = built;
        for endpoint in &mut service.endpoints {
            let spot = (endpoint.address, endpoint.port, key.transport);
            endpoint.workloads = self.mesh.at(spot);
        }
        let policies = self.asking.policies;
        service.subject = policies.subject(entry, &service, &part, key.port);
        diagnostics.extend(self.peers.note(&mut service, entry.meta));
        let asked = self.asking.of(&policies.about(&service));
        Prepared {
            key,
            service: Some(service),
            refused_by,
            part,
            entry: entry.age,
            posts: Posts::new(asked),
        }
    }
}
