//! Which hosts a client sees, and of hosts of one name in several namespaces which one: its own namespace's, then one that is
//! exported to it by name, then one that is exported to all; of equal ones the oldest (Istio's `SidecarScope`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map};
use std::sync::LazyLock;

use crate::api::mesh_config::Visibility;
use crate::api::{Diagnostic, MeshConfig, Meta, ServiceEntry, Severity, Spec};
use crate::model::Snapshot;

use super::client::{Client, Export, NO_LABELS, exported};
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
    client: Client<'_>,
    import: impl Fn(&Host<'_>) -> Option<Ports>,
) -> Vec<Seen> {
    let mut best: HashMap<&str, (Rank, Seen)> = HashMap::with_capacity(hosts.len());
    for (place, host) in hosts.iter().enumerate() {
        let Some(export) = export(host, client) else {
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

fn export(host: &Host<'_>, client: Client<'_>) -> Option<Export> {
    let entry = host.entries.first()?;
    client.sees(entry.export_to, &host.namespace)
}

/// For whom entries are: as they say, and as far as the mesh lets them.
pub(super) struct Exports<'a> {
    mesh: &'a MeshConfig,
    /// The labels of each namespace of which some are known.
    labels: HashMap<&'a str, &'a BTreeMap<String, String>>,
}

impl<'a> Exports<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let namespaces = snapshot.objects.iter();
        let namespaces = namespaces.filter(|object| matches!(object.spec, Spec::Namespace));
        let labels = namespaces.map(|object| (object.meta.id.name.as_str(), &object.meta.labels));
        Self {
            mesh: &snapshot.mesh,
            labels: labels.collect(),
        }
    }

    /// The namespaces that the entry is for, and whether the mesh says that it is for no more.
    pub(super) fn of(&self, meta: &Meta, entry: &'a ServiceEntry) -> (&'a [String], bool) {
        static NOBODY: LazyLock<[String; 1]> = LazyLock::new(|| ["~".to_owned()]);
        static OWN: LazyLock<[String; 1]> = LazyLock::new(|| [".".to_owned()]);
        let written = exported(&entry.export_to, &self.mesh.default_service_export_to);
        let home = meta.id.namespace.as_str();
        let is_for_home = written
            .iter()
            .any(|to| to == "*" || to == "." || to == home);
        let limited: &[String] = match self.visibility(home) {
            Visibility::Public => return (written, false),
            Visibility::Namespace if is_for_home => &*OWN,
            Visibility::Namespace | Visibility::None => &*NOBODY,
        };
        (limited, written != limited)
    }

    fn visibility(&self, namespace: &str) -> Visibility {
        let labels = self.labels.get(namespace).copied();
        self.mesh
            .visibility
            .of(namespace, labels.unwrap_or(&NO_LABELS))
    }
}

/// Says of entries that the mesh hides from everybody.
pub(super) fn hidden(entries: &[(&Meta, bool)]) -> impl Iterator<Item = Diagnostic> {
    let by_mesh = entries.iter().filter(|(_, is_by_mesh)| *is_by_mesh);
    by_mesh.map(|(meta, _)| {
        let message = "no client sees the entry: serviceEntryVisibility of the mesh hides it";
        Diagnostic::about(Severity::Info, codes::UNSEEN_HOST, meta, message)
            .at("spec.exportTo", 0)
            .hint("nothing to do, unless clients are to reach it: see serviceEntryVisibility in the mesh's configuration")
    })
}

/// Says of hosts that no client sees why that is.
pub(super) fn unseen(hosts: &[Host<'_>], seen: &HashSet<usize>) -> Vec<Diagnostic> {
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
            let why = if let Some(other) = by_name.get(&*host.name) {
                format!("they see that of namespace {}", other.namespace)
            } else {
                let by = if entry.is_narrowed {
                    ", as serviceEntryVisibility of the mesh has it"
                } else {
                    ""
                };
                let described = described(entry.export_to, &host.namespace);
                format!("it is for {described}{by}")
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
