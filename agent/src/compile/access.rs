//! What `AuthorizationPolicy` objects say of connects: which of them are about a service or an endpoint, and what follows, in
//! Istio's order: a DENY rule that matches denies; else an ALLOW rule that matches allows; else ALLOW policies deny.
//!
//! A policy that names a `ServiceEntry` is about the services of that, at the addresses and ports that clients ask for. Any other
//! is about workloads: the endpoints of entries of location `MESH_INTERNAL`, at their own addresses and ports.

mod findings;
mod identity;
mod rule;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{AuthorizationPolicy, Location, Meta, ObjectId, Origin, PolicyAction, TargetKind};
use crate::model::Snapshot;

use super::catalog::Catalog;
use super::client::{Client, carries};
use super::program::{Action, Endpoint, RefuseReason, Service};

use identity::Trust;
use rule::{Destination, Truth};

pub(super) use rule::Stance;

/// What policies say of the connects of some clients to a service, or to one of its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    pub ruling: Ruling,
    /// What decides: the rules that match, or else the policies of which none does.
    pub by: Vec<RuleName>,
    /// What is only counted: rules of action AUDIT, and of dry runs.
    pub noted: Vec<RuleName>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ruling {
    #[default]
    Allowed,
    Denied,
    /// It would be denied, were policies enforced.
    Audited,
}

/// A rule of a policy, or the policy as a whole: that none of its rules matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName {
    pub policy: Arc<ObjectId>,
    /// The line of the rule, or of the policy.
    pub origin: Origin,
    /// 1 is the first.
    pub rule: Option<usize>,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "rule {rule} of {} ({})", self.policy, self.origin),
            None => write!(f, "{} ({})", self.policy, self.origin),
        }
    }
}

impl Access {
    /// What is decided, and by what.
    pub fn sentence(&self) -> String {
        let by: Vec<String> = self.by.iter().map(ToString::to_string).collect();
        let by = by.join(" and ");
        let is_default = self.by.iter().any(|by| by.rule.is_none());
        match (self.ruling, is_default) {
            (Ruling::Allowed, _) if self.by.is_empty() => "no policy denies it".to_owned(),
            (Ruling::Allowed, _) => format!("{by} allows it"),
            (Ruling::Denied, true) => format!("no rule of {by} allows it"),
            (Ruling::Denied, false) => format!("{by} denies it"),
            (Ruling::Audited, true) => {
                format!("no rule of {by} allows it, which --policy-mode=audit lets pass")
            }
            (Ruling::Audited, false) => {
                format!("{by} denies it, which --policy-mode=audit lets pass")
            }
        }
    }
}

impl Endpoint {
    /// Whether policies deny it: it keeps its share, and connects that it is picked for fail.
    pub fn is_denied(&self) -> bool {
        let access = self.access.as_ref();
        access.is_some_and(|access| access.ruling == Ruling::Denied)
    }
}

/// A policy that decides or counts.
struct Policy<'a> {
    meta: &'a Meta,
    spec: &'a AuthorizationPolicy,
    id: Arc<ObjectId>,
}

impl Policy<'_> {
    /// `None` for the policy as a whole.
    fn name(&self, rule: Option<usize>) -> RuleName {
        let line = rule.map_or(self.meta.origin.line, |rule| self.spec.rules[rule].line);
        RuleName {
            policy: Arc::clone(&self.id),
            origin: Origin {
                file: Arc::clone(&self.meta.origin.file),
                line,
            },
            rule: rule.map(|rule| rule + 1),
        }
    }

    /// Whether the rule takes part at all.
    fn may_match(&self, rule: usize) -> bool {
        self.spec.action != PolicyAction::Allow || !self.spec.rules[rule].needs_unseen()
    }

    /// Which rules match, on the safe side of what is not known.
    fn matching(&self, truth: impl Fn(usize) -> Truth) -> Vec<RuleName> {
        let least = match self.spec.action {
            PolicyAction::Allow => Truth::Yes,
            PolicyAction::Deny | PolicyAction::Audit | PolicyAction::Custom => Truth::Unknown,
        };
        let rules = (0..self.spec.rules.len()).filter(|rule| self.may_match(*rule));
        let matching = rules.filter(|rule| truth(*rule) >= least);
        matching.map(|rule| self.name(Some(rule))).collect()
    }
}

