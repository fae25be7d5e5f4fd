//! What must be said of objects that is not said where they are compiled: what is not carried out, and for whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::{Diagnostic, ObjectId, Origin, Resolution, Severity};
use crate::model::Snapshot;

use super::catalog::Entry;
use super::endpoints::Sources;
use super::hosts::Host;
use super::program::ServiceKey;
use super::{codes, locality, services};

/// What of an entry is not carried out, whatever its hosts.
pub(super) fn undone(entry: &Entry) -> Option<Diagnostic> {
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

/// Rules that ask for TLS, each with the services that are refused on their account.
#[derive(Default)]
pub(super) struct TlsFindings(BTreeMap<(ObjectId, Origin), Vec<ServiceKey>>);

impl TlsFindings {
    pub(super) fn add(&mut self, id: &ObjectId, origin: &Origin, service: &ServiceKey) {
        let rule = (id.clone(), origin.clone());
        self.0.entry(rule).or_default().push(service.clone());
    }

    pub(super) fn report(self) -> impl Iterator<Item = Diagnostic> {
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
