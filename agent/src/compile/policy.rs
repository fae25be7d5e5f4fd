//! Which `DestinationRule` applies to a service (Istio's `PushContext.destinationRule`), and the policy that comes of it.

mod blocks;
mod rules;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::api::destination_rule::Subset;
use crate::api::{
    Algorithm, DestinationRule, Diagnostic, LocalityLbSetting, MeshConfig, Meta, TlsMode,
};

use super::client::{Client, Export, exported};
use super::spread::Policy;

use blocks::Blocks;
use rules::{Rule, Rules};

pub(super) use blocks::{Writer, Written};

/// What is in effect for a port of a host, or of a subset of it.
#[derive(Clone, Debug)]
pub(super) struct Applied<'a> {
    pub(super) policy: Arc<Policy>,
    pub(super) locality_lb: Option<Written<'a, &'a LocalityLbSetting>>,
    /// The rule that asks for TLS, if one does.
    pub(super) tls: Option<&'a Meta>,
    /// The rule whose PASSTHROUGH is in effect, if it is.
    pub(super) passthrough: Option<&'a Meta>,
    /// What the endpoints are chosen by.
    pub(super) subset: Option<&'a Subset>,
    /// Where the policy is written, in sentences.
    pub(super) reasons: Vec<String>,
}

/// No rule for the host has the subset that a route names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoSubset {
    pub(super) host: String,
    pub(super) subset: String,
    /// The rule in which it was looked for, and the subsets that this has.
    pub(super) rule: Option<(String, Vec<String>)>,
}

/// All rules as one client sees them, found by host without looking at each.
pub(super) struct Policies<'a> {
    mesh: &'a MeshConfig,
    client: Client<'a>,
    /// Where no rule says anything.
    default: Applied<'a>,
    /// Each once, for services with equal policies share them.
    known: RefCell<HashSet<Arc<Policy>>>,
    /// Those of the client's namespace that are for it: for all clients there.
    local: Rules<'a>,
    /// The same for clients with certain labels: whether it has them, and the rules. One for each selector.
    selected: Vec<(&'a BTreeMap<String, String>, Rules<'a>)>,
    by_namespace: HashMap<&'a str, Rules<'a>>,
}

impl<'a> Policies<'a> {
    /// `rules` are the oldest first.
    pub(super) fn new(
        rules: &[(&'a Meta, &'a DestinationRule)],
        mesh: &'a MeshConfig,
        client: Client<'a>,
    ) -> Self {
        let blocks = Blocks::default().with_mesh(mesh);
        let default = Arc::new(blocks.policy(mesh));
        let mut policies = Self {
            mesh,
            client,
            default: applied(Arc::clone(&default), &blocks, None, without_rule(&blocks)),
            known: RefCell::new(HashSet::from([default])),
            local: Rules::default(),
            selected: Vec::new(),
            by_namespace: HashMap::new(),
        };
        for (meta, rule) in rules.iter().copied() {
            policies.add(meta, rule);
        }
        policies
    }

    fn add(&mut self, meta: &'a Meta, rule: &'a DestinationRule) {
        let is_at_home = meta.id.namespace == self.client.namespace;
        if let Some(selector) = selector(rule) {
            // Such a rule is for its own namespace, whatever it is exported to.
            if is_at_home {
                self.of_selector(selector).add(meta, rule);
            }
            return;
        }
        if is_at_home && self.is_local(rule, &meta.id.namespace) {
            self.local.add(meta, rule);
        }
        let namespace = self.by_namespace.entry(&meta.id.namespace).or_default();
        namespace.add(meta, rule);
    }

    fn of_selector(&mut self, selector: &'a BTreeMap<String, String>) -> &mut Rules<'a> {
        let known = self.selected.iter().position(|(s, _)| *s == selector);
        let place = known.unwrap_or_else(|| {
            self.selected.push((selector, Rules::default()));
            self.selected.len() - 1
        });
        &mut self.selected[place].1
    }

    /// What is in effect for `port` of the host `host` of `namespace`.
    pub(super) fn of_host(&self, namespace: &str, host: &str, port: u16) -> Applied<'a> {
        self.rule(namespace, host).map_or_else(
            || self.default.clone(),
            |rule| self.applied(rule, port, None),
        )
    }

