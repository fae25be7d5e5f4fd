//! One cluster: the endpoints of a port of a host, or of a subset of them, with their priorities and their policy.
//! Knows nothing of what leads there, nor of shares.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::api::Resolution;
use crate::api::destination_rule::{Algorithm, Subset};
use crate::model::{Node, Snapshot, Vital};

use super::endpoints::{Candidate, Sources, answered};
use super::hosts::{Declared, Host};
use super::locality::{self, Place, Setting};
use super::policy::{Applied, Policies};
use super::probing;
use super::program::{Action, Endpoint, RefuseReason};
use super::setting;
use super::spread::Cluster;

/// What clusters are built from.
#[derive(Clone, Copy)]
pub(super) struct Supplies<'c, 'a> {
    /// By the age of the entry.
    pub(super) sources: &'c [Sources<'a>],
    pub(super) policies: &'c Policies<'a>,
    pub(super) snapshot: &'a Snapshot,
}

/// A cluster, and what becomes of connects that are led to it.
pub(super) struct Built<'a> {
    pub(super) action: Action,
    /// Of weight 1.
    pub(super) cluster: Cluster,
    /// By priority, of cluster 0, without shares; none unless the action is `Balance`.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) applied: Applied<'a>,
    /// In sentences.
    pub(super) reasons: Vec<String>,
}

/// Builds the cluster of one declared port of `host`, or of the subset of it that was `applied`.
pub(super) fn build<'a>(
    host: &Host<'a>,
    declared: &Declared<'a>,
    applied: Applied<'a>,
    supplies: Supplies<'_, 'a>,
) -> Built<'a> {
    let snapshot = supplies.snapshot;
    let entry = declared.entry;
    let port = declared.port;
    let sources = &supplies.sources[entry.age];
    let mut reasons = applied.reasons.clone();
    if entry.spec.resolution == Resolution::DynamicDns && host.resolvable.is_none() {
        reasons.push(
            "resolution DYNAMIC_DNS: each name is a service of its own once a client asks for it"
                .to_owned(),
        );
    }
    let action = action(&applied, declared, sources);
    let mut probe_interval = None;
    let arranged = if action == Action::Balance {
        let own = sources.of_host(host, entry);
        let mut candidates =
            sources.candidates(own.as_ref(), entry.spec.resolution, port, snapshot);
        if let Some(subset) = applied.subset {
            candidates.retain(|candidate| is_member(candidate, subset, &snapshot.node));
        }
        reasons.extend(name_reasons(host, sources, own.is_some(), snapshot));
        let (setting, why) = setting::effective(&applied, entry, snapshot);
        reasons.push(why);
        probe_interval = probing::interval(declared, &applied.policy);
        reasons.extend(probe_interval.map(probing::reason));
        arrange(&candidates, setting.as_ref(), &snapshot.node)
    } else {
        reasons.push(action_reason(&action, entry.spec.resolution));
        Arranged::default()
    };
    let cluster = Cluster {
        subset: applied.subset.map(|subset| subset.name.as_str().into()),
        localities: arranged.localities,
        policy: Arc::clone(&applied.policy),
        probe_interval,
        ..Cluster::of(Arc::clone(&host.name))
    };
    Built {
        action,
        cluster,
        endpoints: arranged.endpoints,
        applied,
        reasons,
    }
}

fn action(applied: &Applied, declared: &Declared, sources: &Sources) -> Action {
    if applied.tls.is_some() {
        return Action::Refuse(RefuseReason::TlsOrigination);
    }
    match declared.entry.spec.resolution {
        Resolution::None => Action::Original {
            port: declared.port.target_port,
        },
        // As in Istio, only resolution NONE goes to the target port.
        _ if applied.policy.algorithm == Algorithm::Passthrough => Action::Original { port: None },
        Resolution::Static
        | Resolution::Dns
        | Resolution::DnsRoundRobin
        | Resolution::DynamicDns => sources.refusal().map_or(Action::Balance, Action::Refuse),
    }
}

/// Whether the endpoint carries all labels of the subset.
fn is_member(candidate: &Candidate, subset: &Subset, node: &Node) -> bool {
    locality::carries(&place(candidate), &subset.labels, node)
}

/// The endpoints of a cluster, in the order of their priorities, without their shares.
#[derive(Default)]
struct Arranged {
    endpoints: Vec<Endpoint>,
    localities: Option<Arc<[u64]>>,
}

