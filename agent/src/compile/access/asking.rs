//! Which rules of policies ask who connects, and of which entries that makes a difference: what classes of clients are told apart by.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::super::catalog::{Catalog, Entry};
use super::super::client::Client;
use super::policies::AccessPolicies;
use super::rule::{self, Stance};

/// The rules that ask who connects, and may be about something here.
pub(in crate::compile) struct Asking<'p, 'a> {
    pub(in crate::compile) policies: &'p AccessPolicies<'a>,
    /// Policies and rules, by their places.
    pub(super) rules: Vec<(usize, usize)>,
    /// Places of those that may be about services of an entry, by age of the entry.
    relevant: Vec<Rc<[usize]>>,
}

impl<'p, 'a> Asking<'p, 'a> {
    pub(in crate::compile) fn new(policies: &'p AccessPolicies<'a>, catalog: &Catalog<'_>) -> Self {
        let mut asking = Self {
            policies,
            rules: rules(policies, catalog),
            relevant: Vec::new(),
        };
        asking.relevant = asking.relevances(catalog);
        asking
    }

    /// Whether the client is whom each of the rules asks for that ask who connects, in their order.
    pub(in crate::compile) fn stances(&self, client: Client<'_>) -> Vec<Stance> {
        let client = self.policies.trust.identify(client);
        let all = &self.policies.all;
        let rules = self.rules.iter();
        let rules = rules.map(|(policy, rule)| &all[*policy].spec.rules[*rule]);
        rules.map(|rule| Stance::of(rule, &client)).collect()
    }

    /// The rules that a client is about, for people.
    pub(in crate::compile) fn in_words(&self, stances: &[Stance]) -> impl Iterator<Item = String> {
        let asking = self.rules.iter().zip(stances);
        asking.filter_map(|((policy, rule), stance)| {
            let words = stance.words()?;
            Some(format!(
                "rule {} of {}{words}",
                rule + 1,
                self.policies.all[*policy].meta.id
            ))
        })
    }

    /// Whether it depends on who connects what becomes of services of the entry.
    pub(in crate::compile) fn asks_who(&self, entry: &Entry<'_>) -> bool {
        !self.relevant[entry.age].is_empty()
    }

    /// Those of a client's stances on which it may depend what becomes of services of the entry: clients with the same ones may
    /// do the same.
    pub(in crate::compile) fn relevant(
        &self,
        entry: &Entry<'_>,
        stances: &[Stance],
    ) -> Vec<Stance> {
        let places = self.relevant[entry.age].iter();
        places.map(|place| stances[*place]).collect()
    }

    fn relevances(&self, catalog: &Catalog<'_>) -> Vec<Rc<[usize]>> {
        // A route may lead to any workload.
        let has_routes = !catalog.routes.is_empty();
        // What is the same for all entries of a namespace that no policy names.
        let mut known: HashMap<(&str, bool), Rc<[usize]>> = HashMap::new();
        let entries = catalog.entries.iter();
        entries
            .map(|entry| {
                let named = self.policies.of_entry(&entry.id);
                let key = (&*entry.namespace, entry.is_in_mesh());
                if let Some(known) = known.get(&key).filter(|_| named.is_empty()) {
                    return Rc::clone(known);
                }
                let found = self.relevance(key, named, has_routes);
                if named.is_empty() {
                    known.insert(key, Rc::clone(&found));
                }
                found
            })
            .collect()
    }

    fn relevance(
        &self,
        (namespace, is_in_mesh): (&str, bool),
        named: &[usize],
        has_routes: bool,
    ) -> Rc<[usize]> {
        let of_namespace = self.policies.of_namespace(namespace);
        let is_relevant = |policy: usize| {
            let is_of_workloads = self.policies.all[policy].spec.attachment.targets.is_empty();
            let is_near = is_in_mesh
                && (of_namespace.contains(&policy) || self.policies.of_all.contains(&policy));
            named.contains(&policy) || is_of_workloads && (has_routes || is_near)
        };
        let asking = self.rules.iter().enumerate();
        let relevant = asking.filter(|(_, (policy, _))| is_relevant(*policy));
        relevant.map(|(place, _)| place).collect()
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
