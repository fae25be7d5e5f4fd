//! What must be said of `AuthorizationPolicy` objects: those that are about nothing here, and what is not known of clients.

use crate::api::{Diagnostic, Meta, PolicyAction, Severity, TargetKind};

use super::super::catalog::Catalog;
use super::super::codes;
use super::super::findings::listed;
use super::asking::Asking;
use super::policies::{AccessPolicies, Policy};
use super::rule::Stance;

impl Asking<'_, '_> {
    /// Says of rules that ask where clients come from for whom that is not known. `clients` are known by name and stances.
    pub(in crate::compile) fn unsure(&self, clients: &[(String, &[Stance])]) -> Vec<Diagnostic> {
        let rules = self.rules.iter().enumerate();
        rules
            .filter_map(|(place, (policy, rule))| {
                let unknown = clients.iter();
                let unknown = unknown.filter(|(_, stances)| stances[place].is_unknown());
                let names: Vec<&String> = unknown.map(|(name, _)| name).collect();
                let policy = &self.policies.all[*policy];
                (!names.is_empty()).then(|| policy.unsure(*rule, &listed(&names)))
            })
            .collect()
    }
}

impl AccessPolicies<'_> {
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
            PolicyAction::Allow => "it does not match them",
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