/// All policies, by what they are about.
pub(super) struct AccessPolicies<'a> {
    /// Oldest first.
    all: Vec<Policy<'a>>,
    /// By namespace and name of the `ServiceEntry`.
    of_entries: HashMap<(&'a str, &'a str), Vec<usize>>,
    /// Those about workloads, by namespace.
    of_namespaces: HashMap<&'a str, Vec<usize>>,
    /// Those about workloads of every namespace.
    of_all: Vec<usize>,
    trust: Trust<'a>,
    is_audited: bool,
    /// Those that were about something.
    used: RefCell<HashSet<usize>>,
}

impl<'a> AccessPolicies<'a> {
    pub(super) fn new(catalog: &Catalog<'a>, snapshot: &'a Snapshot) -> Self {
        let mut policies = Self {
            all: Vec::new(),
            of_entries: HashMap::new(),
            of_namespaces: HashMap::new(),
            of_all: Vec::new(),
            trust: Trust::of(&snapshot.mesh),
            is_audited: snapshot.node.is_audited,
            used: RefCell::default(),
        };
        for (meta, spec) in catalog.policies.iter().copied() {
            if spec.action != PolicyAction::Custom {
                policies.add(meta, spec, &snapshot.mesh.root_namespace);
            }
        }
        policies
    }

    fn add(&mut self, meta: &'a Meta, spec: &'a AuthorizationPolicy, root: &str) {
        let place = self.all.len();
        let namespace = meta.id.namespace.as_str();
        self.all.push(Policy {
            meta,
            spec,
            id: Arc::new(meta.id.clone()),
        });
        let targets = &spec.attachment.targets;
        let entries = targets
            .iter()
            .filter(|t| t.kind == TargetKind::ServiceEntry);
        for target in entries {
            let of_entry = self.of_entries.entry((namespace, &target.name));
            of_entry.or_default().push(place);
        }
        if !targets.is_empty() {
        } else if namespace == root {
            self.of_all.push(place);
        } else {
            self.of_namespaces.entry(namespace).or_default().push(place);
        }
    }

    /// Policies and rules that ask who connects, and may be about something here.
    pub(super) fn about_clients(&self, catalog: &Catalog<'_>) -> Vec<(usize, usize)> {
        let entries = || catalog.entries.iter();
        let internal = entries().filter(|entry| entry.spec.location == Location::MeshInternal);
        let internal: HashSet<&str> = internal.map(|entry| &*entry.namespace).collect();
        let ids = entries().map(|entry| (&*entry.namespace, entry.meta.id.name.as_str()));
        let named = ids.filter_map(|id| self.of_entries.get(&id)).flatten();
        let of_namespaces = internal.iter().filter_map(|n| self.of_namespaces.get(n));
        let of_all = (!internal.is_empty()).then_some(&self.of_all).into_iter();
        let mut places: Vec<usize> = of_namespaces
            .chain(of_all)
            .flatten()
            .chain(named)
            .copied()
            .collect();
        places.sort_unstable();
        places.dedup();
        let rules = places.into_iter().flat_map(|place| {
            let rules = 0..self.all[place].spec.rules.len();
            rules.map(move |rule| (place, rule))
        });
        rules
            .filter(|(place, rule)| {
                let policy = &self.all[*place];
                policy.may_match(*rule) && rule::asks_who(&policy.spec.rules[*rule])
            })
            .collect()
    }

    /// Whether the client is whom the rule asks for.
    pub(super) fn stance(&self, (policy, rule): (usize, usize), client: Client<'_>) -> Stance {
        Stance::of(&self.all[policy].spec.rules[rule], client, &self.trust)
    }

    /// The rule, for people.
    pub(super) fn rule_name(&self, (policy, rule): (usize, usize)) -> String {
        format!("rule {} of {}", rule + 1, self.all[policy].id)
    }

    /// The policies as a client meets them.
    pub(super) fn gate(&self, client: Client<'a>) -> Gate<'_, 'a> {
        Gate {
            policies: self,
            client,
            known: RefCell::default(),
        }
    }
}

