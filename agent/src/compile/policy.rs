//! Which `DestinationRule` applies to a service (Istio's `PushContext.destinationRule`), and which of its policies.

use std::collections::{BTreeSet, HashMap, hash_map};
use std::sync::Arc;

use crate::api::{DestinationRule, Diagnostic, MeshConfig, Meta, Severity, TrafficPolicy};

use super::codes;
use super::spread::Policy;

/// Clients of a node have no namespace, and look from this one.
const CLIENT_NAMESPACE: &str = "default";

/// The policy of one service port, and the rule that it is from.
#[derive(Clone, Copy)]
pub(super) struct Applied<'a> {
    pub(super) meta: &'a Meta,
    pub(super) policy: &'a TrafficPolicy,
    /// Whether it is of `portLevelSettings`, which replace the whole policy for a port.
    pub(super) of_port: bool,
}

/// All rules, found by host without looking at each.
pub(super) struct Policies<'a> {
    mesh: &'a MeshConfig,
    /// Where no rule says anything.
    default: Arc<Policy>,
    /// Those of the clients' namespace that are for it.
    local: Rules<'a>,
    by_namespace: HashMap<&'a str, Rules<'a>>,
}

/// Rules of one host string: the oldest that has a policy decides it, the oldest of all decides who sees it.
struct Rule<'a> {
    oldest: &'a DestinationRule,
    meta: &'a Meta,
    deciding: &'a DestinationRule,
}

#[derive(Default)]
struct Rules<'a> {
    exact: HashMap<String, Rule<'a>>,
    /// By what follows the `*`.
    wildcards: HashMap<String, Rule<'a>>,
    /// Lengths of the keys of `wildcards`.
    lengths: BTreeSet<usize>,
}

impl<'a> Policies<'a> {
    /// `rules` are the oldest first.
    pub(super) fn new(
        rules: &[(&'a Meta, &'a DestinationRule)],
        mesh: &'a MeshConfig,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut policies = Self {
            mesh,
            default: Arc::default(),
            local: Rules::default(),
            by_namespace: HashMap::new(),
        };
        for (meta, rule) in rules.iter().copied() {
            if rule
                .workload_selector
                .as_ref()
                .is_some_and(|s| !s.is_empty())
            {
                diagnostics.push(for_workloads(meta));
                continue;
            }
            if meta.id.namespace == CLIENT_NAMESPACE && policies.is_local(rule) {
                policies.local.add(meta, rule);
            }
            let namespace = policies.by_namespace.entry(&meta.id.namespace).or_default();
            if let Some(older) = namespace.add(meta, rule) {
                diagnostics.push(shadowed(meta, rule, older));
            }
        }
        policies
    }

    /// The policy for `port` of the service `host` in `namespace`.
    pub(super) fn find(&self, namespace: &str, host: &str, port: u16) -> Option<Applied<'a>> {
        let rule = self.rule(namespace, host)?;
        if let Some(policy) = rule.deciding.port_policies.get(&port) {
            return Some(Applied {
                meta: rule.meta,
                policy,
                of_port: true,
            });
        }
        rule.deciding.traffic_policy.as_ref().map(|policy| Applied {
            meta: rule.meta,
            policy,
            of_port: false,
        })
    }

    /// What the policy says of a cluster's endpoints.
    pub(super) fn policy(&self, applied: Option<Applied<'a>>) -> Arc<Policy> {
        let Some(applied) = applied else {
            return Arc::clone(&self.default);
        };
        let balancer = applied.policy.load_balancer.clone().unwrap_or_default();
        Arc::new(Policy {
            algorithm: balancer.algorithm,
            connection_pool: applied.policy.connection_pool.unwrap_or_default(),
            outlier_detection: applied.policy.outlier_detection,
            warmup: balancer.warmup,
        })
    }

    /// The first of three levels that has a match: the clients' namespace, the service's, the mesh's root.
    fn rule(&self, namespace: &str, host: &str) -> Option<&Rule<'a>> {
        let exported = |level: &str| {
            let rule = self.by_namespace.get(level)?.most_specific(host)?;
            self.is_exported(rule.oldest, level, namespace)
                .then_some(rule)
        };
        let root = self.mesh.root_namespace.as_str();
        let local = self.local.most_specific(host);
        local
            .or_else(|| exported(namespace))
            .or_else(|| exported(root))
    }

    fn export_to(&self, rule: &'a DestinationRule) -> &'a [String] {
        if rule.export_to.is_empty() {
            &self.mesh.default_destination_rule_export_to
        } else {
            &rule.export_to
        }
    }

    /// Whether a rule of the clients' namespace is for that namespace. In the root namespace only private ones are:
    /// the others count for everybody, at the last level.
    fn is_local(&self, rule: &'a DestinationRule) -> bool {
        let is_root = self.mesh.root_namespace == CLIENT_NAMESPACE;
        self.export_to(rule)
            .iter()
            .any(|to| to == "." || to == CLIENT_NAMESPACE || (to == "*" && !is_root))
    }

    /// Whether a rule of `level` is for clients of a service of `namespace`. All clients are of one scope, to which
    /// also what is private to its namespace is visible; so then is the rule beside it.
    fn is_exported(&self, rule: &'a DestinationRule, level: &str, namespace: &str) -> bool {
        self.export_to(rule).iter().any(|to| {
            to == "*"
                || to == CLIENT_NAMESPACE
                || to == namespace
                || (to == "." && level == namespace)
        })
    }
}

