//! Which workloads of the mesh are where: the endpoints of every entry of location `MESH_INTERNAL` that is exported to anybody,
//! whoever sees it here. A server enforces what policies say of it, by whatever way a client comes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::Resolution;
use crate::model::Snapshot;

use super::catalog::Entry;
use super::endpoints::{Labels, Source, Sources};
use super::hosts::{Host, transport};

/// A workload of the mesh, as policies select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshWorkload {
    pub namespace: Arc<str>,
    pub labels: Arc<BTreeMap<String, String>>,
}

/// Address, port and transport.
pub(super) type Spot = (IpAddr, u16, u8);

/// Who is at a spot.
pub(super) struct Site {
    /// Several objects may say so, in other words.
    pub(super) workloads: Arc<[MeshWorkload]>,
    /// The entry whose endpoint it is, by its age, and the place of the port; of several the first.
    pub(super) entry: usize,
    pub(super) port: usize,
}

#[derive(Default)]
pub(super) struct Mesh {
    pub(super) sites: BTreeMap<Spot, Site>,
}

/// Who was found at each spot so far, and the first entry and port.
type Found = BTreeMap<Spot, (usize, usize, Vec<MeshWorkload>)>;

impl Mesh {
    /// `sources` are by the age of the entry.
    pub(super) fn new(
        entries: &[Entry<'_>],
        hosts: &[Host<'_>],
        sources: &[Sources<'_>],
        snapshot: &Snapshot,
    ) -> Self {
        let mut found = Found::new();
        for entry in entries {
            add(&mut found, entry, &sources[entry.age], None, snapshot);
        }
        // Hosts that are their own endpoints, names that were asked for included.
        for host in hosts {
            for entry in &host.entries {
                let sources = &sources[entry.age];
                if let Some(own) = sources.of_host(host, entry) {
                    add(&mut found, entry, sources, Some(&own), snapshot);
                }
            }
        }
        let mut sites = BTreeMap::new();
        for (spot, (entry, port, workloads)) in found {
            let workloads = workloads.into();
            let site = Site {
                workloads,
                entry,
                port,
            };
            sites.insert(spot, site);
        }
        Self { sites }
    }

    /// Who is there; nobody where that is no endpoint of the mesh.
    pub(super) fn at(&self, spot: Spot) -> Arc<[MeshWorkload]> {
        let site = self.sites.get(&spot);
        site.map_or_else(Arc::default, |site| Arc::clone(&site.workloads))
    }
}

fn add<'a>(
    found: &mut Found,
    entry: &Entry<'_>,
    sources: &Sources<'a>,
    own: Option<&Source<'a>>,
    snapshot: &Snapshot,
) {
    if !entry.is_in_mesh() {
        return;
    }
    for (place, port) in entry.spec.ports.iter().enumerate() {
        // Every address of a name, also where connects are sent to the first alone.
        for candidate in sources.candidates(own, Resolution::Dns, port, snapshot) {
            let spot = (candidate.address, candidate.port, transport(port));
            let new = || (entry.age, place, Vec::new());
            let (.., workloads) = found.entry(spot).or_insert_with(new);
            let workload = MeshWorkload {
                namespace: Arc::clone(&entry.namespace),
                labels: Labels::clone(&candidate.source.labels),
            };
            if !workloads.contains(&workload) {
                workloads.push(workload);
            }
        }
    }
}
