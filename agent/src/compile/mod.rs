//! From a snapshot to a program: one pure function. The same snapshot gives the same program, whatever came before.

mod access;
mod builder;
mod catalog;
mod classes;
mod client;
mod clients;
mod cluster;
pub mod codes;
mod destinations;
mod endpoints;
mod fences;
mod findings;
mod frontends;
mod hosts;
mod learned;
mod load;
mod locality;
mod mesh;
mod mtls;
mod names;
mod outbound;
mod placement;
mod policy;
mod prefixes;
mod prepared;
mod probing;
pub mod program;
pub mod report;
mod residents;
mod routed;
mod routes;
mod scopes;
mod services;
mod setting;
mod shares;
mod sidecars;
mod spread;
mod standing;
mod views;
mod visibility;

pub use access::{Access, Family, Judge, RuleName, Ruling, Subject};
pub use agent_common::abi::{Exemption, Outbound};
pub use clients::{Clients, Scope, by_longest};
pub use learned::{Extension, extend, may_stand};
pub use mesh::MeshWorkload;
pub use names::{Names, Saying};
pub use program::{
    Action, Compiled, Destination, Endpoint, Frontend, Program, RefuseReason, Service, ServiceKey,
};
pub use report::{Report, report};
pub use residents::{Moved, Residents, settle};
pub use spread::{Cluster, Policy};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Snapshot;

use access::{AccessPolicies, Asking};
use builder::{Builder, Finished};
use catalog::Catalog;
use classes::Classes;
use client::Client;
use endpoints::Sources;
use hosts::Host;
use prepared::Stock;
use scopes::Scopes;
use views::Views;

/// Compiles everything that `snapshot` says.
pub fn compile(snapshot: &Snapshot) -> Compiled {
    let mut diagnostics = Vec::new();
    let catalog = Catalog::new(snapshot);
    let locals = catalog.locals.iter();
    let locals = locals.map(|(meta, local)| Client::of_workload(meta, local));
    let access = AccessPolicies::new(&catalog, snapshot);
    let asking = Asking::new(&access, &catalog);
    let classes = Classes::divide(&catalog, &snapshot.mesh, &asking, locals);
    diagnostics.extend(visibility::hidden(&catalog.hidden));
    diagnostics.extend(policy::shadowed(&catalog.rules));
    diagnostics.extend(classes.diagnostics.iter().cloned());
    let mut hosts = hosts::unite(&catalog.entries, &mut diagnostics);
    let sources: Vec<Sources> = catalog
        .entries
        .iter()
        .map(|entry| endpoints::collect(entry, &catalog.workloads, snapshot, &mut diagnostics))
        .collect();
    diagnostics.extend(catalog.entries.iter().filter_map(findings::undone));
    diagnostics.extend(catalog.entries.iter().flat_map(findings::undialable));
    diagnostics.extend(catalog.entries.iter().filter_map(probing::undone));

    let views = Views::new(&mut hosts, &classes, snapshot);
    let seen = views.places();
    let found = hosts.iter().zip(&views.destinations).enumerate();
    let found = found.filter(|(place, _)| seen.contains(place));
    diagnostics
        .extend(found.filter_map(|(_, (host, destinations))| destinations.unreachable(host)));
    diagnostics.extend(visibility::unseen(&hosts, &seen));
    let stock = Stock {
        entries: &catalog.entries,
        hosts: &hosts,
        destinations: &views.destinations,
        sources: &sources,
        snapshot,
    };
    let mut builder = Builder::new(&catalog, (&classes, &asking), stock);
    let of_classes: Vec<usize> = (0..classes.all.len())
        .map(|class| {
            let view = views.of_class(class);
            let names = &views.names[usize::from(view.names)];
            builder.behave(&classes.all[class], view, names)
        })
        .collect();
    let Finished {
        claimants,
        behaviours,
        diagnostics: found,
    } = builder.finish();
    diagnostics.extend(found);
    diagnostics.extend(asking.unsure(&classes.named(&catalog)));
    diagnostics.extend(access.unused(&catalog));
    let mut scopes = Scopes::new(behaviours);
    let of_workloads = classes.of_workloads.iter();
    let of_workloads = of_workloads.map(|class| scopes.of_behaviours[of_classes[*class]]);
    let residents = Residents::new(&snapshot.objects, of_workloads);
    let settled = residents.settle(&snapshot.cgroups);
    diagnostics.extend(settled.diagnostics);
    let (frontends, learned) = scopes.frontends(&claimants);
    // A route may lead to hosts that no client sees.
    let is_used = |place: usize| seen.contains(&place) || !catalog.routes.is_empty();
    let demand = demand(&hosts, &sources, is_used);
    diagnostics.extend(findings::unresolved(&hosts, &sources, snapshot));
    diagnostics.sort();
    diagnostics.dedup();
    let services = claimants.into_iter().map(|c| (c.key, c.service));
    Compiled {
        program: Program {
            services: services.collect(),
            frontends: frontends.into_iter().collect(),
            vip_ranges: snapshot.vip_ranges,
            clients: Clients {
                exempt: outbound::exempt(&scopes.all, snapshot),
                scopes: scopes.all,
                cgroups: settled.cgroups,
                levels: settled.levels,
            },
        },
        demand: Arc::new(demand),
        names: views.names.into(),
        learned: learned.into_iter().collect(),
        learners: Arc::new(scopes.learners),
        residents,
        cgroup_paths: snapshot.cgroups.clone(),
        diagnostics: diagnostics.into(),
    }
}

/// Host names to keep resolved: of the hosts that are used, so that their addresses are recognised, and of their endpoints.
fn demand(
    hosts: &[Host],
    sources: &[Sources],
    is_used: impl Fn(usize) -> bool,
) -> BTreeSet<Arc<str>> {
    let used = hosts
        .iter()
        .enumerate()
        .filter(|(place, _)| is_used(*place));
    let used: Vec<&Host> = used.map(|(_, host)| host).collect();
    let of_hosts = used.iter().filter_map(|host| host.resolvable.as_ref());
    let entries = used.iter().flat_map(|host| &host.entries);
    let of_endpoints = entries.flat_map(|entry| sources[entry.age].names());
    of_hosts.chain(of_endpoints).cloned().collect()
}

#[cfg(test)]
mod tests;
