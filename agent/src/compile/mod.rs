//! From a snapshot to a program: one pure function. The same snapshot gives the same program, whatever came before.

mod catalog;
mod clients;
mod cluster;
pub mod codes;
mod destinations;
mod endpoints;
mod findings;
mod frontends;
mod hosts;
mod learned;
mod load;
mod locality;
mod names;
mod policy;
mod prefixes;
mod probing;
pub mod program;
pub mod report;
mod routed;
mod routes;
mod services;
mod setting;
mod shares;
mod spread;
mod standing;

pub use clients::{Clients, Exemption, Outbound, Scope};
pub use learned::{Extension, extend, may_stand};
pub use names::{Names, Saying};
pub use program::{
    Action, Compiled, Destination, Endpoint, Frontend, Program, RefuseReason, Service, ServiceKey,
};
pub use report::{Report, report};
pub use spread::{Cluster, Policy};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Snapshot;

use catalog::Catalog;
use cluster::Supplies;
use destinations::{Destinations, Vips};
use endpoints::Sources;
use findings::Refusals;
use frontends::{Claimant, Claims};
use hosts::Host;
use learned::Learners;
use policy::Policies;
use probing::Unprobed;
use routed::Places;
use routes::Routes;
use services::{Declaration, Routing};

/// Compiles everything that `snapshot` says.
pub fn compile(snapshot: &Snapshot) -> Compiled {
    let mut diagnostics = Vec::new();
    let catalog = Catalog::new(snapshot);
    let policies = Policies::new(&catalog.rules, &snapshot.mesh, &mut diagnostics);
    let mut hosts = hosts::unite(&catalog.entries, &mut diagnostics);
    let sources: Vec<Sources> = catalog
        .entries
        .iter()
        .map(|entry| endpoints::collect(entry, &catalog.workloads, snapshot, &mut diagnostics))
        .collect();
    diagnostics.extend(catalog.entries.iter().filter_map(findings::undone));
    diagnostics.extend(catalog.entries.iter().flat_map(findings::undialable));
    diagnostics.extend(catalog.entries.iter().filter_map(probing::undone));

    let supplies = Supplies {
        sources: &sources,
        policies: &policies,
        snapshot,
    };
    let routes = Routes::new(&catalog.routes, &snapshot.mesh);
    let found = locate(&mut hosts, snapshot);
    let places = Places::new(&hosts);
    let mut claimants = Vec::new();
    let mut claims = Claims::default();
    let mut learners = Learners::default();
    let mut refusals = Refusals::default();
    let mut unprobed = Unprobed::default();
    for (place, (host, destinations)) in hosts.iter().zip(&found.destinations).enumerate() {
        diagnostics.extend(destinations.unreachable(host));
        for declared in &host.ports {
            let age = declared.entry.age;
            let routing = Routing {
                routes: &routes,
                places: &places,
                diagnostics: &mut diagnostics,
            };
            let declaration = Declaration {
                host,
                declared,
                destinations,
            };
            for built in services::build(declaration, routing, supplies) {
                if let Some((rule, reason)) = built.refused_by {
                    refusals.add(rule, reason, &built.key);
                }
                unprobed.note(declared.entry, &built.key, &built.service);
                built.part.claim(&mut claims, claimants.len(), age);
                if destinations.learns() && built.key.route.is_none() {
                    learners.add(place, age, claimants.len(), &built.key);
                }
                claimants.push(Claimant {
                    key: built.key,
                    service: Arc::new(built.service),
                });
            }
        }
    }
    let ranges = &snapshot.vip_ranges;
    learners.claim(&snapshot.learned, &found.names, ranges, &mut claims);
    let settled = claims.settle(&claimants, &mut diagnostics);
    diagnostics.extend(refusals.report());
    diagnostics.extend(unprobed.report());
    let demand = demand(&hosts, &sources);
    diagnostics.extend(findings::unresolved(&hosts, &sources, snapshot));
    diagnostics.sort();
    diagnostics.dedup();
    let services = claimants.into_iter().map(|c| (c.key, c.service));
    Compiled {
        program: Program {
            services: services.collect(),
            frontends: settled.frontends,
            vip_ranges: snapshot.vip_ranges,
            clients: Clients::default(),
        },
        demand: Arc::new(demand),
        names: Arc::new(found.names),
        learned: settled.learned,
        learners: Arc::new(learners),
        diagnostics: diagnostics.into(),
    }
}

/// Where clients find each host, and what the name server says of it.
struct Located {
    destinations: Vec<Destinations>,
    names: Names,
}

/// Locates all hosts, and adds to them the names that were asked for and that a wildcard covers: each is a host of its own.
fn locate(hosts: &mut Vec<Host<'_>>, snapshot: &Snapshot) -> Located {
    let vips = Vips::new(snapshot);
    let mut names = Names::default();
    let mut destinations = Vec::with_capacity(hosts.len() + snapshot.asked.len());
    for (place, host) in hosts.iter().enumerate() {
        let of_host = Destinations::of(host, &vips, snapshot);
        if let Some(saying) = of_host.saying.clone() {
            names.say(&hosts::resolvable(&host.name), saying, place);
        }
        destinations.push(of_host);
    }
    for name in &snapshot.asked {
        let Some((place, Saying::OnDemand)) = names.owner(name) else {
            continue;
        };
        let host = hosts[place].on_demand(name);
        let of_name = Destinations::of(&host, &vips, snapshot);
        if let Some(saying) = of_name.saying.clone() {
            names.say_on_demand(name, saying, hosts.len());
        }
        hosts.push(host);
        destinations.push(of_name);
    }
    Located {
        destinations,
        names,
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
