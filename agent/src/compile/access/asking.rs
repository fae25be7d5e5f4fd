//! Which rules of policies ask who connects: what classes of clients are told apart by.

use std::collections::{BTreeSet, HashSet};

use super::super::catalog::Catalog;
use super::super::client::Client;
use super::policies::AccessPolicies;
use super::rule::{self, Stance};

/// The rules that ask who connects, and may be about something here.
pub(in crate::compile) struct Asking<'p, 'a> {
    pub(in crate::compile) policies: &'p AccessPolicies<'a>,
    /// Policies and rules, by their places; in order.
    pub(super) rules: Vec<(usize, usize)>,
}

impl<'p, 'a> Asking<'p, 'a> {
    pub(in crate::compile) fn new(policies: &'p AccessPolicies<'a>, catalog: &Catalog<'_>) -> Self {
        Self {
            policies,
            rules: rules(policies, catalog),
        }
    }

    /// Whether the client is whom each of the rules asks for that ask who connects, in their order.
    pub(in crate::compile) fn stances(&self, client: Client<'_>) -> Vec<Stance> {
        let client = self.policies.trust.identify(client);
        let all = &self.policies.all;
        let rules = self.rules.iter();
        let rules = rules.map(|(policy, rule)| &all[*policy].spec.rules[*rule]);
        rules.map(|rule| Stance::of(rule, &client)).collect()
    }

    /// The places of those rules that are of these policies: clients with the same stances to them are the same to the policies.
    pub(in crate::compile) fn of(&self, policies: &BTreeSet<usize>) -> Vec<usize> {
        let of_policy = |policy: &usize| {
            let start = self.rules.partition_point(|(other, _)| other < policy);
            let end = self.rules.partition_point(|(other, _)| other <= policy);
            start..end
        };
        policies.iter().flat_map(of_policy).collect()
    }

    /// Those of the rules, by their places, that a client is about, for people.
    pub(in crate::compile) fn in_words(
        &self,
        places: impl Iterator<Item = usize>,
        stances: &[Stance],
    ) -> impl Iterator<Item = String> {
        places.filter_map(|place| {
            let (policy, rule) = self.rules[place];
            let words = stances[place].words()?;
            let policy = &self.policies.all[policy].meta.id;
            Some(format!("rule {} of {policy}{words}", rule + 1))
        })
    }
}

/// Policies and rules that ask who connects, and may be about something here.
fn rules(policies: &AccessPolicies<'_>, catalog: &Catalog<'_>) -> Vec<(usize, usize)> {
    let entries = || catalog.entries.iter();
    let internal = entries().filter(|entry| entry.is_in_mesh());
    let internal: HashSet<&str> = internal.map(|entry| &*entry.namespace).collect();
    let named = entries().flat_map(|entry| policies.of_entry(&entry.id));
    let of_namespaces = internal
        .iter()
        .filter_map(|n| policies.of_namespaces.get(n));
    let of_all = (!internal.is_empty())
        .then_some(&policies.of_all)
        .into_iter();
    let mut places: Vec<usize> = of_namespaces
        .chain(of_all)
        .flatten()
        .chain(named)
        .copied()
        .collect();
    places.sort_unstable();
    places.dedup();
    let rules = places.into_iter().flat_map(|place| {
        let rules = 0..policies.all[place].spec.rules.len();
        rules.map(move |rule| (place, rule))
    });
    rules
        .filter(|(place, rule)| {
            let policy = &policies.all[*place];
            policy.may_match(*rule) && rule::asks_who(&policy.spec.rules[*rule])
        })
        .collect()
}
