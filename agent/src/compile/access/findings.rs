//! What must be said of `AuthorizationPolicy` objects: those that are about nothing here, and what is not known of clients.

use crate::api::{Diagnostic, Meta, PolicyAction, Severity, TargetKind};

use super::super::catalog::Catalog;
use super::super::codes;
use super::super::findings::listed;
use super::Family;
use super::asking::Asking;
use super::policies::{AccessPolicies, Policy};
use super::rule::Stance;

impl Asking<'_, '_> {
    /// Says of rules that asked where clients come from for whom too little of that is known. `clients` are known by name and
    /// stances.
    pub(in crate::compile) fn unsure(&self, clients: &[(String, &[Stance])]) -> Vec<Diagnostic> {
        let unsure = self.policies.unsure.borrow();
        let rules = self.rules.iter().enumerate();
        rules
            .filter_map(|(place, (policy, rule))| {
                let families = unsure.iter().filter(|(p, r, _)| (p, r) == (policy, rule));
                let families: Vec<Family> = families.map(|(.., family)| *family).collect();
                let is_unknown =
                    |stances: &[Stance]| families.iter().any(|f| stances[place].is_unknown(*f));
                let unknown = clients.iter().filter(|(_, stances)| is_unknown(stances));
                let names: Vec<&String> = unknown.map(|(name, _)| name).collect();
                let policy = &self.policies.all[*policy];
                (!names.is_empty()).then(|| policy.unsure(*rule, &listed(&names)))
            })
            .collect()
    }
}

impl AccessPolicies<'_> {
    /// Says of policies that nothing was found to be about, or not all that they name.
    pub(in crate::compile) fn unused(&self, catalog: &Catalog<'_>) -> Vec<Diagnostic> {
        let used = self.used.borrow();
        let all = self.all.iter().enumerate();
        all.flat_map(|(place, policy)| {
            let mut found = policy.missing(catalog);
            if found.is_empty() && !used.contains(&place) {
                found.push(policy.unused());
            }
            found
        })
        .collect()
    }
}

impl Policy<'_> {
    fn unsure(&self, rule: usize, clients: &str) -> Diagnostic {
        let follows = match self.spec.action {
            PolicyAction::Allow => "it does not match them",
            _ => "it matches them",
        };
        let message = format!(
            "rule {} asks where clients come from, and what is known of {clients} does not tell: {follows}",
            rule + 1
        );
        Diagnostic::about(Severity::Warning, codes::CLIENT_ADDRESS, self.meta, message)
            .at(format!("spec.rules[{rule}]"), self.spec.rules[rule].line)
            .hint("list in spec.addresses of the LocalWorkload where its peers see it come from, in both families, or ask for identities")
    }

    /// Says of entries that it names and that are not there.
    fn missing(&self, catalog: &Catalog<'_>) -> Vec<Diagnostic> {
        let namespace = &self.meta.id.namespace;
        let targets = self.spec.attachment.targets.iter();
        let targets = targets.filter(|target| target.kind == TargetKind::ServiceEntry);
        targets
            .filter_map(|target| {
                let is_it =
                    |meta: &Meta| meta.id.namespace == *namespace && meta.id.name == target.name;
                if catalog.entries.iter().any(|entry| is_it(entry.meta)) {
                    return None;
                }
                let name = format!("ServiceEntry {namespace}/{}", target.name);
                let (message, hint) = if catalog.hidden.iter().any(|(meta, _)| is_it(meta)) {
                    (
                        format!("{name} is exported to nobody, so the policy has no effect on it"),
                        "nothing to do, unless clients here are to reach it",
                    )
                } else {
                    (
                        format!("there is no {name}, so the policy has no effect on it"),
                        "name a ServiceEntry of the policy's namespace",
                    )
                };
                let code = codes::POLICY_WITHOUT_EFFECT;
                let found = Diagnostic::about(Severity::Warning, code, self.meta, message);
                Some(found.at("spec.targetRefs", target.line).hint(hint))
            })
            .collect()
    }

    fn unused(&self) -> Diagnostic {
        let targets = &self.spec.attachment.targets;
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
                "the policy is for no endpoint of an entry of location MESH_INTERNAL, so it has no effect here".to_owned(),
                "nothing to do, unless it is to hold for a destination: then set the entry's location to MESH_INTERNAL, or name the ServiceEntry in targetRefs",
            ),
        };
        let code = codes::POLICY_WITHOUT_EFFECT;
        Diagnostic::about(Severity::Info, code, self.meta, message)
            .at("spec", 0)
            .hint(hint)
    }
}
