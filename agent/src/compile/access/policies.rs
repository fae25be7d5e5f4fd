//! The policies by what they are about, and what they say of connects of one client.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{AuthorizationPolicy, Meta, ObjectId, PolicyAction, Resolution, TargetKind};
use crate::model::Snapshot;

use super::super::catalog::{Catalog, Entry};
use super::super::client::{Client, carries};
use super::super::destinations::Part;
use super::super::mesh::MeshWorkload;
use super::super::program::{Action, Endpoint, RefuseReason, Service};
use super::identity::{Identity, Trust};
use super::rule::{self, Destination, Truth};
use super::{Access, Family, RuleName, Ruling, Subject};

/// A policy that decides or counts.
#[derive(Debug)]
pub(super) struct Policy<'a> {
    pub(super) meta: &'a Meta,
    pub(super) spec: &'a AuthorizationPolicy,
    id: Arc<ObjectId>,
}

impl Policy<'_> {
    /// `None` for the policy as a whole.
    fn name(&self, rule: Option<usize>) -> RuleName {
        RuleName {
            policy: Arc::clone(&self.id),
            origin: self.meta.origin.clone(),
            rule: rule.map(|rule| (rule + 1, self.spec.rules[rule].line)),
        }
    }

    /// Whether the rule takes part at all.
    pub(super) fn may_match(&self, rule: usize) -> bool {
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
#[derive(Debug)]
pub(in crate::compile) struct AccessPolicies<'a> {
    /// Oldest first.
    pub(super) all: Vec<Policy<'a>>,
    /// By namespace and name of the `ServiceEntry`.
    of_entries: HashMap<&'a str, HashMap<&'a str, Vec<usize>>>,
    /// Those about workloads, by namespace.
    pub(super) of_namespaces: HashMap<&'a str, Vec<usize>>,
    /// Those about workloads of every namespace.
    pub(super) of_all: Vec<usize>,
    pub(super) trust: Trust<'a>,
    is_audited: bool,
    /// Those that were about something.
    pub(super) used: RefCell<HashSet<usize>>,
    /// Rules that asked where a client comes from of which too little is known, by their policies and places.
    pub(super) unsure: RefCell<BTreeSet<(usize, usize, Family)>>,
    /// Each once, for most services and endpoints share them.
    known: RefCell<HashSet<Arc<Access>>>,
}

impl<'a> AccessPolicies<'a> {
    pub(in crate::compile) fn new(catalog: &Catalog<'a>, snapshot: &'a Snapshot) -> Self {
        let mut policies = Self {
            all: Vec::new(),
            of_entries: HashMap::new(),
            of_namespaces: HashMap::new(),
            of_all: Vec::new(),
            trust: Trust::of(&snapshot.mesh),
            is_audited: snapshot.node.is_audited,
            used: RefCell::default(),
            unsure: RefCell::default(),
            known: RefCell::default(),
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
            let of_namespace = self.of_entries.entry(namespace).or_default();
            of_namespace.entry(&target.name).or_default().push(place);
        }
        if targets.is_empty() {
            let of_workloads = if namespace == root {
                &mut self.of_all
            } else {
                self.of_namespaces.entry(namespace).or_default()
            };
            of_workloads.push(place);
        }
    }

    /// Those about workloads of the namespace, but not of every namespace.
    pub(super) fn of_namespace(&self, namespace: &str) -> &[usize] {
        self.of_namespaces.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Those that name the entry.
    pub(super) fn of_entry(&self, entry: &ObjectId) -> &[usize] {
        let of_namespace = self.of_entries.get(entry.namespace.as_str());
        let found = of_namespace.and_then(|of| of.get(entry.name.as_str()));
        found.map_or(&[], Vec::as_slice)
    }

    /// Whether any is about workloads.
    pub(in crate::compile) fn select_workloads(&self) -> bool {
        !self.of_namespaces.is_empty() || !self.of_all.is_empty()
    }

    /// Those about the workload.
    pub(super) fn selecting(&self, workload: &MeshWorkload) -> impl Iterator<Item = usize> {
        let of_namespace = self.of_namespace(&workload.namespace);
        let all = of_namespace.iter().chain(&self.of_all).copied();
        all.filter(|place| selects(self.all[*place].spec, &workload.labels))
    }

    /// Those about the service, or about any of its endpoints; in order.
    pub(in crate::compile) fn about(&self, service: &Service) -> BTreeSet<usize> {
        let subject = service.subject.as_deref();
        let is_named = subject.is_some_and(|subject| subject.port.is_some());
        let named = is_named.then(|| self.of_entry(&service.object));
        let mut found: BTreeSet<usize> = named.unwrap_or_default().iter().copied().collect();
        let of_endpoints = service.endpoints.iter().map(|e| &e.workloads);
        let of_service = subject.map(|subject| &subject.workloads);
        let workloads = of_endpoints.chain(of_service).flat_map(|w| &**w);
        found.extend(self.about_workloads(workloads));
        found
    }

    /// Those about any of the workloads; in order.
    pub(in crate::compile) fn about_workloads<'w>(
        &self,
        workloads: impl Iterator<Item = &'w MeshWorkload>,
    ) -> BTreeSet<usize> {
        workloads
            .flat_map(|workload| self.selecting(workload))
            .collect()
    }

