//! Which hosts there are, and which entry's word counts for each port of each: several entries of a namespace may
//! declare the same host.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::{Diagnostic, ServicePort, Severity, host};
use agent_common::abi::{TCP, UDP};

use super::catalog::Entry;
use super::codes;

/// A port of a host, and the entry whose word counts for it.
#[derive(Clone, Copy)]
pub(super) struct Declared<'a> {
    pub(super) entry: &'a Entry<'a>,
    pub(super) port: &'a ServicePort,
}

impl Declared<'_> {
    pub(super) fn transport(&self) -> u8 {
        transport(self.port)
    }
}

pub(super) fn transport(port: &ServicePort) -> u8 {
    if port.protocol.is_udp() { UDP } else { TCP }
}

/// A host of one namespace, united from the entries that declare it.
#[derive(Clone)]
pub(super) struct Host<'a> {
    pub(super) namespace: Arc<str>,
    /// As written.
    pub(super) name: Arc<str>,
    /// As the resolver knows it; `None` for a wildcard.
    pub(super) resolvable: Option<Arc<str>>,
    /// Oldest first; not empty.
    pub(super) entries: Vec<&'a Entry<'a>>,
    pub(super) ports: Vec<Declared<'a>>,
}

impl Host<'_> {
    /// The host that `name`, which this wildcard covers, is when it is asked for.
    pub(super) fn on_demand(&self, name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            resolvable: Some(Arc::clone(name)),
            ..self.clone()
        }
    }
}

/// A host name as the resolver knows it.
pub(super) fn resolvable(host: &str) -> Arc<str> {
    host.trim_end_matches('.').to_ascii_lowercase().into()
}

/// A host without a dot is the name of a Kubernetes Service in the object's namespace, and so never a short host of a
/// `ServiceEntry` (Istio's `ResolveShortnameToFQDN`).
pub(super) fn full_name(host: &str, namespace: &str) -> String {
    if host.contains(['.', ':']) {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}

/// Unites the declarations of every host, in the order of its oldest entry.
pub(super) fn unite<'a>(
    entries: &'a [Entry<'a>],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Host<'a>> {
    let mut hosts: Vec<Host<'a>> = Vec::new();
    let mut known: HashMap<(&str, &str), usize> = HashMap::with_capacity(entries.len());
    for entry in entries {
        for (i, name) in entry.spec.hosts.iter().enumerate() {
            let place = *known
                .entry((&entry.meta.id.namespace, name))
                .or_insert_with(|| {
                    hosts.push(new_host(entry, name));
                    hosts.len() - 1
                });
            join(&mut hosts[place], entry, i, diagnostics);
        }
    }
    hosts
}

fn new_host<'a>(entry: &Entry<'a>, name: &str) -> Host<'a> {
    Host {
        namespace: Arc::clone(&entry.namespace),
        name: name.into(),
        resolvable: (!host::is_wildcard(name)).then(|| resolvable(name)),
        entries: Vec::new(),
        ports: Vec::new(),
    }
}

/// Adds what `entry` says of its host number `i`, as far as no older entry says otherwise.
fn join<'a>(
    host: &mut Host<'a>,
    entry: &'a Entry<'a>,
    i: usize,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if let Some(older) = host.entries.first()
        && let Some(difference) = difference(older, entry)
    {
        diagnostics.push(host_taken(host, entry, older, i, difference));
        return;
    }
    if !host.entries.iter().any(|known| known.age == entry.age) {
        host.entries.push(entry);
    }
    for (j, port) in entry.spec.ports.iter().enumerate() {
        let taken = host
            .ports
            .iter()
            .find(|known| known.port.number == port.number && known.transport() == transport(port));
        match taken {
            None => host.ports.push(Declared { entry, port }),
            // A host that one entry lists twice.
            Some(known) if known.entry.age == entry.age => {}
            Some(known) => diagnostics.push(port_taken(host, entry, known, port, j)),
        }
    }
}

/// Why two entries cannot share a host, where they cannot. Istio also asks for equal labels, which mean nothing here.
fn difference(older: &Entry, newer: &Entry) -> Option<&'static str> {
    if older.spec.resolution != newer.spec.resolution {
        Some("resolution")
    } else if older.spec.workload_selector != newer.spec.workload_selector {
        Some("workloadSelector")
    } else if older.spec.export_to != newer.spec.export_to {
        Some("exportTo")
    } else {
        None
    }
}

fn host_taken(host: &Host, entry: &Entry, older: &Entry, i: usize, difference: &str) -> Diagnostic {
    let message = format!(
        "{} is declared by the older {} ({}) with another {difference}; this declaration is not in effect",
        host.name, older.id, older.meta.origin
    );
    Diagnostic::about(Severity::Warning, codes::HOST_TAKEN, entry.meta, message)
        .at(format!("spec.hosts[{i}]"), 0)
        .hint(format!(
            "give both the same {difference}, or declare the host once"
        ))
}

fn port_taken(
    host: &Host,
    entry: &Entry,
    known: &Declared,
    port: &ServicePort,
    j: usize,
) -> Diagnostic {
    let message = format!(
        "port {} of {} is declared by the older {} ({}:{}), which decides its endpoints",
        port.number, host.name, known.entry.id, known.entry.meta.origin.file, known.port.line
    );
    Diagnostic::about(Severity::Warning, codes::PORT_TAKEN, entry.meta, message)
        .at(format!("spec.ports[{j}].number"), port.line)
        .hint("declare each port of a host in one ServiceEntry of the namespace")
}
