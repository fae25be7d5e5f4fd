//! From a snapshot to a program: one pure function. The same snapshot gives the same program, whatever came before.

mod catalog;
pub mod codes;
mod endpoints;
mod frontends;
mod hosts;
mod load;
mod locality;
mod policy;
mod prefixes;
pub mod program;
pub mod report;
mod services;
mod shares;

pub use program::{
    Action, Compiled, Destination, Endpoint, Frontend, Program, RefuseReason, Service, ServiceKey,
};
pub use report::{Report, report};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::api::{Diagnostic, ObjectId, Origin, Resolution, Severity};
use crate::model::Snapshot;

use catalog::{Catalog, Entry};
use endpoints::Sources;
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
    diagnostics.extend(catalog.entries.iter().filter_map(undone));

    let mut claimants = Vec::new();
    let mut claims = Claims::default();
    let mut tls = TlsFindings::default();
    for host in &hosts {
        let destinations = Destinations::of(host, snapshot);
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
    diagnostics.extend(unresolved(&hosts, &sources, snapshot));
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

/// Where clients find a host.
struct Destinations {
    addresses: BTreeSet<ipnet::IpNet>,
    vips: Vec<IpAddr>,
    resolved: Vec<IpAddr>,
}

impl Destinations {
    fn of(host: &Host, snapshot: &Snapshot) -> Self {
        let name = host.resolvable.as_ref();
        let mut resolved = name.map_or_else(Vec::new, |n| endpoints::answered(snapshot, n));
        resolved.retain(|address| is_dialable(*address) && !snapshot.vip_ranges.contains(*address));
        Self {
            addresses: host.addresses(),
            vips: host.vips(snapshot),
            resolved,
        }
    }

    fn claim(&self, claims: &mut Claims, claimant: usize, age: usize) {
        let vips = self.vips.iter().map(|vip| ipnet::IpNet::from(*vip));
        for net in self.addresses.iter().copied().chain(vips) {
            claims.declare(claimant, age, net);
        }
        for address in &self.resolved {
            claims.resolve(claimant, age, *address);
        }
    }

    /// A wildcard without addresses has no destination until names are learned.
    fn unreachable(&self, host: &Host) -> Option<Diagnostic> {
        let entry = host.entries.first()?;
        if host.resolvable.is_some()
            || !self.addresses.is_empty()
            || host.ports.is_empty()
            || entry.spec.resolution == Resolution::DynamicDns
        {
            return None;
        }
        let message = format!(
            "no destination leads to {}: a wildcard host has no address of its own",
            host.name
        );
        let found = Diagnostic::about(
            Severity::Warning,
            codes::UNREACHABLE_HOST,
            entry.meta,
            message,
        );
        Some(
            found
                .at("spec.hosts", 0)
                .hint("give the entry spec.addresses, or list its hosts"),
        )
    }
}

/// Whether a client can mean a service by this address. Loopback is one where services run beside their clients.
fn is_dialable(address: IpAddr) -> bool {
    !address.is_unspecified()
        && !address.is_multicast()
        && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Host names to keep resolved: of hosts, so that their addresses are recognised, and of endpoints.
fn demand(hosts: &[Host], sources: &[Sources]) -> BTreeSet<Arc<str>> {
    let of_hosts = hosts.iter().filter_map(|host| host.resolvable.as_ref());
    let of_endpoints = sources.iter().flat_map(Sources::names);
    of_hosts.chain(of_endpoints).cloned().collect()
}

/// What of an entry is not carried out, whatever its hosts.
fn undone(entry: &Entry) -> Option<Diagnostic> {
    if entry.spec.resolution == Resolution::DynamicDns {
        let message = "resolution DYNAMIC_DNS needs the name server; connects are refused";
        let found = Diagnostic::about(Severity::Warning, codes::DYNAMIC_DNS, entry.meta, message);
        return Some(
            found
                .at("spec.resolution", 0)
                .hint("list the hosts, and use resolution DNS"),
        );
    }
    let value = entry.meta.annotations.get(services::TRAFFIC_DISTRIBUTION)?;
    let message = match locality::traffic_distribution(value) {
        Some((_, true)) => return None,
        Some((_, false)) => {
            format!(
                "{value} is carried out down to the subzone: which node an endpoint is on does not count"
            )
        }
        None => format!("traffic-distribution {value} is not known, and has no effect"),
    };
    let code = codes::TRAFFIC_DISTRIBUTION;
    let found = Diagnostic::about(Severity::Warning, code, entry.meta, message);
    let field = format!("metadata.annotations[{}]", services::TRAFFIC_DISTRIBUTION);
    Some(found.at(field, 0).hint("use PreferSameZone"))
}

/// Names that endpoints of some service come from, and that have no address.
fn unresolved(hosts: &[Host], sources: &[Sources], snapshot: &Snapshot) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for host in hosts {
        for entry in &host.entries {
            let sources = &sources[entry.age];
            let own = host.resolvable.as_ref().filter(|_| sources.is_implicit());
            for name in sources.names().chain(own) {
                let Some(answer) = snapshot.answers.get(name) else {
                    continue;
                };
                if let (Some(why), true) = (&answer.failure, answer.addresses.is_empty()) {
                    let message = format!("{name} does not resolve, so it is no endpoint: {why}");
                    let code = codes::NAME_UNRESOLVED;
                    let warning = Diagnostic::about(Severity::Warning, code, entry.meta, message);
                    found.push(
                        warning
                            .at("spec", 0)
                            .hint("check the name, and the resolvers that the agent uses"),
                    );
                }
            }
        }
    }
    found
}

/// Rules that ask for TLS, each with the services that are refused on their account.
#[derive(Default)]
struct TlsFindings(BTreeMap<(ObjectId, Origin), Vec<ServiceKey>>);

impl TlsFindings {
    fn add(&mut self, id: &ObjectId, origin: &Origin, service: &ServiceKey) {
        let rule = (id.clone(), origin.clone());
        self.0.entry(rule).or_default().push(service.clone());
    }

    fn report(self) -> impl Iterator<Item = Diagnostic> {
        /// More would make the sentence unreadable.
        const NAMED: usize = 3;
        self.0.into_iter().map(|((id, origin), services)| {
            let mut named: Vec<String> =
                services.iter().take(NAMED).map(ToString::to_string).collect();
            if services.len() > NAMED {
                named.push(format!("{} more", services.len() - NAMED));
            }
            let message = format!(
                "TLS cannot be originated here, and plaintext is not sent in its place: connects to {} are refused",
                named.join(", ")
            );
            Diagnostic::new(Severity::Error, codes::TLS_ORIGINATION, &id, &origin, message)
                .at("spec.trafficPolicy.tls.mode", 0)
                .hint("have the clients speak TLS themselves and set the mode to DISABLE")
        })
    }
}

#[cfg(test)]
mod tests;
