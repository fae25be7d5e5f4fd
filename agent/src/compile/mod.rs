//! From a snapshot to a program: one pure function. The same snapshot gives the same program, whatever came before.

mod catalog;
pub mod codes;
mod destinations;
mod endpoints;
mod findings;
mod frontends;
mod hosts;
mod load;
mod locality;
mod names;
mod policy;
mod prefixes;
pub mod program;
pub mod report;
mod services;
mod shares;

pub use names::{Names, Saying};
pub use program::{
    Action, Compiled, Destination, Endpoint, Frontend, Program, RefuseReason, Service, ServiceKey,
};
pub use report::{Report, report};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Snapshot;

use catalog::Catalog;
use destinations::{Destinations, Vips};
use endpoints::Sources;
use findings::TlsFindings;
use frontends::{Claimant, Claims};
use hosts::Host;
use policy::Policies;

/// Compiles everything that `snapshot` says.
pub fn compile(snapshot: &Snapshot) -> Compiled {
    let mut diagnostics = Vec::new();
    let catalog = Catalog::new(snapshot);
    let policies = Policies::new(&catalog.rules, &snapshot.mesh, &mut diagnostics);
    let hosts = hosts::unite(&catalog.entries, &mut diagnostics);
    let sources: Vec<Sources> = catalog
        .entries
        .iter()
        .map(|entry| endpoints::collect(entry, &catalog.workloads, snapshot, &mut diagnostics))
        .collect();
    diagnostics.extend(catalog.entries.iter().filter_map(findings::undone));
    diagnostics.extend(catalog.entries.iter().flat_map(findings::undialable));

    let vips = Vips::new(snapshot);
    let mut claimants = Vec::new();
    let mut claims = Claims::default();
    let mut tls = TlsFindings::default();
    for host in &hosts {
        let destinations = Destinations::of(host, &vips, snapshot);
        diagnostics.extend(destinations.unreachable(host));
        for declared in &host.ports {
            let age = declared.entry.age;
            let built = services::build(host, declared, &sources[age], &policies, snapshot);
            let key = ServiceKey {
                namespace: Arc::clone(&host.namespace),
                host: Arc::clone(&host.name),
                port: declared.port.number,
                transport: declared.transport(),
            };
            if let Some(rule) = built.tls_rule {
                tls.add(&rule.meta.id, &rule.meta.origin, &key);
            }
            destinations.claim(&mut claims, claimants.len(), age);
            claimants.push(Claimant {
                key,
                service: Arc::new(built.service),
            });
        }
    }
    let frontends = claims.settle(&claimants, &mut diagnostics);
    diagnostics.extend(tls.report());
    let demand = demand(&hosts, &sources);
    diagnostics.extend(findings::unresolved(&hosts, &sources, snapshot));
    diagnostics.sort();
    diagnostics.dedup();
    let services = claimants.into_iter().map(|c| (c.key, c.service));
    Compiled {
        program: Program {
            services: services.collect(),
            frontends,
            vip_ranges: snapshot.vip_ranges,
        },
        demand,
        diagnostics,
    }
}

/// Host names to keep resolved: of hosts, so that their addresses are recognised, and of endpoints.
fn demand(hosts: &[Host], sources: &[Sources]) -> BTreeSet<Arc<str>> {
    let of_hosts = hosts.iter().filter_map(|host| host.resolvable.as_ref());
    let of_endpoints = sources.iter().flat_map(Sources::names);
    of_hosts.chain(of_endpoints).cloned().collect()
}

#[cfg(test)]
mod tests;
