//! Which hosts a client sees, and of hosts of one name in several namespaces which one: its own namespace's, then one that is
//! exported to it by name, then one that is exported to all; of equal ones the oldest (Istio's `SidecarScope`).

use std::collections::{BTreeSet, HashMap, HashSet, hash_map};

use crate::api::{Diagnostic, MeshConfig, ServiceEntry, Severity};

use super::client::{Client, Export, exported};
use super::codes;
use super::hosts::Host;

/// Which ports of a host a client sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Ports {
    All,
    Only(BTreeSet<u16>),
}

impl Ports {
    pub(super) fn contain(&self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Only(ports) => ports.contains(&port),
        }
    }
}

/// A host that a client sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seen {
    /// Among all hosts.
    pub(super) place: usize,
    pub(super) ports: Ports,
}

/// The hosts that are exported to the client, one of each name, by their places. `import` says what of them the client asks for.
pub(super) fn seen(
    hosts: &[Host<'_>],
    mesh: &MeshConfig,
    client: Client<'_>,
    import: impl Fn(&Host<'_>) -> Option<Ports>,
) -> Vec<Seen> {
    let mut best: HashMap<&str, (Rank, Seen)> = HashMap::with_capacity(hosts.len());
    for (place, host) in hosts.iter().enumerate() {
        let Some(export) = export(host, mesh, client) else {
            continue;
        };
        let Some(ports) = import(host) else {
            continue;
        };
        let rank = (
            *host.namespace != *client.namespace,
            export == Export::Public,
        );
        let seen = (rank, Seen { place, ports });
        match best.entry(&host.name) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(seen);
            }
            // Hosts are the oldest first.
            hash_map::Entry::Occupied(mut known) if rank < known.get().0 => {
                known.insert(seen);
            }
            hash_map::Entry::Occupied(_) => {}
        }
    }
    let mut all: Vec<Seen> = best.into_values().map(|(_, seen)| seen).collect();
    all.sort_unstable_by_key(|seen| seen.place);
    all
}

/// The least comes first: whether it is another namespace than the client's, and whether it is exported to all.
type Rank = (bool, bool);

fn export(host: &Host<'_>, mesh: &MeshConfig, client: Client<'_>) -> Option<Export> {
    let entry = host.entries.first()?;
    client.sees(export_to(entry.spec, mesh), &host.namespace)
}

/// The namespaces that the entry is for.
pub(super) fn export_to<'a>(entry: &'a ServiceEntry, mesh: &'a MeshConfig) -> &'a [String] {
    exported(&entry.export_to, &mesh.default_service_export_to)
}

/// Says of hosts that no client sees why that is.
pub(super) fn unseen(
    hosts: &[Host<'_>],
    seen: &HashSet<usize>,
    mesh: &MeshConfig,
) -> Vec<Diagnostic> {
    let by_name: HashMap<&str, &Host<'_>> = seen
        .iter()
        .map(|place| (&*hosts[*place].name, &hosts[*place]))
        .collect();
    let unseen = hosts
        .iter()
        .enumerate()
        .filter(|(place, _)| !seen.contains(place));
    unseen
        .filter_map(|(_, host)| {
            let entry = host.entries.first()?;
            let why = match by_name.get(&*host.name) {
                Some(other) => format!("they see that of namespace {}", other.namespace),
                None => format!(
                    "it is for {}",
                    described(export_to(entry.spec, mesh), &host.namespace)
                ),
            };
            let message = format!("no client of this node sees {}: {why}", host.name);
            let found =
                Diagnostic::about(Severity::Info, codes::UNSEEN_HOST, entry.meta, message);
            Some(found.at("spec.hosts", 0).hint(
                "nothing to do, unless clients here are to reach it: see exportTo, and the namespaces of LocalWorkloads",
            ))
        })
        .collect()
}

fn described(export_to: &[String], home: &str) -> String {
    let names = export_to.iter().map(|to| match to.as_str() {
        "*" => "all namespaces".to_owned(),
        "." => format!("namespace {home}"),
        to => format!("namespace {to}"),
    });
    names.collect::<Vec<_>>().join(" and ")
}
