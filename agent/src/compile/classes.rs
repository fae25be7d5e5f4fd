//! Which clients there are: workloads, divided into classes so that no object tells those of one class apart. What is compiled is
//! compiled once for each class, however many workloads there are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use crate::api::virtual_service::Match;
use crate::api::{Diagnostic, MeshConfig, Meta, Severity, Sidecar};

use super::access::{Asking, Stance};
use super::catalog::Catalog;
use super::client::Client;
use super::codes;
use super::policy;
use super::routes;
use super::sidecars;

/// Clients of which no object tells one from another.
pub(super) struct Class<'a> {
    /// What tells it apart, in words; empty for the clients that no workload claims.
    pub(super) label: Arc<str>,
    /// What tells its vantage apart.
    pub(super) outlook: Arc<str>,
    /// Any of them.
    pub(super) client: Client<'a>,
    /// Classes of the same number see the same.
    pub(super) vantage: usize,
    /// Classes of the same number see the same rules and routes.
    pub(super) viewpoint: usize,
    /// What says what it imports.
    pub(super) sidecar: Option<(&'a Meta, &'a Sidecar)>,
    /// To the rules of policies that ask who connects.
    pub(super) stances: Vec<Stance>,
}

pub(super) struct Classes<'a> {
    /// The first is that of the clients that no workload claims.
    pub(super) all: Vec<Class<'a>>,
    /// The class of each workload.
    pub(super) of_workloads: Vec<usize>,
    /// What is for clients that there are none of.
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl<'a> Classes<'a> {
    /// `workloads` are clients, too.
    pub(super) fn divide(
        catalog: &Catalog<'a>,
        mesh: &'a MeshConfig,
        asking: &Asking<'_, 'a>,
        workloads: impl Iterator<Item = Client<'a>>,
    ) -> Self {
        let criteria = Criteria::new(catalog, mesh, asking);
        let mut known: HashMap<Traits<'a>, usize> = HashMap::new();
        let mut vantages: HashMap<Vantage<'a>, usize> = HashMap::new();
        let mut viewpoints: HashMap<Viewpoint<'a>, usize> = HashMap::new();
        let mut all: Vec<Class<'a>> = Vec::new();
        let mut place = |client: Client<'a>| {
            let traits = criteria.of(client);
            if let Some(known) = known.get(&traits) {
                return *known;
            }
            let next = viewpoints.len();
            let viewpoint = traits.vantage.viewpoint.clone();
            let viewpoint = *viewpoints.entry(viewpoint).or_insert(next);
            let next = vantages.len();
            let vantage = *vantages.entry(traits.vantage.clone()).or_insert(next);
            let (outlook, label) = match all.len() {
                0 => (String::new(), String::new()),
                _ => criteria.labels(&traits),
            };
            let sidecar = traits.vantage.sidecar.map(|place| catalog.sidecars[place]);
            all.push(Class {
                label: label.into(),
                outlook: outlook.into(),
                client,
                vantage,
                viewpoint,
                sidecar,
                stances: traits.stances.clone(),
            });
            known.insert(traits, all.len() - 1);
            all.len() - 1
        };
        place(Client::unclaimed());
        let of_workloads = workloads.map(&mut place).collect();
        let diagnostics = criteria.unmet(known.keys());
        Self {
            all,
            of_workloads,
            diagnostics,
        }
    }
}

impl Classes<'_> {
    /// All clients by name, with their stances.
    pub(super) fn named(&self, catalog: &Catalog<'_>) -> Vec<(String, &[Stance])> {
        let stances = |class: usize| &*self.all[class].stances;
        let locals = catalog.locals.iter().zip(&self.of_workloads);
        let locals = locals.map(|((meta, _), class)| (meta.id.to_string(), stances(*class)));
        let unclaimed = (
            "clients that no LocalWorkload claims".to_owned(),
            stances(0),
        );
        locals.chain([unclaimed]).collect()
    }
}

/// What objects may ask of clients.
struct Criteria<'c, 'a> {
    catalog: &'c Catalog<'a>,
    mesh: &'a MeshConfig,
    /// Namespaces that matter to which rules and routes apply.
    of_viewpoints: HashSet<&'a str>,
    /// Namespaces that matter to which hosts are seen.
    of_views: HashSet<&'a str>,
    /// Namespaces and labels of rules that are for some clients alone.
    rules: Vec<(&'a Meta, &'a BTreeMap<String, String>)>,
    /// Matches of routes that are for some clients alone, with their route's object.
    matches: Vec<(&'a Meta, String, &'a Match)>,
    asking: &'c Asking<'c, 'a>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Viewpoint<'a> {
    namespace: Option<&'a str>,
    /// Into the rules and the matches.
    rules: Vec<usize>,
    matches: Vec<usize>,
    /// Which routes are imported depends on it.
    sidecar: Option<usize>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Vantage<'a> {
    viewpoint: Viewpoint<'a>,
    namespace: Option<&'a str>,
    sidecar: Option<usize>,
}

#[derive(PartialEq, Eq, Hash)]
struct Traits<'a> {
    vantage: Vantage<'a>,
    /// As [`Class`] has them.
    stances: Vec<Stance>,
}