/// Gives every candidate its priority. An address that several of them have is one endpoint.
fn arrange(candidates: &[Candidate], setting: Option<&Setting>, node: &Node) -> Arranged {
    let places: Vec<Place> = candidates.iter().map(place).collect();
    let arrangement = locality::arrange(&places, setting, node);
    let mut endpoints: Vec<Endpoint> = candidates
        .iter()
        .enumerate()
        .map(|(i, candidate)| Endpoint {
            priority: arrangement.priorities[i],
            locality_group: arrangement.groups.get(i).copied().unwrap_or(0),
            ..endpoint(candidate)
        })
        .collect();
    endpoints.sort_by_key(|endpoint| endpoint.priority);
    join_equal(&mut endpoints);
    Arranged {
        endpoints,
        localities: arrangement.weights.map(Arc::from),
    }
}

fn place<'s>(candidate: &Candidate<'s, 's>) -> Place<'s> {
    Place {
        locality: candidate.source.locality,
        network: candidate.source.network,
        labels: &candidate.source.labels,
        weight: candidate.source.weight,
    }
}

fn endpoint(candidate: &Candidate) -> Endpoint {
    let source = candidate.source;
    Endpoint {
        address: candidate.address,
        port: candidate.port,
        weight: source.weight,
        share: 0,
        priority: 0,
        locality_group: 0,
        cluster: 0,
        locality: source.locality.clone(),
        vital: Vital::default(),
        workloads: Arc::default(),
        access: None,
        failing: source.failing,
        labels: Arc::clone(&source.labels),
        object: Arc::clone(&source.object),
        origin: source.origin.clone(),
        hostname: candidate.hostname.clone(),
    }
}

/// Joins endpoints of the same address, port and place to the first of them, with the sum of their weights: names may share
/// addresses.
fn join_equal(endpoints: &mut Vec<Endpoint>) {
    let mut order: Vec<usize> = (0..endpoints.len()).collect();
    let key = |e: &Endpoint| (e.address, e.port, e.priority, e.locality_group);
    order.sort_by_key(|i| (key(&endpoints[*i]), *i));
    let mut keep = vec![true; endpoints.len()];
    let Some(mut first) = order.first().copied() else {
        return;
    };
    for next in order.into_iter().skip(1) {
        if key(&endpoints[next]) == key(&endpoints[first]) {
            let joined = endpoints[first]
                .weight
                .saturating_add(endpoints[next].weight);
            endpoints[first].weight = joined;
            endpoints[first].failing &= endpoints[next].failing;
            keep[next] = false;
        } else {
            first = next;
        }
    }
    let mut keep = keep.into_iter();
    endpoints.retain(|_| keep.next().unwrap_or(true));
}

fn action_reason(action: &Action, resolution: Resolution) -> String {
    match action {
        Action::Balance => "connects are spread over the endpoints",
        Action::Original { .. } if resolution != Resolution::None => {
            "PASSTHROUGH: connects keep their address and port, whatever the endpoints are"
        }
        Action::Original { port: None } => {
            "resolution NONE: connects keep their address and port"
        }
        Action::Original { port: Some(port) } => {
            return format!(
                "resolution NONE: connects keep their address and go to the target port {port}"
            );
        }
        Action::Refuse(RefuseReason::TlsOrigination) => {
            "the DestinationRule asks for TLS, which cannot be originated here; connects are refused"
        }
        Action::Refuse(RefuseReason::UnixSocket) => {
            "every endpoint is a Unix socket; connects are refused"
        }
        Action::Refuse(RefuseReason::NetworkGateway) => {
            "every endpoint is behind the gateway of its network; connects are refused"
        }
        Action::Refuse(RefuseReason::Passthrough) => {
            "there is no address to pass connects on to; connects are refused"
        }
        Action::Refuse(RefuseReason::Denied) => "policies deny it to these clients",
    }
    .to_owned()
}

/// What each name that endpoints come from answered.
fn name_reasons(
    host: &Host,
    sources: &Sources,
    implicit: bool,
    snapshot: &Snapshot,
) -> Vec<String> {
    let own = host.resolvable.as_ref().filter(|_| implicit);
    let mut names: Vec<&Arc<str>> = sources.names().chain(own).collect();
    names.dedup();
    let sentence = |name: &Arc<str>| {
        let addresses = answered(snapshot, name);
        let failure = snapshot
            .answers
            .get(name)
            .and_then(|a| a.failure.as_deref());
        let mut text = if addresses.is_empty() {
            format!("{name} has no address")
        } else {
            let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{name} resolved to {}", listed.join(", "))
        };
        match failure {
            Some(why) => write!(text, "; the newest resolution failed: {why}"),
            None if !snapshot.answers.contains_key(name) => {
                write!(text, "; it was not resolved yet")
            }
            None => Ok(()),
        }
        .expect("writing to a string does not fail");
        text
    };
    names.into_iter().map(sentence).collect()
}
