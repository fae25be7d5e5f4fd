//! The policies: what they are about, and how often each has decided.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{Attachment, AuthorizationPolicy, ObjectId, PolicyAction, Spec};
use crate::observe::State;

use super::place::Place;

/// By policy.
pub type Hits = BTreeMap<ObjectId, PolicyHits>;

/// Connects for which a policy decided, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyHits {
    pub matched: u64,
    /// What decided was that none of its rules matched.
    pub unmatched: u64,
}

/// An `AuthorizationPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    pub namespace: String,
    pub name: String,
    /// `ALLOW`, `DENY`, `AUDIT` or `CUSTOM`.
    pub action: String,
    /// Whether it only counts.
    pub dry_run: bool,
    /// What it is about: labels, objects, a namespace or the whole mesh.
    pub scope: String,
    /// How many there are.
    pub rules: usize,
    /// Connects for which its rules decided, or would have, since the agent's start.
    pub hits: u64,
    /// Connects that were denied, or would have been, as no rule of this policy matched, nor of any other that allows.
    pub unmatched: u64,
    pub object: Place,
}

/// Every policy, in the order of namespace and name.
pub fn policies(state: &State, hits: &Hits) -> Vec<PolicyView> {
    let root = &state.snapshot.mesh.root_namespace;
    let objects = state.snapshot.objects.iter();
    let mut views: Vec<PolicyView> = objects
        .filter_map(|object| {
            let Spec::AuthorizationPolicy(policy) = &object.spec else {
                return None;
            };
            let id = &object.meta.id;
            let hits = hits.get(id).copied().unwrap_or_default();
            Some(PolicyView {
                namespace: id.namespace.clone(),
                name: id.name.clone(),
                action: action(policy).to_owned(),
                dry_run: policy.is_dry_run,
                scope: scope(&policy.attachment, &id.namespace, root),
                rules: policy.rules.len(),
                hits: hits.matched,
                unmatched: hits.unmatched,
                object: Place::new(id, &object.meta.origin),
            })
        })
        .collect();
    views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    views
}

const fn action(policy: &AuthorizationPolicy) -> &'static str {
    match policy.action {
        PolicyAction::Allow => "ALLOW",
        PolicyAction::Deny => "DENY",
        PolicyAction::Audit => "AUDIT",
        PolicyAction::Custom => "CUSTOM",
    }
}

fn scope(attachment: &Attachment, namespace: &str, root: &str) -> String {
    let targets = attachment.targets.iter();
    let targets = targets.map(|target| format!("{:?}/{}", target.kind, target.name));
    let labels = attachment.selector.iter().flatten();
    let labels = labels.map(|(label, value)| format!("{label}={value}"));
    let parts: Vec<String> = targets.chain(labels).collect();
    match parts.as_slice() {
        [] if namespace == root => "mesh".to_owned(),
        [] => "namespace".to_owned(),
        parts => parts.join(","),
    }
}