/// The policies as a client meets them.
pub(super) struct Gate<'p, 'a> {
    policies: &'p AccessPolicies<'a>,
    client: Client<'a>,
    /// Each once, for most services and endpoints share them.
    known: RefCell<HashSet<Arc<Access>>>,
}

impl Gate<'_, '_> {
    /// Says of the service and its endpoints what policies say. Clients ask for it at `addresses` and `port`.
    pub(super) fn keep(&self, service: &mut Service, addresses: &[IpNet], port: u16) {
        if self.policies.all.is_empty() {
            return;
        }
        let entry = (&*service.object.namespace, service.object.name.as_str());
        let named = self.policies.of_entries.get(&entry);
        let named = named.map_or(&[][..], Vec::as_slice);
        service.access = self.decide(named.iter().copied(), &Destination { addresses, port });
        if let Some(access) = &service.access {
            service.reasons.push(access.sentence());
            if access.ruling == Ruling::Denied {
                service.action = Action::Refuse(RefuseReason::Denied);
                service.endpoints.clear();
            }
        }
        for endpoint in service.endpoints.iter_mut().filter(|e| e.is_in_mesh) {
            endpoint.access = self.of_endpoint(endpoint);
        }
    }

    fn of_endpoint(&self, endpoint: &Endpoint) -> Option<Arc<Access>> {
        let of_namespace = self.policies.of_namespaces.get(&*endpoint.object.namespace);
        let of_namespace = of_namespace.map_or(&[][..], Vec::as_slice);
        let all = of_namespace.iter().chain(&self.policies.of_all).copied();
        let selecting =
            all.filter(|place| selects(self.policies.all[*place].spec, &endpoint.labels));
        let destination = Destination {
            addresses: &[IpNet::from(endpoint.address)],
            port: endpoint.port,
        };
        self.decide(selecting, &destination)
    }

    /// `None` where nothing is decided or counted.
    fn decide(
        &self,
        places: impl Iterator<Item = usize>,
        destination: &Destination<'_>,
    ) -> Option<Arc<Access>> {
        let (mut denying, mut allowing, mut missed) = (Vec::new(), Vec::new(), Vec::new());
        let mut noted = Vec::new();
        for place in places {
            self.policies.used.borrow_mut().insert(place);
            let policy = &self.policies.all[place];
            let matching = policy.matching(|rule| {
                rule::truth(
                    &policy.spec.rules[rule],
                    self.client,
                    destination,
                    &self.policies.trust,
                )
            });
            let is_missed = policy.spec.action == PolicyAction::Allow && matching.is_empty();
            let whole = is_missed.then(|| policy.name(None));
            match policy.spec.action {
                _ if policy.spec.is_dry_run => noted.extend(matching.into_iter().chain(whole)),
                PolicyAction::Deny => denying.extend(matching),
                PolicyAction::Allow => {
                    allowing.extend(matching);
                    missed.extend(whole);
                }
                PolicyAction::Audit | PolicyAction::Custom => noted.extend(matching),
            }
        }
        let (is_denied, by) = if !denying.is_empty() {
            (true, denying)
        } else if !allowing.is_empty() {
            (false, allowing)
        } else {
            (!missed.is_empty(), missed)
        };
        if by.is_empty() && noted.is_empty() {
            return None;
        }
        let ruling = match (is_denied, self.policies.is_audited) {
            (false, _) => Ruling::Allowed,
            (true, false) => Ruling::Denied,
            (true, true) => Ruling::Audited,
        };
        Some(self.intern(Access { ruling, by, noted }))
    }

    fn intern(&self, access: Access) -> Arc<Access> {
        let mut known = self.known.borrow_mut();
        if let Some(known) = known.get(&access) {
            return Arc::clone(known);
        }
        let access = Arc::new(access);
        known.insert(Arc::clone(&access));
        access
    }
}

/// Whether the policy is about workloads with these labels.
fn selects(policy: &AuthorizationPolicy, labels: &BTreeMap<String, String>) -> bool {
    let selector = policy.attachment.selector.as_ref();
    selector.is_none_or(|selector| carries(labels, selector))
}
