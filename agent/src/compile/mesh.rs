//! Which workloads of the mesh are where: the endpoints of every entry of location `MESH_INTERNAL`, whoever sees that. A server
//! enforces what policies say of it, by whatever way a client comes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::ObjectId;
use crate::model::Snapshot;

use super::endpoints::{Labels, Sources};
use super::hosts::{Declared, Host};

/// A workload of the mesh, as policies select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshWorkload {
    /// What declares it, in the workload's namespace.
    pub object: Arc<ObjectId>,
    pub labels: Arc<BTreeMap<String, String>>,
}

/// Address, port and transport.
pub(super) type Spot = (IpAddr, u16, u8);

/// Who is at a spot.
pub(super) struct Site {
    /// Several objects may say so, in other words.
    pub(super) workloads: Arc<[MeshWorkload]>,
    /// The host, and the port of it, whose endpoint it is, by their places; of several the first.
    pub(super) host: usize,
    pub(super) port: usize,
}

#[derive(Default)]
pub(super) struct Mesh {
    pub(super) sites: BTreeMap<Spot, Site>,
}

impl Mesh {
    /// `sources` are by the age of the entry.
    pub(super) fn new(hosts: &[Host<'_>], sources: &[Sources<'_>], snapshot: &Snapshot) -> Self {
        let mut found: BTreeMap<Spot, (usize, usize, Vec<MeshWorkload>)> = BTreeMap::new();
        for (place, host) in hosts.iter().enumerate() {
            for (port, declared) in host.ports.iter().enumerate() {
                let Declared { entry, .. } = declared;
                if !entry.is_in_mesh() {
                    continue;
                }
                let sources = &sources[entry.age];
                let own = sources.of_host(host, entry);
                let resolution = entry.spec.resolution;
                let candidates =
                    sources.candidates(own.as_ref(), resolution, declared.port, snapshot);
                for candidate in candidates {
                    let spot = (candidate.address, candidate.port, declared.transport());
                    let (.., workloads) = found
                        .entry(spot)
                        .or_insert_with(|| (place, port, Vec::new()));
                    let workload = MeshWorkload {
                        object: Arc::clone(&candidate.source.object),
                        labels: Labels::clone(&candidate.source.labels),
                    };
                    if !workloads.contains(&workload) {
                        workloads.push(workload);
                    }
                }
            }
        }
        let sites = found.into_iter().map(|(spot, (host, port, workloads))| {
            let workloads = workloads.into();
            (
                spot,
                Site {
                    workloads,
                    host,
                    port,
                },
            )
        });
        Self {
            sites: sites.collect(),
        }
    }

    /// Who is there; nobody where that is no endpoint of the mesh.
    pub(super) fn at(&self, spot: Spot) -> Arc<[MeshWorkload]> {
        let site = self.sites.get(&spot);
        site.map_or_else(Arc::default, |site| Arc::clone(&site.workloads))
    }
}