    /// What is in effect for `port` of the host `host` of `namespace`, or for a subset of its endpoints.
    pub(super) fn find(
        &self,
        namespace: &str,
        host: &str,
        port: u16,
        subset: Option<&str>,
    ) -> Result<Applied<'a>, NoSubset> {
        let Some(name) = subset else {
            return Ok(self.of_host(namespace, host, port));
        };
        let rule = self.rule(namespace, host);
        let found = rule.and_then(|rule| Some((rule, *rule.subsets.get(name)?)));
        let Some((rule, subset)) = found else {
            return Err(NoSubset {
                host: host.to_owned(),
                subset: name.to_owned(),
                rule: rule.map(|rule| {
                    let names = rule.subsets.keys().map(|name| (*name).to_owned());
                    (rule.meta.id.to_string(), names.collect())
                }),
            });
        };
        Ok(self.applied(rule, port, Some(subset)))
    }

    fn applied(
        &self,
        rule: &Rule<'a>,
        port: u16,
        subset: Option<(&'a Meta, &'a Subset)>,
    ) -> Applied<'a> {
        let mut own = Blocks::of_rule(rule.deciding, rule.meta, port);
        if let Some((meta, subset)) = subset {
            own = own.with_subset(subset, meta, port);
        }
        let blocks = own.with_mesh(self.mesh);
        let policy = self.intern(blocks.policy(self.mesh));
        let mut reasons = vec![rule_reason(rule, port)];
        reasons.extend(subset.map(|(meta, subset)| subset_reason(meta, subset, port)));
        reasons.extend(mesh_reason(&blocks));
        applied(policy, &blocks, subset.map(|(_, subset)| subset), reasons)
    }

    fn intern(&self, policy: Policy) -> Arc<Policy> {
        let mut known = self.known.borrow_mut();
        if let Some(known) = known.get(&policy) {
            return Arc::clone(known);
        }
        let policy = Arc::new(policy);
        known.insert(Arc::clone(&policy));
        policy
    }

    /// The first of three levels that has a match: the client's namespace, the service's, the mesh's root.
    fn rule(&self, namespace: &str, host: &str) -> Option<&Rule<'a>> {
        let exported = |level: &str| {
            let rule = self.by_namespace.get(level)?.most_specific(host)?;
            self.is_exported(rule.1.oldest, level).then_some(rule.1)
        };
        let root = self.mesh.root_namespace.as_str();
        match self.own(host) {
            Own::Rule(rule) => Some(rule),
            Own::OfOthers => None,
            Own::Nothing => exported(namespace).or_else(|| exported(root)),
        }
    }

    /// What the client's own namespace says of the host: of the rules for the most specific host one for clients with such labels,
    /// or else the one for all (Istio's `SidecarScope.DestinationRule`).
    fn own(&self, host: &str) -> Own<'_, 'a> {
        let for_all = self.local.most_specific(host);
        let selected = self.selected.iter().filter_map(|(selector, rules)| {
            let (specificity, rule) = rules.most_specific(host)?;
            Some((specificity, *selector, rule))
        });
        let selected: Vec<_> = selected.collect();
        let of_all = for_all.map(|(specificity, _)| specificity);
        let best = selected.iter().map(|(specificity, ..)| *specificity);
        let Some(best) = best.chain(of_all).max() else {
            return Own::Nothing;
        };
        let mut selected = selected.into_iter();
        let of_client = selected.find(|(s, selector, _)| *s == best && self.client.has(selector));
        let for_all = for_all.filter(|(specificity, _)| *specificity == best);
        let rule = of_client.map(|(.., rule)| rule);
        rule.or(for_all.map(|(_, rule)| rule))
            .map_or(Own::OfOthers, Own::Rule)
    }

    fn export_to(&self, rule: &'a DestinationRule) -> &'a [String] {
        exported(
            &rule.export_to,
            &self.mesh.default_destination_rule_export_to,
        )
    }

    /// Whether a rule of the client's namespace is for that namespace. In the root namespace only private ones are:
    /// the others count for everybody, at the last level.
    fn is_local(&self, rule: &'a DestinationRule, namespace: &str) -> bool {
        let is_root = self.mesh.root_namespace == namespace;
        match self.client.sees(self.export_to(rule), namespace) {
            Some(Export::Private | Export::Named) => true,
            Some(Export::Public) => !is_root,
            None => false,
        }
    }

    /// Whether the client sees a rule of `level`.
    fn is_exported(&self, rule: &'a DestinationRule, level: &str) -> bool {
        self.client.sees(self.export_to(rule), level).is_some()
    }
}

