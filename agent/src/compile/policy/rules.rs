//! Which `DestinationRule` of one namespace is for a host, and what rules of the same host come to together (Istio's
//! `mergeDestinationRule`). Knows nothing of what policies say.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};

use crate::api::destination_rule::Subset;
use crate::api::{DestinationRule, Diagnostic, Meta, Severity};

use super::super::codes;
use super::super::hosts::full_name;

/// Rules of one host string: the oldest that has a policy decides it, the oldest of all decides who sees it.
pub(super) struct Rule<'a> {
    pub(super) oldest: &'a DestinationRule,
    pub(super) meta: &'a Meta,
    pub(super) deciding: &'a DestinationRule,
    /// Those of all rules, by name: of two with the same name that of the older rule.
    pub(super) subsets: BTreeMap<&'a str, (&'a Meta, &'a Subset)>,
}

/// The rules of one namespace, found by host without looking at each.
#[derive(Default)]
pub(super) struct Rules<'a> {
    exact: HashMap<String, Rule<'a>>,
    /// By what follows the `*`.
    wildcards: HashMap<String, Rule<'a>>,
    /// Lengths of the keys of `wildcards`.
    lengths: BTreeSet<usize>,
}

/// What of a rule has no effect, since an older rule of the same host says it already.
#[derive(Default)]
pub(super) struct Shadowed<'a> {
    policy_by: Option<&'a Meta>,
    subsets: Vec<(usize, &'a Meta)>,
}

impl<'a> Rules<'a> {
    /// Adds a rule that is younger than those before.
    pub(super) fn add(&mut self, meta: &'a Meta, spec: &'a DestinationRule) -> Shadowed<'a> {
        let place = if let Some(suffix) = spec.host.strip_prefix('*') {
            self.lengths.insert(suffix.len());
            self.wildcards.entry(suffix.to_owned())
        } else {
            self.exact.entry(full_name(&spec.host, &meta.id.namespace))
        };
        let mut shadowed = Shadowed::default();
        let rule = match place {
            hash_map::Entry::Vacant(vacant) => vacant.insert(Rule {
                oldest: spec,
                meta,
                deciding: spec,
                subsets: BTreeMap::new(),
            }),
            hash_map::Entry::Occupied(known) => {
                let known = known.into_mut();
                if !has_policy(known.deciding) {
                    known.deciding = spec;
                    known.meta = meta;
                } else if has_policy(spec) {
                    shadowed.policy_by = Some(known.meta);
                }
                known
            }
        };
        for (i, subset) in spec.subsets.iter().enumerate() {
            let (owner, _) = *rule.subsets.entry(&subset.name).or_insert((meta, subset));
            if owner.id != meta.id {
                shadowed.subsets.push((i, owner));
            }
        }
        shadowed
    }

    /// The rule of the host itself, or else of the longest wildcard that holds all its names; and how specific that is.
    pub(super) fn most_specific(&self, host: &str) -> Option<(usize, &Rule<'a>)> {
        if let Some(rule) = self.exact.get(host) {
            return Some((usize::MAX, rule));
        }
        let name = host.strip_prefix('*').unwrap_or(host);
        let lengths = self.lengths.range(..=name.len()).rev();
        lengths
            .filter_map(|length| name.get(name.len() - length..))
            .find_map(|suffix| Some((suffix.len(), self.wildcards.get(suffix)?)))
    }
}

impl Shadowed<'_> {
    /// What is to be said at the rule.
    pub(super) fn report(
        self,
        meta: &Meta,
        spec: &DestinationRule,
    ) -> impl Iterator<Item = Diagnostic> {
        let policy = self.policy_by.map(|older| {
            let message = format!(
                "the trafficPolicy for {} is that of the older {} ({})",
                spec.host, older.id, older.origin
            );
            Diagnostic::about(Severity::Warning, codes::RULE_SHADOWED, meta, message)
                .at("spec.trafficPolicy", 0)
                .hint("put all that concerns a host into one DestinationRule")
        });
        let subsets = self.subsets.into_iter().map(|(i, older)| {
            let subset = &spec.subsets[i];
            let message = format!(
                "subset {} of {} is that of the older {} ({})",
                subset.name, spec.host, older.id, older.origin
            );
            Diagnostic::about(Severity::Warning, codes::SUBSET_SHADOWED, meta, message)
                .at(format!("spec.subsets[{i}]"), subset.line)
                .hint("give each subset of a host a name of its own")
        });
        policy.into_iter().chain(subsets)
    }
}

fn has_policy(rule: &DestinationRule) -> bool {
    rule.traffic_policy.is_some() || !rule.port_policies.is_empty()
}
