//! The services of each class of clients. What is the same for several classes is built once, and is one service.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::Diagnostic;
use crate::model::{ServiceVitals, Snapshot};

use super::access::{Asking, Stance};
use super::catalog::Catalog;
use super::classes::{Class, Classes};
use super::cluster::Supplies;
use super::destinations::{Destinations, Part};
use super::endpoints::Sources;
use super::findings::Refusals;
use super::frontends::{Claimant, Claims};
use super::hosts::Host;
use super::learned::Learners;
use super::mtls::PeerPolicies;
use super::names::Names;
use super::outbound;
use super::policy::Policies;
use super::probing::Unprobed;
use super::program::{Service, ServiceKey};
use super::routed::Places;
use super::routes::Routes;
use super::scopes::Behaviour;
use super::services::{self, Built, Declaration, Routing};
use super::sidecars;
use super::views::View;
use super::visibility::Seen;

/// A host, its port, the viewpoint, and what policies of the port depend on.
type At = (usize, usize, usize, Vec<Stance>);

/// What a class sees, and the services that depend on who it is.
type Outline = (usize, Vec<usize>);

/// A service, and what leads to it.
struct Led {
    /// Into the claimants.
    claimant: usize,
    part: Part,
}

/// Rules and routes as some classes of clients see them.
struct Viewpoint<'h, 'a> {
    policies: Policies<'a>,
    routes: Routes<'a>,
    places: Places<'h, 'a>,
}

pub(super) struct Builder<'h, 'a> {
    hosts: &'h [Host<'a>],
    destinations: &'h [Destinations],
    sources: &'h [Sources<'a>],
    snapshot: &'a Snapshot,
    viewpoints: Vec<Viewpoint<'h, 'a>>,
    asking: &'h Asking<'h, 'a>,
    peers: PeerPolicies<'a>,
    built: HashMap<At, Vec<Led>>,
    /// Where there are several classes: what there is of each service, before what is known of its health.
    variants: Option<HashMap<ServiceKey, Vec<(usize, Service)>>>,
    outlines: HashMap<Outline, usize>,
    behaviours: Vec<Behaviour>,
    claimants: Vec<Claimant>,
    refusals: Refusals,
    unprobed: Unprobed<'a>,
    diagnostics: Vec<Diagnostic>,
}