/// What the rules of the client's namespace come to for a host.
enum Own<'r, 'a> {
    Rule(&'r Rule<'a>),
    /// There are only some for other clients: then none applies.
    OfOthers,
    Nothing,
}

/// The labels of the clients that a rule is for alone, where it is.
pub(super) fn selector(rule: &DestinationRule) -> Option<&BTreeMap<String, String>> {
    rule.workload_selector.as_ref().filter(|s| !s.is_empty())
}

/// What of the rules has no effect on anybody, since older rules of the same namespace, for the same clients, say it.
pub(super) fn shadowed(rules: &[(&Meta, &DestinationRule)]) -> Vec<Diagnostic> {
    let mut by_clients: BTreeMap<_, Rules> = BTreeMap::new();
    let mut found = Vec::new();
    for (meta, rule) in rules.iter().copied() {
        let clients = (meta.id.namespace.as_str(), selector(rule));
        let known = by_clients.entry(clients).or_default();
        found.extend(known.add(meta, rule).report(meta, rule));
    }
    found
}

fn applied<'a>(
    policy: Arc<Policy>,
    blocks: &Blocks<'a>,
    subset: Option<&'a Subset>,
    reasons: Vec<String>,
) -> Applied<'a> {
    let of_rule = |by| match by {
        Writer::Rule(meta) => Some(meta),
        Writer::Mesh => None,
    };
    let tls = blocks.tls.filter(|tls| tls.block != TlsMode::Disable);
    let balancer = blocks.load_balancer;
    let passthrough = balancer.filter(|b| b.block.algorithm == Algorithm::Passthrough);
    Applied {
        policy,
        locality_lb: balancer.and_then(|Written { by, block }| {
            let block = block.locality_lb.as_ref()?;
            Some(Written { by, block })
        }),
        tls: tls.and_then(|tls| of_rule(tls.by)),
        passthrough: passthrough.and_then(|balancer| of_rule(balancer.by)),
        subset,
        reasons,
    }
}

fn without_rule(blocks: &Blocks) -> Vec<String> {
    let none = "no DestinationRule applies".to_owned();
    std::iter::once(none).chain(mesh_reason(blocks)).collect()
}

fn rule_reason(rule: &Rule, port: u16) -> String {
    let which = if rule.deciding.port_policies.contains_key(&port) {
        "trafficPolicy.portLevelSettings"
    } else if rule.deciding.traffic_policy.is_some() {
        "trafficPolicy"
    } else {
        return "no DestinationRule applies".to_owned();
    };
    format!("{which} of {} ({}) applies", rule.meta.id, rule.meta.origin)
}

fn subset_reason(meta: &Meta, subset: &Subset, port: u16) -> String {
    let labels: Vec<String> = subset
        .labels
        .iter()
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    let chosen = if labels.is_empty() {
        "all endpoints".to_owned()
    } else {
        format!("endpoints with {}", labels.join(", "))
    };
    let policy = if subset.port_policies.contains_key(&port) {
        ", with a policy of its own for the port"
    } else if subset.traffic_policy.is_some() {
        ", with its trafficPolicy over that"
    } else {
        ""
    };
    format!(
        "subset {} of {} ({}:{}) holds {chosen}{policy}",
        subset.name, meta.id, meta.origin.file, subset.line
    )
}

/// Which blocks are the mesh's.
fn mesh_reason(blocks: &Blocks) -> Option<String> {
    let is_mesh = |by: Option<Writer>| matches!(by, Some(Writer::Mesh));
    let pool = is_mesh(blocks.connection_pool.map(|block| block.by));
    let detection = is_mesh(blocks.outlier_detection.map(|block| block.by));
    let which = match (pool, detection) {
        (true, true) => "connectionPool and outlierDetection",
        (true, false) => "connectionPool",
        (false, true) => "outlierDetection",
        (false, false) => return None,
    };
    Some(format!(
        "{which} of the mesh's defaultTrafficPolicy stands where no rule says otherwise"
    ))
}

#[cfg(test)]
mod tests;
