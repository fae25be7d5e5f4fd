//! Where a route leads: its destinations as clusters of one service, each with its part of the connects.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::virtual_service::RouteDestination;
use crate::api::{Diagnostic, Meta, Severity};

use super::client::Client;
use super::cluster::{self, Supplies};
use super::codes;
use super::hosts::{Declared, Host, full_name};
use super::policy::NoSubset;
use super::program::{Action, Endpoint, RefuseReason};
use super::routes::Taken;
use super::services::Routing;
use super::spread::{Cluster, Policy};
use super::visibility::{self, Ports};
use agent_common::abi::UDP;

/// The hosts that a client may be led to, found by name as routes name them.
pub(super) struct Places<'h, 'a> {
    hosts: &'h [Host<'a>],
    by_name: HashMap<&'h str, usize>,
}

impl<'h, 'a> Places<'h, 'a> {
    /// A route leads also to hosts that the client does not ask for (Istio's `SidecarScope`).
    pub(super) fn new(hosts: &'h [Host<'a>], client: Client<'_>) -> Self {
        let exported = visibility::seen(hosts, client, |_| Some(Ports::All));
        let by_name = exported
            .iter()
            .map(|seen| (&*hosts[seen.place].name, seen.place));
        Self {
            hosts,
            by_name: by_name.collect(),
        }
    }

    fn find(&self, name: &str) -> Option<&'h Host<'a>> {
        self.by_name.get(name).map(|place| &self.hosts[*place])
    }
}

/// What a route makes of a service.
pub(super) struct Routed<'a> {
    pub(super) action: Action,
    pub(super) clusters: Vec<Cluster>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Whose rule asks for what cannot be done.
    pub(super) refused_by: Option<(&'a Meta, RefuseReason)>,
    /// Whose rule has connects keep their addresses.
    pub(super) passthrough: Option<&'a Meta>,
    pub(super) reasons: Vec<String>,
}

/// Builds what the route leads to, for connects to `port`. A destination that is not there, or that nothing can carry out,
/// keeps its part of the connects, which fail.
pub(super) fn build<'a>(
    taken: &Taken<'a>,
    port: u16,
    routing: &mut Routing<'_, '_, 'a>,
    supplies: Supplies<'_, 'a>,
) -> Routed<'a> {
    let origin = &taken.meta.origin;
    let mut routed = Routed {
        action: Action::Balance,
        clusters: Vec::new(),
        endpoints: Vec::new(),
        refused_by: None,
        passthrough: None,
        reasons: vec![format!(
            "{} of {} ({origin}) takes the connects",
            taken.field(),
            taken.meta.id
        )],
    };
    let destinations = &taken.route.destinations;
    let is_single = destinations.len() == 1;
    let weighty = destinations.iter().filter(|d| is_single || d.weight > 0);
    for destination in weighty {
        let weight = if is_single { 1 } else { destination.weight };
        match one(taken, destination, port, routing.places, supplies) {
            Ok(built) => routed.add(built, weight, is_single),
            Err(why) => {
                routing.diagnostics.push(missing(taken, destination, &why));
                routed.reasons.push(why);
                routed.clusters.push(nowhere(destination, weight));
            }
        }
    }
    routed.endpoints.sort_by_key(|endpoint| endpoint.priority);
    routed
}

impl<'a> Routed<'a> {
    fn add(&mut self, built: cluster::Built<'a>, weight: u32, is_single: bool) {
        let place = u32::try_from(self.clusters.len()).expect("a route has few destinations");
        if let Action::Refuse(reason) = built.action
            && let Some(rule) = built.applied.tls
        {
            self.refused_by = Some((rule, reason));
        }
        self.passthrough = built.applied.passthrough;
        self.reasons.extend(built.reasons);
        if is_single {
            self.action = built.action;
        } else if let Action::Original { .. } = built.action {
            self.reasons.push(format!(
                "{} keeps the addresses that clients ask for, which a part of a route cannot: its part of the connects fails",
                built.cluster.host
            ));
        }
        self.clusters.push(Cluster {
            weight,
            ..built.cluster
        });
        self.endpoints
            .extend(built.endpoints.into_iter().map(|endpoint| Endpoint {
                cluster: place,
                ..endpoint
            }));
    }
}

/// The cluster of one destination, or why there is none.
fn one<'a>(
    taken: &Taken<'a>,
    destination: &RouteDestination,
    port: u16,
    places: &Places<'_, 'a>,
    supplies: Supplies<'_, 'a>,
) -> Result<cluster::Built<'a>, String> {
    let name = full_name(&destination.host, &taken.meta.id.namespace);
    let host = places
        .find(&name)
        .ok_or_else(|| format!("no ServiceEntry has the host {name}"))?;
    let declared = declared(host, destination.port, port)?;
    let number = declared.port.number;
    let subset = destination.subset.as_deref();
    let applied = supplies
        .policies
        .find(&host.namespace, &host.name, number, subset)
        .map_err(|why| no_subset(&why))?;
    Ok(cluster::build(host, declared, applied, supplies))
}

/// The port of the destination: the one that is named, or its only one, or the one that clients ask for.
fn declared<'h, 'a>(
    host: &'h Host<'a>,
    named: Option<u16>,
    asked: u16,
) -> Result<&'h Declared<'a>, String> {
    let of_tcp = || {
        host.ports
            .iter()
            .filter(|declared| declared.transport() != UDP)
    };
    let wanted = match (named, of_tcp().count()) {
        (Some(named), _) => named,
        (None, 1) => return of_tcp().next().ok_or_else(String::new),
        (None, _) => asked,
    };
    let mut ports = of_tcp();
    ports
        .find(|declared| declared.port.number == wanted)
        .ok_or_else(|| format!("{} declares no port {wanted} for TCP", host.name))
}

fn no_subset(missing: &NoSubset) -> String {
    let NoSubset { host, subset, rule } = missing;
    match rule {
        None => format!("no DestinationRule for {host} has the subset {subset}"),
        Some((rule, known)) if known.is_empty() => {
            format!("{rule}, which is for {host}, has no subsets, and so no {subset}")
        }
        Some((rule, known)) => format!(
            "{rule}, which is for {host}, has no subset {subset}, but {}",
            known.join(", ")
        ),
    }
}

/// A cluster without endpoints: its part of the connects fails.
fn nowhere(destination: &RouteDestination, weight: u32) -> Cluster {
    Cluster {
        host: destination.host.as_str().into(),
        subset: destination.subset.as_deref().map(Arc::from),
        weight,
        localities: None,
        policy: Arc::new(Policy::default()),
        probe_interval: None,
    }
}

fn missing(taken: &Taken, destination: &RouteDestination, why: &str) -> Diagnostic {
    let message = format!("{why}: connects that the route sends there fail");
    let code = codes::ROUTE_TO_NOWHERE;
    Diagnostic::about(Severity::Error, code, taken.meta, message)
        .at(taken.field(), destination.line)
        .hint("correct the destination, or declare what it names")
}
