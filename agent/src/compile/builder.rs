//! The services of each class of clients. What is the same for several classes is built once, and is one service.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use agent_common::abi::Outbound;

use crate::api::Diagnostic;
use crate::model::ServiceVitals;

use super::access::{Asking, Ruling};
use super::catalog::Catalog;
use super::classes::{self, Class, Classes};
use super::fences::{self, Fence, Fences};
use super::findings::Refusals;
use super::frontends::{Claimant, Claims};
use super::learned::Learners;
use super::mesh::Spot;
use super::names::Names;
use super::outbound;
use super::prepared::{Guards, Posts, Prepared, Stock, Viewpoint};
use super::probing::Unprobed;
use super::program::{Service, ServiceKey};
use super::scopes::Behaviour;
use super::views::View;
use super::visibility::Seen;

/// A host, its port, and the viewpoint.
type At = (usize, usize, usize);

/// What a class sees, and the services that depend on who it is.
type Outline = (usize, Vec<usize>);

pub(super) struct Builder<'h, 'a> {
    stock: Stock<'h, 'a>,
    viewpoints: Vec<Viewpoint<'h, 'a>>,
    guards: Guards<'h, 'a>,
    prepared: Vec<Prepared<'a>>,
    built: HashMap<At, Range<usize>>,
    /// Prepared services on which it depends what classes of a vantage come to, by vantage.
    guarded: HashMap<usize, Rc<[usize]>>,
    /// Endpoints of the mesh that policies are about.
    sites: Vec<(Spot, Posts<Option<Fence>>)>,
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
        stock: Stock<'h, 'a>,
    ) -> Self {
        let mut viewpoints = Vec::new();
        for class in &classes.all {
            if class.viewpoint == viewpoints.len() {
                viewpoints.push(Viewpoint::new(catalog, class, &stock));
            }
        }
        let guards = Guards::new(catalog, asking, &stock);
        let sites = guards.mesh.sites.iter();
        let sites = sites.filter(|(spot, _)| fences::may_stand(spot));
        let sites = sites.filter_map(|(spot, site)| {
            let about = asking.policies.about_workloads(site.workloads.iter());
            let posts = Posts::new(asking.of(&about));
            (!about.is_empty()).then_some((*spot, posts))
        });
        let sites = sites.collect();
        Self {
            sites,
            stock,
            viewpoints,
            guards,
            prepared: Vec::new(),
            built: HashMap::new(),
            guarded: HashMap::new(),
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
        let fences = self.fences(class);
        let outline = self.outline(class, view, &fences);
        if let Some(known) = self.outlines.get(&outline) {
            return *known;
        }
        let place = self.behaviours.len();
        let behaviour = self.behaviour(class, view, names, &fences);
        self.behaviours.push(behaviour);
        self.outlines.insert(outline, place);
        place
    }

    /// What tells apart the behaviours of classes.
    fn outline(&mut self, class: &Class<'a>, view: &View, fences: &Fences) -> Outline {
        let guarded = match self.guarded.get(&class.vantage) {
            Some(known) => Rc::clone(known),
            None => self.guard(class, view),
        };
        let guarded = guarded.iter();
        let mut claimants: Vec<usize> = guarded.map(|place| self.claimant(class, *place)).collect();
        // Which they are says where they are.
        claimants.extend(fences.iter().map(|(_, fence)| fence.claimant));
        (class.vantage, claimants)
    }

    /// Prepares all that a class of its vantage sees, and says on which of it depends what it comes to.
    fn guard(&mut self, class: &Class<'a>, view: &View) -> Rc<[usize]> {
        let mut guarded = Vec::new();
        for (place, port) in self.ports(view) {
            let all = self.services(class, place, port);
            guarded.extend(all.filter(|place| !self.prepared[*place].posts.asked.is_empty()));
        }
        let guarded: Rc<[usize]> = guarded.into();
        self.guarded.insert(class.vantage, Rc::clone(&guarded));
        guarded
    }

    /// The declared ports that are seen, each with the place of its host.
    fn ports(&self, view: &View) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        for Seen { place, ports } in &view.seen {
            let declared = self.stock.hosts[*place].ports.iter().enumerate();
            let seen = declared.filter(|(_, declared)| ports.contain(declared.port.number));
            all.extend(seen.map(|(port, _)| (*place, port)));
        }
        all
    }

    fn behaviour(
        &mut self,
        class: &Class<'a>,
        view: &View,
        names: &Arc<Names>,
        fences: &Fences,
    ) -> Behaviour {
        let mut claims = Claims::default();
        let mut learners = Learners::new(names);
        for (place, port) in self.ports(view) {
            let learns = self.stock.destinations[place].learns();
            let rank = (self.stock.hosts[place].ports[port].entry.age, place);
            for prepared in self.services(class, place, port) {
                let claimant = self.claimant(class, prepared);
                self.prepared[prepared]
                    .part
                    .claim(&mut claims, claimant, rank);
                if learns && self.claimants[claimant].key.route.is_none() {
                    learners.add(rank, claimant, &self.claimants[claimant]);
                }
            }
        }
        learners.fence(fences, &self.claimants);
        let ranges = &self.stock.snapshot.vip_ranges;
        learners.claim(&self.stock.snapshot.learned, ranges, &mut claims);
        Behaviour {
            label: Arc::clone(&class.label),
            won: claims.settle(&self.claimants, fences, &mut self.diagnostics),
            outbound: outbound::of(class.sidecar, self.stock.snapshot),
            policy: outbound::written_by(class.sidecar),
            names: view.names,
            learners,
        }
    }

    /// Sees to it that the services of one declared port of a host are prepared, and says which they are.
    fn services(&mut self, class: &Class<'a>, place: usize, port: usize) -> Range<usize> {
        let at = (place, port, class.viewpoint);
        if let Some(known) = self.built.get(&at) {
            return known.clone();
        }
        let start = self.prepared.len();
        let viewpoint = &self.viewpoints[class.viewpoint];
        let diagnostics = &mut self.diagnostics;
        let built = viewpoint.prepare(&self.stock, (place, port), &self.guards, diagnostics);
        self.prepared.extend(built);
        let all = start..self.prepared.len();
        self.built.insert(at, all.clone());
        all
    }

    /// The service as it is for the class.
    fn claimant(&mut self, class: &Class<'a>, place: usize) -> usize {
        let prepared = &mut self.prepared[place];
        let stances = prepared.posts.of(class);
        if let Some(known) = prepared.posts.known.get(&stances) {
            return *known;
        }
        let service = if prepared.posts.asked.is_empty() {
            prepared.service.take()
        } else {
            prepared.service.clone()
        };
        let mut service = service.expect("it is built once for everybody, or kept");
        self.guards
            .asking
            .policies
            .guard(class.client, &mut service);
        let key = prepared.key.clone();
        let asked = prepared.posts.asked.clone();
        let claimants = self.claimants.len();
        let claimant = self.add(key, service, class, &asked);
        let prepared = &mut self.prepared[place];
        prepared.posts.known.insert(stances, claimant);
        if claimant == claimants {
            let Claimant { key, service } = &self.claimants[claimant];
            if let Some((rule, reason)) = prepared.refused_by {
                self.refusals.add(rule, reason, key);
            }
            let entry = &self.stock.entries[prepared.entry];
            self.unprobed.note(entry, key, service);
        }
        claimant
    }

    /// Which endpoints of the mesh policies deny to the class, or would.
    fn fences(&mut self, class: &Class<'a>) -> Fences {
        let outbound = outbound::of(class.sidecar, self.stock.snapshot);
        let mut found = Vec::new();
        for place in 0..self.sites.len() {
            let (spot, posts) = &self.sites[place];
            let (spot, stances) = (*spot, posts.of(class));
            let fence = if let Some(known) = posts.known.get(&stances) {
                *known
            } else {
                let fence = self.fence(class, place);
                self.sites[place].1.known.insert(stances, fence);
                fence
            };
            // What counts lets pass, which is not for an address that nobody registered.
            let is_for = |fence: &Fence| fence.is_denying || outbound == Outbound::AllowAny;
            found.extend(fence.filter(is_for).map(|fence| (spot, fence)));
        }
        found.into_iter().collect()
    }

    /// The service that denies the endpoint to the class where clients dial it, or counts that it would; `None` where it may be
    /// dialled.
    fn fence(&mut self, class: &Class<'a>, place: usize) -> Option<Fence> {
        let (spot, posts) = &self.sites[place];
        let site = &self.guards.mesh.sites[spot];
        let entry = &self.stock.entries[site.entry];
        let (key, mut service) = fences::service(*spot, site, entry);
        let policies = self.guards.asking.policies;
        policies.guard(class.client, &mut service);
        let ruling = service.access.as_ref()?.ruling;
        let asked = posts.asked.clone();
        (ruling != Ruling::Allowed).then(|| Fence {
            claimant: self.add(key, service, class, &asked),
            is_denying: ruling == Ruling::Denied,
        })
    }

    /// Gives the service, which depends on these rules as well, its name, unless it is there already.
    fn add(
        &mut self,
        mut key: ServiceKey,
        mut service: Service,
        class: &Class<'a>,
        asked: &[usize],
    ) -> usize {
        let claimant = self.claimants.len();
        if let Some(variants) = &mut self.variants {
            let known = variants.entry(key.clone()).or_default();
            if let Some((claimant, _)) = known.iter().find(|(_, known)| *known == service) {
                return *claimant;
            }
            if !known.is_empty() {
                let rules = self
                    .guards
                    .asking
                    .in_words(asked.iter().copied(), &class.stances);
                key.clients = Some(classes::named(&class.outlook, rules).into());
            }
            known.push((claimant, service.clone()));
        }
        let vitals = self.stock.snapshot.vitals.get(&key);
        service.examine(vitals.map_or(&ServiceVitals::new(), |vitals| vitals));
        self.claimants.push(Claimant {
            key,
            service: Arc::new(service),
        });
        claimant
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
