//! The objects of a snapshot by what the compiler asks of them. Decides nothing but who is visible and who is selected.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::api::{
    AuthorizationPolicy, DestinationRule, LocalWorkload, Location, Meta, ObjectId,
    PeerAuthentication, ServiceEntry, Sidecar, Spec, VirtualService, WorkloadEntry,
};
use crate::model::Snapshot;

use super::client::carries;
use super::visibility::Exports;

/// A visible `ServiceEntry`.
pub(super) struct Entry<'a> {
    /// Place among the entries: 0 is the oldest.
    pub(super) age: usize,
    pub(super) meta: &'a Meta,
    pub(super) spec: &'a ServiceEntry,
    pub(super) id: Arc<ObjectId>,
    pub(super) namespace: Arc<str>,
    /// The namespaces that it is for.
    pub(super) export_to: &'a [String],
    /// Whether the mesh has a part in that.
    pub(super) is_narrowed: bool,
}

impl Entry<'_> {
    /// Whether its endpoints are workloads of the mesh, so that policies for those hold for them.
    pub(super) fn is_in_mesh(&self) -> bool {
        self.spec.location == Location::MeshInternal
    }
}

pub(super) struct Workload<'a> {
    pub(super) meta: &'a Meta,
    pub(super) spec: &'a WorkloadEntry,
    pub(super) id: Arc<ObjectId>,
}

pub(super) struct Catalog<'a> {
    /// Oldest first.
    pub(super) entries: Vec<Entry<'a>>,
    /// Entries that nobody may see, and whether that is since the mesh has it so.
    pub(super) hidden: Vec<(&'a Meta, bool)>,
    pub(super) workloads: Workloads<'a>,
    /// Oldest first.
    pub(super) rules: Vec<(&'a Meta, &'a DestinationRule)>,
    /// Oldest first.
    pub(super) routes: Vec<(&'a Meta, &'a VirtualService)>,
    /// Oldest first.
    pub(super) locals: Vec<(&'a Meta, &'a LocalWorkload)>,
    /// Oldest first.
    pub(super) sidecars: Vec<(&'a Meta, &'a Sidecar)>,
    /// Oldest first.
    pub(super) policies: Vec<(&'a Meta, &'a AuthorizationPolicy)>,
    /// Oldest first.
    pub(super) peers: Vec<(&'a Meta, &'a PeerAuthentication)>,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let mut namespaces: HashMap<&str, Arc<str>> = HashMap::new();
        let mut entries = Vec::new();
        let mut hidden = Vec::new();
        let mut workloads = Workloads::default();
        let mut rules = Vec::new();
        let mut routes = Vec::new();
        let mut locals = Vec::new();
        let mut sidecars = Vec::new();
        let mut policies = Vec::new();
        let mut peers = Vec::new();
        let exports = Exports::new(snapshot);
        for object in &snapshot.objects {
            let meta = &object.meta;
            match &object.spec {
                Spec::ServiceEntry(spec) => {
                    let (export_to, is_narrowed) = exports.of(meta, spec);
                    if is_hidden(export_to) {
                        hidden.push((meta, is_narrowed));
                        continue;
                    }
                    let namespace = namespaces
                        .entry(&meta.id.namespace)
                        .or_insert_with(|| meta.id.namespace.as_str().into());
                    entries.push(Entry {
                        age: entries.len(),
                        meta,
                        spec,
                        id: Arc::new(meta.id.clone()),
                        namespace: Arc::clone(namespace),
                        export_to,
                        is_narrowed,
                    });
                }
                Spec::WorkloadEntry(spec) => workloads.add(meta, spec),
                Spec::DestinationRule(spec) => rules.push((meta, spec)),
                Spec::VirtualService(spec) => routes.push((meta, spec)),
                Spec::LocalWorkload(spec) => locals.push((meta, spec)),
                Spec::Sidecar(spec) => sidecars.push((meta, spec)),
                Spec::AuthorizationPolicy(spec) => policies.push((meta, spec)),
                Spec::PeerAuthentication(spec) => peers.push((meta, spec)),
                // The one has no effect on connects, as it says itself; the other is read already.
                Spec::RequestAuthentication(_) | Spec::Namespace => {}
            }
        }
        Self {
            entries,
            hidden,
            workloads,
            rules,
            routes,
            locals,
            sidecars,
            policies,
            peers,
        }
    }
}

/// Whether nobody at all may see what is exported so.
fn is_hidden(export_to: &[String]) -> bool {
    export_to.iter().any(|namespace| namespace == "~")
}

/// Each `WorkloadEntry`, found by namespace and labels without looking at each.
#[derive(Default)]
pub(super) struct Workloads<'a> {
    all: Vec<Workload<'a>>,
    by_namespace: HashMap<&'a str, Vec<usize>>,
    /// By namespace, label and value.
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<usize>>,
}

impl<'a> Workloads<'a> {
    fn add(&mut self, meta: &'a Meta, spec: &'a WorkloadEntry) {
        let place = self.all.len();
        let namespace = meta.id.namespace.as_str();
        self.by_namespace.entry(namespace).or_default().push(place);
        for (label, value) in &spec.labels {
            let key = (namespace, label.as_str(), value.as_str());
            self.by_label.entry(key).or_default().push(place);
        }
        self.all.push(Workload {
            meta,
            spec,
            id: Arc::new(meta.id.clone()),
        });
    }

    /// Those of `namespace` that carry every label of `selector`, oldest first; an empty selector selects all.
    pub(super) fn select<'s>(
        &'s self,
        namespace: &'s str,
        selector: &'s BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'s Workload<'a>> + use<'s, 'a> {
        let carriers = selector.iter().map(|(label, value)| {
            self.by_label
                .get(&(namespace, label.as_str(), value.as_str()))
                .map_or(&[][..], Vec::as_slice)
        });
        let rarest = carriers.min_by_key(|places| places.len());
        let places = rarest.unwrap_or_else(|| {
            let all = self.by_namespace.get(namespace);
            all.map_or(&[][..], Vec::as_slice)
        });
        let candidates = places.iter().map(|place| &self.all[*place]);
        candidates.filter(move |workload| carries(&workload.spec.labels, selector))
    }
}
