//! Which endpoints take mutual TLS only (`PeerAuthentication`): clients are let connect in plaintext, and would be cut off there.

use std::collections::{BTreeMap, HashMap};

use crate::api::{Diagnostic, MeshConfig, Meta, MtlsMode, PeerAuthentication, Severity};

use super::catalog::Catalog;
use super::client::carries;
use super::codes;
use super::mesh::MeshWorkload;
use super::program::Service;

/// Every `PeerAuthentication`, by namespace.
pub(super) struct PeerPolicies<'a> {
    /// Oldest first.
    by_namespace: HashMap<&'a str, Vec<(&'a Meta, &'a PeerAuthentication)>>,
    root: &'a str,
}

impl<'a> PeerPolicies<'a> {
    pub(super) fn new(catalog: &Catalog<'a>, mesh: &'a MeshConfig) -> Self {
        let mut by_namespace: HashMap<&str, Vec<_>> = HashMap::new();
        for (meta, spec) in catalog.peers.iter().copied() {
            let of_namespace = by_namespace.entry(&meta.id.namespace).or_default();
            of_namespace.push((meta, spec));
        }
        Self {
            by_namespace,
            root: &mesh.root_namespace,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_namespace.is_empty()
    }

    /// Says of the service, whose port `entry` declares, which of its endpoints take mutual TLS only.
    pub(super) fn note(&self, service: &mut Service, entry: &Meta) -> Vec<Diagnostic> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut strict: BTreeMap<String, usize> = BTreeMap::new();
        for endpoint in &service.endpoints {
            let mut modes = endpoint
                .workloads
                .iter()
                .filter_map(|w| self.mode(w, endpoint.port));
            if let Some((meta, _)) = modes.find(|(_, mode)| *mode == MtlsMode::Strict) {
                let by = format!("{} ({})", meta.id, meta.origin);
                *strict.entry(by).or_default() += 1;
            }
        }
        let all = service.endpoints.len();
        let found = strict.into_iter().map(|(by, count)| {
            service.reasons.push(format!(
                "{by} is STRICT for {count} of {all} endpoints: they cut off clients that do not speak the mesh's mutual TLS themselves"
            ));
            let message = format!(
                "endpoints of port {} cannot be reached in plaintext: {by} is STRICT for them",
                service.port_name
            );
            Diagnostic::about(Severity::Warning, codes::STRICT_MTLS, entry, message)
                .at("spec.ports", service.origin.line)
                .hint("set the mode of the PeerAuthentication to PERMISSIVE for them, or have clients speak the mesh's mutual TLS")
        });
        found.collect()
    }

    /// What is in effect at the port of the workload, and what says so: of its port and itself, then of the namespace, then of
    /// all.
    fn mode(&self, workload: &MeshWorkload, port: u16) -> Option<(&'a Meta, MtlsMode)> {
        let namespace = &*workload.namespace;
        let of_workload = self.first(namespace, |labels| {
            labels.is_some_and(|labels| carries(&workload.labels, labels))
        });
        let of_port = of_workload.and_then(|(meta, spec)| Some((meta, *spec.ports.get(&port)?)));
        let whole = |(meta, spec): (&'a Meta, &'a PeerAuthentication)| (meta, spec.mode);
        let of_all = |namespace| self.first(namespace, |labels| labels.is_none()).map(whole);
        let levels = [
            of_port,
            of_workload.map(whole),
            of_all(namespace),
            of_all(self.root),
        ];
        let mut written = levels.into_iter().flatten();
        written.find(|(_, mode)| *mode != MtlsMode::Unset)
    }

    /// The oldest of the namespace whose labels are so; `None` stands for those that select nothing.
    fn first(
        &self,
        namespace: &str,
        is: impl Fn(Option<&BTreeMap<String, String>>) -> bool,
    ) -> Option<(&'a Meta, &'a PeerAuthentication)> {
        let mut all = self.by_namespace.get(namespace)?.iter().copied();
        all.find(|(_, spec)| is(spec.selector.as_ref().filter(|labels| !labels.is_empty())))
    }
}