    /// What is to be compared of the service, which `leading` leads to at `port`; `None` where no policy is about it as a whole.
    pub(in crate::compile) fn subject(
        &self,
        entry: &Entry<'_>,
        service: &Service,
        leading: &Part,
        port: u16,
    ) -> Option<Arc<Subject>> {
        let is_named = !self.of_entry(&entry.id).is_empty();
        let is_of_mesh = entry.is_in_mesh() && entry.spec.resolution == Resolution::None;
        let kept = service.original_port(port);
        let reached = kept.filter(|_| is_of_mesh && self.select_workloads());
        if !is_named && reached.is_none() {
            return None;
        }
        let addresses = leading.all();
        let family = if kept.is_some() {
            Family::of(addresses.iter().map(IpNet::addr))
        } else {
            Family::of(service.endpoints.iter().map(|endpoint| endpoint.address))
        };
        // Nothing is known of who is there, but in whose namespace.
        let nameless = || MeshWorkload {
            namespace: Arc::clone(&entry.namespace),
            labels: Arc::default(),
        };
        Some(Arc::new(Subject {
            addresses,
            port: is_named.then_some(port),
            family,
            workloads: reached.map(|_| nameless()).into_iter().collect(),
            workload_port: reached.unwrap_or(port),
            is_endpoint: false,
        }))
    }

    /// Says of the service and its endpoints what policies say to the client.
    pub(in crate::compile) fn guard(&self, client: Client<'_>, service: &mut Service) {
        if self.all.is_empty() {
            return;
        }
        let client = &self.trust.identify(client);
        let access = self.of_service(client, service);
        service.access = access.map(|access| self.intern(access));
        if let Some(access) = &service.access {
            service.reasons.push(access.sentence());
            if access.ruling == Ruling::Denied {
                service.action = Action::Refuse(RefuseReason::Denied);
                service.endpoints.clear();
            }
        }
        for endpoint in &mut service.endpoints {
            let access = self.of_endpoint(client, endpoint);
            endpoint.access = access.map(|access| self.intern(access));
        }
    }

    /// What is said of the service as a whole.
    pub(super) fn of_service(&self, client: &Identity<'_>, service: &Service) -> Option<Access> {
        let subject = service.subject.as_deref()?;
        let at = |port| Destination {
            addresses: &subject.addresses,
            port,
            family: subject.family,
        };
        let named = subject.port.and_then(|port| {
            let named = self.of_entry(&service.object).iter().copied();
            self.decide(client, named, &at(port))
        });
        let there = self.of_workloads(client, &subject.workloads, &at(subject.workload_port));
        named.into_iter().chain(there).reduce(Access::join)
    }

    /// What policies for those who are there say of the endpoint.
    pub(super) fn of_endpoint(&self, client: &Identity<'_>, endpoint: &Endpoint) -> Option<Access> {
        let destination = Destination {
            addresses: &[IpNet::from(endpoint.address)],
            port: endpoint.port,
            family: endpoint.address.into(),
        };
        self.of_workloads(client, &endpoint.workloads, &destination)
    }

    /// A connect that any of them denies fails.
    fn of_workloads(
        &self,
        client: &Identity<'_>,
        workloads: &[MeshWorkload],
        destination: &Destination<'_>,
    ) -> Option<Access> {
        let workloads = workloads.iter();
        workloads
            .filter_map(|workload| self.decide(client, self.selecting(workload), destination))
            .reduce(Access::join)
    }

    /// `None` where nothing is decided or counted.
    pub(super) fn decide(
        &self,
        client: &Identity<'_>,
        places: impl Iterator<Item = usize>,
        destination: &Destination<'_>,
    ) -> Option<Access> {
        let (mut denying, mut allowing, mut missed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut noted, mut noted_allowing, mut noted_missing) =
            (Vec::new(), Vec::new(), Vec::new());
        for place in places {
            self.used.borrow_mut().insert(place);
            let policy = &self.all[place];
            let matching = policy.matching(|rule| {
                let who = rule::who(&policy.spec.rules[rule], client, destination.family);
                let whereto = rule::whereto(&policy.spec.rules[rule], destination);
                if who == Truth::Unknown && whereto != Truth::No {
                    let family = destination.family;
                    self.unsure.borrow_mut().insert((place, rule, family));
                }
                who.min(whereto)
            });
            let is_missed = policy.spec.action == PolicyAction::Allow && matching.is_empty();
            let whole = is_missed.then(|| policy.name(None));
            match policy.spec.action {
                PolicyAction::Allow if policy.spec.is_dry_run => {
                    noted_allowing.extend(matching);
                    noted_missing.extend(whole);
                }
                _ if policy.spec.is_dry_run => noted.extend(matching),
                PolicyAction::Deny => denying.extend(matching),
                PolicyAction::Allow => {
                    allowing.extend(matching);
                    missed.extend(whole);
                }
                PolicyAction::Audit | PolicyAction::Custom => noted.extend(matching),
            }
        }
        // One that allows it is enough, of dry runs among themselves as of others.
        if !noted_allowing.is_empty() {
            noted_missing.clear();
        }
        noted.extend(noted_allowing);
        let is_default = denying.is_empty() && allowing.is_empty() && !missed.is_empty();
        let is_denied = is_default || !denying.is_empty();
        let mut by = [denying, allowing, missed].into_iter();
        let by = by.find(|by| !by.is_empty()).unwrap_or_default();
        if by.is_empty() && noted.is_empty() && noted_missing.is_empty() {
            return None;
        }
        let ruling = match (is_denied, self.is_audited) {
            (false, _) => Ruling::Allowed,
            (true, false) => Ruling::Denied,
            (true, true) => Ruling::Audited,
        };
        Some(Access {
            ruling,
            is_default,
            by,
            noted,
            noted_missing,
        })
    }

    fn intern(&self, access: Access) -> Arc<Access> {
        let access = access.by_policy();
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