impl<'c, 'a> Criteria<'c, 'a> {
    fn new(catalog: &'c Catalog<'a>, mesh: &'a MeshConfig, asking: &'c Asking<'c, 'a>) -> Self {
        let mut criteria = Self {
            catalog,
            mesh,
            of_viewpoints: HashSet::new(),
            of_views: HashSet::new(),
            rules: Vec::new(),
            matches: Vec::new(),
            asking,
        };
        criteria.add_entries();
        for (meta, rule) in catalog.rules.iter().copied() {
            criteria.of_viewpoints.insert(&meta.id.namespace);
            let of_mesh = &mesh.default_destination_rule_export_to;
            let export_to = rule.export_to.iter().chain(of_mesh);
            criteria.of_viewpoints.extend(export_to.map(String::as_str));
            if let Some(selector) = policy::selector(rule) {
                criteria.rules.push((meta, selector));
            }
        }
        for (meta, routes) in catalog.routes.iter().copied() {
            criteria.of_viewpoints.insert(&meta.id.namespace);
            let of_mesh = &mesh.default_virtual_service_export_to;
            let export_to = routes.export_to.iter().chain(of_mesh);
            criteria.of_viewpoints.extend(export_to.map(String::as_str));
            let all = routes.tcp.iter().chain(&routes.tls);
            for (number, item) in (1..).zip(all.flat_map(|route| &route.matches)) {
                if item.source_namespace.is_some() || !item.source_labels.is_empty() {
                    let name = format!("match {number} of {}", meta.id);
                    criteria.matches.push((meta, name, item));
                }
            }
        }
        if !catalog.routes.is_empty() {
            // Where a route leads to depends on which of the hosts of a name the client sees.
            let of_views = criteria.of_views.iter().copied();
            criteria.of_viewpoints.extend(of_views);
        }
        criteria
    }

    /// A namespace matters where something is exported to it alone, or where it has a host that others have, too.
    fn add_entries(&mut self) {
        let mut homes: HashMap<&str, &str> = HashMap::new();
        for entry in &self.catalog.entries {
            let home = entry.meta.id.namespace.as_str();
            let exported = entry.export_to;
            if exported != ["*"] {
                self.of_views.insert(home);
                self.of_views.extend(exported.iter().map(String::as_str));
            }
            for host in &entry.spec.hosts {
                let first = *homes.entry(host).or_insert(home);
                if first != home {
                    self.of_views.extend([first, home]);
                }
            }
        }
    }

    fn of(&self, client: Client<'a>) -> Traits<'a> {
        let rules = self.rules.iter().enumerate();
        let rules = rules.filter(|(_, (meta, selector))| {
            meta.id.namespace == client.namespace && client.has(selector)
        });
        let matches = self.matches.iter().enumerate();
        let matches = matches.filter(|(_, (.., item))| routes::is_for(item, client));
        let namespace = |of: &HashSet<&str>| of.contains(client.namespace);
        let sidecar = sidecars::find(&self.catalog.sidecars, self.mesh, client);
        let viewpoint = Viewpoint {
            namespace: namespace(&self.of_viewpoints).then_some(client.namespace),
            rules: rules.map(|(place, _)| place).collect(),
            matches: matches.map(|(place, _)| place).collect(),
            sidecar: sidecar.filter(|_| !self.catalog.routes.is_empty()),
        };
        Traits {
            vantage: Vantage {
                viewpoint,
                namespace: namespace(&self.of_views).then_some(client.namespace),
                sidecar,
            },
            stances: self.asking.stances(client),
        }
    }

    /// What tells apart what clients with these traits see, and then what they are to policies as well.
    fn labels(&self, traits: &Traits<'_>) -> (String, String) {
        let Vantage {
            viewpoint,
            namespace,
            sidecar,
        } = &traits.vantage;
        let namespace = namespace.or(viewpoint.namespace);
        let namespace = namespace.unwrap_or("other namespaces");
        let rules = viewpoint.rules.iter();
        let rules = rules.map(|place| self.rules[*place].0.id.to_string());
        let matches = viewpoint.matches.iter();
        let matches = matches.map(|place| self.matches[*place].1.clone());
        let sidecar = sidecar.map(|place| self.catalog.sidecars[place].0.id.to_string());
        let outlook = named(namespace, rules.chain(matches).chain(sidecar));
        let places = 0..traits.stances.len();
        let label = named(&outlook, self.asking.in_words(places, &traits.stances));
        (outlook, label)
    }

    /// Says of what no client is that has these traits.
    fn unmet<'t>(&self, traits: impl Iterator<Item = &'t Traits<'a>>) -> Vec<Diagnostic>
    where
        'a: 't,
    {
        let mut rules: BTreeSet<usize> = (0..self.rules.len()).collect();
        let mut matches: BTreeSet<usize> = (0..self.matches.len()).collect();
        for traits in traits {
            let viewpoint = &traits.vantage.viewpoint;
            rules.retain(|place| !viewpoint.rules.contains(place));
            matches.retain(|place| !viewpoint.matches.contains(place));
        }
        let rules = rules.into_iter().map(|place| {
            let message = "no client of this node has the labels that the rule is for, so it does not apply here";
            Diagnostic::about(Severity::Warning, codes::NO_SUCH_CLIENT, self.rules[place].0, message)
                .at("spec.workloadSelector", 0)
                .hint("declare a LocalWorkload with these labels, or remove workloadSelector to apply the rule to every client")
        });
        let matches = matches.into_iter().filter_map(|place| {
            let (meta, _, item) = &self.matches[place];
            let message = "no client of this node is what the match asks for, so it takes none of their connections";
            let found = Diagnostic::about(Severity::Warning, codes::NO_SUCH_CLIENT, meta, message)
                .at("spec", item.line)
                .hint("declare a LocalWorkload of that namespace with these labels, or remove sourceLabels and sourceNamespace");
            item.is_for_mesh().then_some(found)
        });
        rules.chain(matches).collect()
    }
}

/// With each of these once.
pub(super) fn named(start: &str, more: impl Iterator<Item = String>) -> String {
    let mut name = start.to_owned();
    let more: BTreeSet<String> = more.collect();
    for object in more {
        write!(name, ", {object}").expect("text takes what is written");
    }
    name
}