impl<'a> Rules<'a> {
    /// Returns the older rule that keeps this one's policy from counting, if there is one.
    fn add(&mut self, meta: &'a Meta, spec: &'a DestinationRule) -> Option<&'a Meta> {
        let place = if let Some(suffix) = spec.host.strip_prefix('*') {
            self.lengths.insert(suffix.len());
            self.wildcards.entry(suffix.to_owned())
        } else {
            self.exact.entry(full_name(&spec.host, &meta.id.namespace))
        };
        match place {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Rule {
                    oldest: spec,
                    meta,
                    deciding: spec,
                });
                None
            }
            hash_map::Entry::Occupied(mut known) if !has_policy(known.get().deciding) => {
                known.get_mut().deciding = spec;
                known.get_mut().meta = meta;
                None
            }
            hash_map::Entry::Occupied(known) => has_policy(spec).then_some(known.get().meta),
        }
    }

    /// The rule of the host itself, or else of the longest wildcard that holds all its names.
    fn most_specific(&self, host: &str) -> Option<&Rule<'a>> {
        if let Some(rule) = self.exact.get(host) {
            return Some(rule);
        }
        let name = host.strip_prefix('*').unwrap_or(host);
        let lengths = self.lengths.range(..=name.len()).rev();
        lengths
            .filter_map(|length| name.get(name.len() - length..))
            .find_map(|suffix| self.wildcards.get(suffix))
    }
}

fn has_policy(rule: &DestinationRule) -> bool {
    rule.traffic_policy.is_some() || !rule.port_policies.is_empty()
}

/// A host without a dot is the name of a Kubernetes Service in the rule's namespace, and so never a short host of a
/// `ServiceEntry` (Istio's `ResolveShortnameToFQDN`).
fn full_name(host: &str, namespace: &str) -> String {
    if host.contains(['.', ':']) {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}

fn for_workloads(meta: &Meta) -> Diagnostic {
    let message = "the rule is for clients with certain labels; clients on this node have none, so it never applies";
    Diagnostic::about(Severity::Warning, codes::RULE_FOR_WORKLOADS, meta, message)
        .at("spec.workloadSelector", 0)
        .hint("remove workloadSelector to apply the rule to every client")
}

fn shadowed(meta: &Meta, rule: &DestinationRule, older: &Meta) -> Diagnostic {
    let message = format!(
        "the trafficPolicy for {} is that of the older {} ({})",
        rule.host, older.id, older.origin
    );
    Diagnostic::about(Severity::Warning, codes::RULE_SHADOWED, meta, message)
        .at("spec.trafficPolicy", 0)
        .hint("put all that concerns a host into one DestinationRule")
}
