//! Who the clients are, and what policies denied them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::compile::{Outbound, Scope};
use crate::observe::State;

use super::place::Place;

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadView {
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// What names its cgroups.
    pub pattern: String,
    /// Those that there are now, by their paths, without those below them.
    pub cgroups: Vec<String>,
    /// Who sees and may do the same, in words; empty for what clients do that no workload claims.
    pub scope: String,
    /// `ALLOW_ANY`, `REGISTRY_ONLY` or `AUDIT`.
    pub outbound: String,
    /// Destinations that lead it to services.
    pub frontends: usize,
    pub object: Place,
}

/// Connects that were denied, or would have been, alike but for when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DenialView {
    /// `namespace/name` of the client's workload; absent where none claims it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The path of the client's cgroup; absent where it is gone or not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The process that was denied last.
    pub process: u32,
    pub destination: SocketAddr,
    /// `TCP`, `UDP` or the number of another.
    pub protocol: String,
    /// `DENIED` or `AUDITED`, which was let through.
    pub outcome: String,
    /// What denies it.
    pub reason: String,
    pub count: u64,
    /// Seconds since the last.
    pub age_seconds: u64,
}

/// Every workload, in the order of their objects.
pub fn workloads(state: &State) -> Vec<WorkloadView> {
    let compiled = &state.compiled;
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for frontend in compiled.program.frontends.keys() {
        *counts.entry(frontend.scope).or_default() += 1;
    }
    let residents = compiled.residents.iter();
    residents
        .map(|(meta, workload, scope)| {
            let of = compiled.program.clients.scopes.get(&scope);
            let paths = compiled.cgroup_paths.keys();
            let named = paths.filter(|path| workload.cgroup.matches(path));
            WorkloadView {
                namespace: meta.id.namespace.clone(),
                name: meta.id.name.clone(),
                service_account: workload.service_account.clone(),
                labels: meta.labels.clone(),
                pattern: workload.cgroup.to_string(),
                cgroups: named.map(ToString::to_string).collect(),
                scope: of.map_or_else(String::new, |scope| scope.name.to_string()),
                outbound: of.map_or("ALLOW_ANY", outbound).to_owned(),
                frontends: counts.get(&scope).copied().unwrap_or(0),
                object: Place::new(&meta.id, &meta.origin),
            }
        })
        .collect()
}

const fn outbound(scope: &Scope) -> &'static str {
    match scope.outbound {
        Outbound::AllowAny => "ALLOW_ANY",
        Outbound::RegistryOnly => "REGISTRY_ONLY",
        Outbound::Audited => "AUDIT",
    }
}
