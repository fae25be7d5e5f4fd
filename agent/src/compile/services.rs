//! One service: from a declared port to an action, endpoints with shares, and the reasons for them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::api::{LocalityLbSetting, Origin, Resolution, TlsMode};
use crate::model::{ServiceVitals, Snapshot, Vital};

use super::catalog::Entry;
use super::endpoints::{Candidate, Sources, answered};
use super::hosts::{Declared, Host};
use super::locality::{self, Place, Setting};
use super::policy::{Applied, Policies};
use super::program::{Action, Endpoint, RefuseReason, Service, ServiceKey};
use super::spread::Cluster;

/// Istio's annotation that prefers endpoints which are near.
pub(super) const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// A service, and the rule that asked for what cannot be done.
pub(super) struct Built<'a> {
    pub(super) key: ServiceKey,
    pub(super) service: Service,
    pub(super) tls_rule: Option<Applied<'a>>,
}

/// Builds the service of one declared port of `host`.
pub(super) fn build<'a>(
    host: &Host<'a>,
    declared: &Declared<'a>,
    sources: &Sources<'a>,
    policies: &Policies<'a>,
    snapshot: &'a Snapshot,
) -> Built<'a> {
    let entry = declared.entry;
    let port = declared.port;
    let key = ServiceKey {
        namespace: Arc::clone(&host.namespace),
        host: Arc::clone(&host.name),
        port: port.number,
        transport: declared.transport(),
    };
    let applied = policies.find(&host.namespace, &host.name, port.number);
    let asks_for_tls = |applied: &Applied| {
        let tls = applied.policy.tls;
        tls.is_some_and(|mode| !matches!(mode, TlsMode::Disable))
    };
    let tls_rule = applied.filter(asks_for_tls);
    let mut reasons = vec![rule_reason(applied)];
    if entry.spec.resolution == Resolution::DynamicDns && host.resolvable.is_none() {
        reasons.push(
            "resolution DYNAMIC_DNS: each name is a service of its own once a client asks for it"
                .to_owned(),
        );
    }
    let action = if tls_rule.is_some() {
        Action::Refuse(RefuseReason::TlsOrigination)
    } else {
        action(entry, port.target_port, sources)
    };
    let arranged = if action == Action::Balance {
        let own = sources.of_host(host, entry);
        let resolution = entry.spec.resolution;
        let candidates = sources.candidates(own.as_ref(), resolution, port, snapshot);
        reasons.extend(name_reasons(host, sources, own.is_some(), snapshot));
        let (setting, why) = effective_setting(applied, entry, snapshot);
        reasons.push(why);
        arrange(&candidates, setting.as_ref(), snapshot)
    } else {
        reasons.push(action_reason(&action));
        Arranged::default()
    };
    let cluster = Cluster {
        localities: arranged.localities,
        policy: policies.policy(applied),
        ..Cluster::of(Arc::clone(&host.name))
    };
    let mut service = Service {
        protocol: port.protocol,
        port_name: port.name.clone(),
        resolution: entry.spec.resolution,
        action,
        endpoints: arranged.endpoints,
        clusters: vec![cluster],
        unserved: 0,
        object: Arc::clone(&entry.id),
        origin: Origin {
            file: Arc::clone(&entry.meta.origin.file),
            line: port.line,
        },
        reasons,
    };
    let vitals = snapshot.vitals.get(&key);
    service.examine(vitals.map_or(&ServiceVitals::new(), |vitals| vitals));
    Built {
        key,
        service,
        tls_rule,
    }
}

fn action(entry: &Entry, target_port: Option<u16>, sources: &Sources) -> Action {
    match entry.spec.resolution {
        Resolution::None => Action::Original { port: target_port },
        Resolution::Static
        | Resolution::Dns
        | Resolution::DnsRoundRobin
        | Resolution::DynamicDns => sources.refusal().map_or(Action::Balance, Action::Refuse),
    }
}

/// The endpoints of a cluster, in the order of their priorities, without their shares.
#[derive(Default)]
struct Arranged {
    endpoints: Vec<Endpoint>,
    localities: Option<Arc<[u64]>>,
}

/// Gives every candidate its priority. An address that several of them have is one endpoint.
fn arrange(candidates: &[Candidate], setting: Option<&Setting>, snapshot: &Snapshot) -> Arranged {
    let places: Vec<Place> = candidates.iter().map(place).collect();
    let arrangement = locality::arrange(&places, setting, &snapshot.node);
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
            keep[next] = false;
        } else {
            first = next;
        }
    }
    let mut keep = keep.into_iter();
    endpoints.retain(|_| keep.next().unwrap_or(true));
}

/// Which locality setting is in effect: the rule's whole, or the entry's annotation, or the mesh's.
fn effective_setting<'a>(
    applied: Option<Applied<'a>>,
    entry: &Entry<'a>,
    snapshot: &'a Snapshot,
) -> (Option<Setting<'a>>, String) {
    let detects = applied.is_some_and(|applied| applied.policy.outlier_detection.is_some());
    let (locality_lb, forced, whose) = if let Some(applied) = applied
        && let Some(balancer) = &applied.policy.load_balancer
        && let Some(locality_lb) = &balancer.locality_lb
    {
        let whose = format!("{} ({})", applied.meta.id, applied.meta.origin);
        (Cow::Borrowed(locality_lb), false, whose)
    } else if let Some(value) = entry.meta.annotations.get(TRAFFIC_DISTRIBUTION)
        && let Some((failover_priority, _)) = locality::traffic_distribution(value)
    {
        let preferred = LocalityLbSetting {
            failover_priority,
            ..LocalityLbSetting::default()
        };
        let origin = &entry.meta.origin;
        let whose = format!("annotation {TRAFFIC_DISTRIBUTION}: {value} ({origin})");
        (Cow::Owned(preferred), true, whose)
    } else {
        (
            Cow::Borrowed(&snapshot.mesh.locality_lb),
            false,
            "the mesh".to_owned(),
        )
    };
    let failover = detects || forced;
    let what = if !locality_lb.enabled {
        "is disabled"
    } else if !locality_lb.distribute.is_empty() {
        "distributes over localities"
    } else if !failover {
        "has no effect: failover needs outlierDetection, and no DestinationRule for this port has it"
    } else if !locality_lb.failover_priority.is_empty() {
        "gives priorities by failoverPriority"
    } else {
        "gives priorities by region, zone and subzone"
    };
    let node = &snapshot.node.locality;
    let seen = if node.is_empty() {
        "unknown".to_owned()
    } else {
        node.to_string()
    };
    let why = format!("localityLbSetting of {whose} {what}; this node's locality is {seen}");
    let setting = locality_lb.enabled.then_some(Setting {
        locality_lb,
        failover,
    });
    (setting, why)
}

fn rule_reason(applied: Option<Applied>) -> String {
    applied.map_or_else(
        || "no DestinationRule applies".to_owned(),
        |applied| {
            let part = if applied.of_port {
                "trafficPolicy.portLevelSettings"
            } else {
                "trafficPolicy"
            };
            format!(
                "{part} of {} ({}) applies",
                applied.meta.id, applied.meta.origin
            )
        },
    )
}

fn action_reason(action: &Action) -> String {
    match action {
        Action::Balance => "connects are spread over the endpoints",
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