impl<'h, 'a> Builder<'h, 'a> {
    pub(super) fn new(
        catalog: &Catalog<'a>,
        (classes, asking): (&Classes<'a>, &'h Asking<'h, 'a>),
        (hosts, destinations): (&'h [Host<'a>], &'h [Destinations]),
        sources: &'h [Sources<'a>],
        snapshot: &'a Snapshot,
    ) -> Self {
        let mut viewpoints = Vec::new();
        for class in &classes.all {
            if class.viewpoint == viewpoints.len() {
                let mesh = &snapshot.mesh;
                let imported = catalog.routes.iter().copied().filter(|(meta, routes)| {
                    class.sidecar.is_none_or(|sidecar| {
                        sidecars::imports_routes(sidecar, &meta.id.namespace, &routes.hosts)
                    })
                });
                let imported: Vec<_> = imported.collect();
                viewpoints.push(Viewpoint {
                    policies: Policies::new(&catalog.rules, mesh, class.client),
                    routes: Routes::new(&imported, mesh, class.client),
                    places: Places::new(hosts, class.client),
                });
            }
        }
        Self {
            hosts,
            destinations,
            sources,
            snapshot,
            viewpoints,
            asking,
            peers: PeerPolicies::new(catalog, &snapshot.mesh),
            built: HashMap::new(),
            variants: (classes.all.len() > 1).then(HashMap::new),
            outlines: HashMap::new(),
            behaviours: Vec::new(),
            claimants: Vec::new(),
            refusals: Refusals::default(),
            unprobed: Unprobed::default(),
            diagnostics: Vec::new(),
        }
    }

    /// What the class comes to, which sees so much, by its place among all behaviours.
    pub(super) fn behave(&mut self, class: &Class<'a>, view: &View, names: &Arc<Names>) -> usize {
        let outline = self.outline(class, view);
        if let Some(known) = self.outlines.get(&outline) {
            return *known;
        }
        let place = self.behaviours.len();
        let behaviour = self.behaviour(class, view, names);
        self.behaviours.push(behaviour);
        self.outlines.insert(outline, place);
        place
    }

    /// What tells apart the behaviours of classes.
    fn outline(&mut self, class: &Class<'a>, view: &View) -> Outline {
        let mut claimants = Vec::new();
        for (place, port) in self.ports(view) {
            if self.asking.asks_who(self.hosts[place].ports[port].entry) {
                let at = self.services(class, place, port);
                claimants.extend(self.built[&at].iter().map(|led| led.claimant));
            }
        }
        (class.vantage, claimants)
    }

    /// The declared ports that are seen, each with the place of its host.
    fn ports(&self, view: &View) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        for Seen { place, ports } in &view.seen {
            let declared = self.hosts[*place].ports.iter().enumerate();
            let seen = declared.filter(|(_, declared)| ports.contain(declared.port.number));
            all.extend(seen.map(|(port, _)| (*place, port)));
        }
        all
    }

    fn behaviour(&mut self, class: &Class<'a>, view: &View, names: &Arc<Names>) -> Behaviour {
        let mut claims = Claims::default();
        let mut learners = Learners::new(names);
        for (place, port) in self.ports(view) {
            let learns = self.destinations[place].learns();
            let rank = (self.hosts[place].ports[port].entry.age, place);
            let at = self.services(class, place, port);
            for Led { claimant, part } in &self.built[&at] {
                part.claim(&mut claims, *claimant, rank);
                let key = &self.claimants[*claimant].key;
                if learns && key.route.is_none() {
                    learners.add(rank, *claimant, key);
                }
            }
        }
        let ranges = &self.snapshot.vip_ranges;
        learners.claim(&self.snapshot.learned, ranges, &mut claims);
        Behaviour {
            label: Arc::clone(&class.label),
            won: claims.settle(&self.claimants, &mut self.diagnostics),
            outbound: outbound::of(class.sidecar, self.snapshot),
            policy: outbound::written_by(class.sidecar),
            names: view.names,
            learners,
        }
    }

    /// Sees to it that the services of one declared port of a host are built, and says where.
    fn services(&mut self, class: &Class<'a>, place: usize, port: usize) -> At {
        let entry = self.hosts[place].ports[port].entry;
        let stances = self.asking.relevant(entry, &class.stances);
        let at = (place, port, class.viewpoint, stances);
        if !self.built.contains_key(&at) {
            let built = self.build(class, place, port);
            let led = built
                .into_iter()
                .map(|built| self.add(built, class, place, port));
            let led = led.collect();
            self.built.insert(at.clone(), led);
        }
        at
    }

    fn build(&mut self, class: &Class<'a>, place: usize, port: usize) -> Vec<Built<'a>> {
        let viewpoint = &self.viewpoints[class.viewpoint];
        let host = &self.hosts[place];
        let declaration = Declaration {
            host,
            declared: &host.ports[port],
            destinations: &self.destinations[place],
        };
        let routing = Routing {
            routes: &viewpoint.routes,
            places: &viewpoint.places,
            diagnostics: &mut self.diagnostics,
        };
        let supplies = Supplies {
            sources: self.sources,
            policies: &viewpoint.policies,
            snapshot: self.snapshot,
        };
        let mut all = services::build(declaration, routing, supplies);
        let addresses = declaration.destinations.all();
        for Built { key, service, .. } in &mut all {
            let entry = declaration.declared.entry.meta;
            self.diagnostics.extend(self.peers.note(service, entry));
            self.asking
                .policies
                .guard(class.client, service, &addresses, key.port);
        }
        all
    }

    /// Gives the service its name, unless it is there already.
    fn add(&mut self, built: Built<'a>, class: &Class<'a>, place: usize, port: usize) -> Led {
        let Built {
            mut key,
            mut service,
            refused_by,
            part,
        } = built;
        let claimant = self.claimants.len();
        if let Some(variants) = &mut self.variants {
            let known = variants.entry(key.clone()).or_default();
            if let Some((claimant, _)) = known.iter().find(|(_, known)| *known == service) {
                let claimant = *claimant;
                return Led { claimant, part };
            }
            if !known.is_empty() {
                key.clients = Some(Arc::clone(&class.label));
            }
            known.push((claimant, service.clone()));
        }
        let vitals = self.snapshot.vitals.get(&key);
        service.examine(vitals.map_or(&ServiceVitals::new(), |vitals| vitals));
        if let Some((rule, reason)) = refused_by {
            self.refusals.add(rule, reason, &key);
        }
        let entry = self.hosts[place].ports[port].entry;
        self.unprobed.note(entry, &key, &service);
        self.claimants.push(Claimant {
            key,
            service: Arc::new(service),
        });
        Led { claimant, part }
    }

    pub(super) fn finish(self) -> Finished {
        let mut diagnostics = self.diagnostics;
        diagnostics.extend(self.refusals.report());
        diagnostics.extend(self.unprobed.report());
        Finished {
            claimants: self.claimants,
            behaviours: self.behaviours,
            diagnostics,
        }
    }
}

/// All services, what classes of clients come to, and what is to be said of both.
pub(super) struct Finished {
    pub(super) claimants: Vec<Claimant>,
    pub(super) behaviours: Vec<Behaviour>,
    pub(super) diagnostics: Vec<Diagnostic>,
}
