//! What must be said of `AuthorizationPolicy` objects: those that are about nothing here, and what is not known of clients.

use crate::api::{Diagnostic, Meta, Severity, TargetKind};

use super::super::catalog::Catalog;
use super::super::client::Client;
use super::super::codes;
use super::policies::{AccessPolicies, Policy};

/// More would make a sentence unreadable.
const NAMED: usize = 3;

impl AccessPolicies<'_> {
    /// Says of rules that ask where clients come from for whom that is not known.
    pub(in crate::compile) fn unsure(&self, catalog: &Catalog<'_>) -> Vec<Diagnostic> {
        let unclaimed = [(
            "clients that no LocalWorkload claims".to_owned(),
            Client::unclaimed(),
        )];
        let locals = catalog.locals.iter();
        let locals =
            locals.map(|(meta, local)| (meta.id.to_string(), Client::of_workload(meta, local)));
        let clients: Vec<(String, Client<'_>)> = locals.chain(unclaimed).collect();
        let stances: Vec<_> = clients
            .iter()
            .map(|(_, client)| self.stances(*client))
            .collect();
        let asking = self.asking.iter().enumerate();
        asking
            .filter_map(|(place, (policy, rule))| {
                let unknown = clients.iter().zip(&stances);
                let unknown = unknown.filter(|(_, stances)| stances[place].is_unknown());
                let mut names: Vec<String> = unknown.map(|((name, _), _)| name.clone()).collect();
                if names.is_empty() {
                    return None;
                }
                let more = names.len().saturating_sub(NAMED);
                names.truncate(NAMED);
                if more > 0 {
                    names.push(format!("{more} more"));
                }
                Some(self.all[*policy].unsure(*rule, &names.join(", ")))
            })
            .collect()
    }

    /// Says of policies that nothing was found to be about.
    pub(in crate::compile) fn unused(&self, catalog: &Catalog<'_>) -> Vec<Diagnostic> {
        let used = self.used.borrow();
        let unused = self.all.iter().enumerate();
        let unused = unused.filter(|(place, _)| !used.contains(place));
        unused.map(|(_, policy)| policy.unused(catalog)).collect()
    }
}

impl Policy<'_> {
    fn unsure(&self, rule: usize, clients: &str) -> Diagnostic {
        let follows = match self.spec.action {
            crate::api::PolicyAction::Allow => "it does not match them",
            _ => "it matches them",
        };
        let message = format!(
            "rule {} asks where clients come from, which is not known of {clients}: {follows}",
            rule + 1
        );
        Diagnostic::about(Severity::Warning, codes::CLIENT_ADDRESS, self.meta, message)
            .at(format!("spec.rules[{rule}]"), self.spec.rules[rule].line)
            .hint("list in spec.addresses of the LocalWorkload where its peers see it come from, or ask for identities")
    }

    fn unused(&self, catalog: &Catalog<'_>) -> Diagnostic {
        let targets = &self.spec.attachment.targets;
        let missing = targets.iter().find(|target| {
            target.kind == TargetKind::ServiceEntry && !has_entry(catalog, self.meta, &target.name)
        });
        let about = |severity, message| {
            Diagnostic::about(severity, codes::POLICY_WITHOUT_EFFECT, self.meta, message)
        };
        if let Some(missing) = missing {
            let message = format!(
                "there is no ServiceEntry {}/{}, so the policy has no effect on it",
                self.meta.id.namespace, missing.name
            );
            return about(Severity::Warning, message)
                .at("spec.targetRefs", missing.line)
                .hint("name a ServiceEntry of the policy's namespace");
        }
        let of_entries = |kind| kind == TargetKind::ServiceEntry;
        let (message, hint) = match targets.first() {
            Some(target) if !targets.iter().any(|target| of_entries(target.kind)) => (
                format!("{:?} {} is not a destination here, so the policy has no effect", target.kind, target.name),
                "nothing to do, unless it is to hold for connects to a ServiceEntry: then name that in targetRefs",
            ),
            Some(_) => (
                "no client of this node sees what the policy is about, so it has no effect".to_owned(),
                "nothing to do, unless clients here are to reach it",
            ),
            None => (
                "the policy is for no endpoint of an entry of location MESH_INTERNAL that clients of this node see, so it has no effect here".to_owned(),
                "nothing to do, unless it is to hold for a destination: then set the entry's location to MESH_INTERNAL, or name the ServiceEntry in targetRefs",
            ),
        };
        about(Severity::Info, message).at("spec", 0).hint(hint)
    }
}

fn has_entry(catalog: &Catalog<'_>, policy: &Meta, name: &str) -> bool {
    let mut entries = catalog.entries.iter();
    entries
        .any(|entry| entry.meta.id.namespace == policy.id.namespace && entry.meta.id.name == name)
}
