//! What must be said of objects that is not said where they are compiled: what is not carried out, and for whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::{Diagnostic, Meta, ObjectId, Origin, Severity};
use crate::model::Snapshot;

use super::catalog::Entry;
use super::endpoints::Sources;
use super::hosts::Host;
use super::program::{RefuseReason, ServiceKey};
use super::{codes, destinations, locality, setting};

/// What of an entry is not carried out, whatever its hosts.
pub(super) fn undone(entry: &Entry) -> Option<Diagnostic> {
    let value = entry.meta.annotations.get(setting::TRAFFIC_DISTRIBUTION)?;
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
    let field = format!("metadata.annotations[{}]", setting::TRAFFIC_DISTRIBUTION);
    Some(found.at(field, 0).hint("use PreferSameZone"))
}

/// Addresses that are not captured, as they do not stand for one host.
pub(super) fn undialable(entry: &Entry) -> impl Iterator<Item = Diagnostic> {
    let addresses = entry.spec.addresses.iter().enumerate();
    let undialable = addresses.filter(|(_, net)| {
        let net = destinations::canonical(**net);
        net.prefix_len() == net.max_prefix_len() && !destinations::is_dialable(net.addr())
    });
    let meta = entry.meta;
    undialable.map(move |(index, net)| {
        let message = format!(
            "{} stands for many hosts, or for another one on each link or node: connects to it are left alone",
            net.addr()
        );
        Diagnostic::about(Severity::Warning, codes::ADDRESS_OF_LINK, meta, message)
            .at(format!("spec.addresses[{index}]"), 0)
            .hint("declare an address that is the same everywhere, or none: the entry then has automatic ones")
    })
}

/// Names that endpoints of some service come from, and that have no address.
pub(super) fn unresolved(
    hosts: &[Host],
    sources: &[Sources],
    snapshot: &Snapshot,
) -> Vec<Diagnostic> {
    let failed = |name: &Arc<str>| {
        let answer = snapshot.answers.get(name)?;
        let why = answer.failure.as_ref()?;
        answer.addresses.is_empty().then(|| (Arc::clone(name), why))
    };
    let mut found = Vec::new();
    for host in hosts {
        for entry in &host.entries {
            let sources = &sources[entry.age];
            let own = host.resolvable.as_ref().filter(|_| sources.is_implicit());
            let names = sources.names().chain(own).filter_map(failed);
            found.extend(names.map(|(name, why)| unresolved_name(entry, &name, why)));
        }
    }
    found
}

fn unresolved_name(entry: &Entry, name: &str, why: &str) -> Diagnostic {
    let message = format!("{name} does not resolve, so it is no endpoint: {why}");
    Diagnostic::about(
        Severity::Warning,
        codes::NAME_UNRESOLVED,
        entry.meta,
        message,
    )
    .at("spec", 0)
    .hint("check the name, and the resolvers that the agent uses")
}

/// The first of them, and how many more there are: all would make a sentence unreadable.
pub(super) fn listed(names: &[impl ToString]) -> String {
    const NAMED: usize = 3;
    let mut listed: Vec<String> = names.iter().take(NAMED).map(ToString::to_string).collect();
    if names.len() > NAMED {
        listed.push(format!("{} more", names.len() - NAMED));
    }
    listed.join(", ")
}

/// Rules that ask for what cannot be done, each with the services that are refused on their account.
#[derive(Default)]
pub(super) struct Refusals(BTreeMap<(ObjectId, Origin, RefuseReason), Vec<ServiceKey>>);

impl Refusals {
    pub(super) fn add(&mut self, rule: &Meta, reason: RefuseReason, service: &ServiceKey) {
        let rule = (rule.id.clone(), rule.origin.clone(), reason);
        self.0.entry(rule).or_default().push(service.clone());
    }

    pub(super) fn report(self) -> impl Iterator<Item = Diagnostic> {
        self.0.into_iter().map(|((id, origin, reason), services)| {
            let (code, why, field, hint) = if reason == RefuseReason::Passthrough {
                (
                    codes::PASSTHROUGH_NOWHERE,
                    "PASSTHROUGH leads nowhere from automatic addresses, which are all that clients are told",
                    "spec.trafficPolicy.loadBalancer.simple",
                    "give the ServiceEntry spec.addresses, or have it balance over its endpoints",
                )
            } else {
                (
                    codes::TLS_ORIGINATION,
                    "TLS cannot be originated here, and plaintext is not sent in its place",
                    "spec.trafficPolicy.tls.mode",
                    "have the clients speak TLS themselves and set the mode to DISABLE",
                )
            };
            let message = format!("{why}: connects to {} are refused", listed(&services));
            Diagnostic::new(Severity::Error, code, &id, &origin, message)
                .at(field, 0)
                .hint(hint)
        })
    }
}
