//! The policies: whom they are about, and how often each rule has decided.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{Attachment, AuthorizationPolicy, ObjectId, PolicyAction, Spec};
use crate::observe::State;

use super::place::Place;

/// Connects for which a rule of a policy decided, or would have; 1 is the first rule, and `None` stands for connects that none of
/// the policy's rules matched, which was what decided.
pub type Hits = BTreeMap<(ObjectId, Option<usize>), u64>;

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
    pub rules: Vec<PolicyRuleView>,
    /// Connects for which one of its rules decided, since the agent's start.
    pub hits: u64,
    /// Connects that are denied as no rule of this policy matches, nor of any other that allows.
    pub unmatched: u64,
    pub object: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRuleView {
    pub line: u32,
    pub hits: u64,
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
            let of = |rule| hits.get(&(id.clone(), rule)).copied().unwrap_or(0);
            let rules = policy.rules.iter().zip(1..);
            let rules = rules.map(|(rule, number)| PolicyRuleView {
                line: rule.line,
                hits: of(Some(number)),
            });
            let rules: Vec<_> = rules.collect();
            Some(PolicyView {
                namespace: id.namespace.clone(),
                name: id.name.clone(),
                action: action(policy).to_owned(),
                dry_run: policy.is_dry_run,
                scope: scope(&policy.attachment, &id.namespace, root),
                hits: rules.iter().map(|rule| rule.hits).sum(),
                rules,
                unmatched: of(None),
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
