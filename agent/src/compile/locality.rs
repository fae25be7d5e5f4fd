//! Where endpoints stand as seen from this node: priorities and locality weights (Istio's `loadbalancer` package).
//! Knows nothing of health.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::api::destination_rule::{Distribute, Failover};
use crate::api::{Locality, LocalityLbSetting};
use crate::model::Node;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const NETWORK: &str = "topology.istio.io/network";

/// What of an endpoint decides where it stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) locality: &'a Locality,
    /// Empty: the node's own.
    pub(super) network: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    /// 0 for one that is to get nothing.
    pub(super) weight: u32,
}

/// The setting that is in effect for a service.
pub(super) struct Setting<'a> {
    pub(super) locality_lb: Cow<'a, LocalityLbSetting>,
    /// Whether endpoints are given priorities, which takes an `outlierDetection` that would notice failures.
    pub(super) failover: bool,
}

/// How the endpoints of one service are divided.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arrangement {
    /// Of each endpoint; from 0 (first choice) without gaps.
    pub(super) priorities: Vec<u32>,
    /// Of each endpoint, into `weights`; empty unless localities are weighted.
    pub(super) groups: Vec<u32>,
    /// Of each locality; 0 for one that is to get nothing. `None`: localities are not weighted, and the weights of
    /// the endpoints alone decide within a priority.
    pub(super) weights: Option<Vec<u64>>,
}

/// Divides the endpoints of a service.
pub(super) fn arrange(places: &[Place], setting: Option<&Setting>, node: &Node) -> Arrangement {
    let flat = Arrangement {
        priorities: vec![0; places.len()],
        ..Arrangement::default()
    };
    let Some(setting) = setting else {
        return flat;
    };
    let rules = &*setting.locality_lb;
    if !rules.distribute.is_empty() {
        return distribute(places, &rules.distribute, node);
    }
    if !setting.failover {
        return flat;
    }
    let mut priorities = flat.priorities;
    if rules.failover_priority.is_empty() {
        compose_failover(&mut priorities, places, &rules.failover, node);
    } else {
        priorities = by_labels(places, &rules.failover_priority, node);
        if !rules.failover.is_empty() {
            compose_failover(&mut priorities, places, &rules.failover, node);
        }
    }
    // Istio turns locality weighting on with explicit failover rules only.
    if rules.failover_priority.is_empty() && rules.failover.is_empty() {
        return Arrangement {
            priorities,
            ..Arrangement::default()
        };
    }
    let (groups, weights) = group(places, &priorities);
    Arrangement {
        priorities,
        groups,
        weights: Some(weights),
    }
}

/// The endpoints by locality and priority, and the sum of weights of each such group.
fn group(places: &[Place], priorities: &[u32]) -> (Vec<u32>, Vec<u64>) {
    let keys = places
        .iter()
        .zip(priorities)
        .map(|(p, priority)| (p.locality, *priority));
    let distinct: BTreeSet<_> = keys.clone().collect();
    let index: BTreeMap<_, u32> = distinct.into_iter().zip(0..).collect();
    let groups: Vec<u32> = keys.map(|key| index[&key]).collect();
    let mut weights = vec![0; index.len()];
    for (place, group) in places.iter().zip(&groups) {
        weights[*group as usize] += u64::from(place.weight);
    }
    (groups, weights)
}

/// `distribute`: the first entry for the node's locality says what part each locality gets; what it does not name
/// gets nothing. Within a pattern the part is divided by weight, each rounded up as Istio does.
fn distribute(places: &[Place], entries: &[Distribute], node: &Node) -> Arrangement {
    let priorities = vec![0; places.len()];
    let (groups, mut weights) = group(places, &priorities);
    let entry = entries.iter().find(|e| is_within(&node.locality, &e.from));
    if let Some(entry) = entry {
        let mut localities = vec![&node.locality; weights.len()];
        for (place, group) in places.iter().zip(&groups) {
            localities[*group as usize] = place.locality;
        }
        weights = distributed(entry, &localities, &weights);
    }
    Arrangement {
        priorities,
        groups,
        weights: Some(weights),
    }
}

fn distributed(entry: &Distribute, localities: &[&Locality], weights: &[u64]) -> Vec<u64> {
    let mut parts = vec![0; weights.len()];
    let mut unmatched = vec![true; weights.len()];
    // Istio goes through the patterns in no order; where two match, the more exact one decides here.
    let mut patterns: Vec<(&String, &u32)> = entry.to.iter().collect();
    patterns.sort_by_key(|(pattern, _)| (pattern.contains('*'), usize::MAX - pattern.len()));
    for (pattern, percent) in patterns {
        let matching: Vec<usize> = (0..weights.len())
            .filter(|i| unmatched[*i] && is_within(localities[*i], pattern))
            .collect();
        let sum: u64 = matching.iter().map(|i| weights[*i]).sum();
        for i in matching {
            unmatched[i] = false;
            parts[i] = (weights[i] * u64::from(*percent)).div_ceil(sum.max(1));
        }
    }
    parts
}

/// Whether `locality` is of `pattern`, where `*` and what is left out stand for anything (Istio's `LocalityMatch`).
fn is_within(locality: &Locality, pattern: &str) -> bool {
    let pattern = Locality::parse(pattern);
    let open = |part: &str| part.is_empty() || part == "*";
    (pattern.region == "*" || pattern.region == locality.region)
        && (open(&pattern.zone) || pattern.zone == locality.zone)
        && (open(&pattern.subzone) || pattern.subzone == locality.subzone)
}

/// Multiplies `priorities` out with how near each endpoint is: same subzone, zone, region, the region to fail over
/// to, any other.
fn compose_failover(priorities: &mut [u32], places: &[Place], failover: &[Failover], node: &Node) {
    let to = failover.iter().find(|f| f.from == node.locality.region);
    for (priority, place) in priorities.iter_mut().zip(places) {
        let near = match distance(&node.locality, place.locality) {
            3 if to.is_some_and(|f| f.to != place.locality.region) => 4,
            distance => distance,
        };
        *priority = *priority * 5 + near;
    }
    close_gaps(priorities);
}

/// 0 same subzone, 1 same zone, 2 same region, 3 none of these.
fn distance(a: &Locality, b: &Locality) -> u32 {
    if a.region != b.region {
        3
    } else if a.zone != b.zone {
        2
    } else {
        u32::from(a.subzone != b.subzone)
    }
}

/// `failoverPriority`: the more labels in a row an endpoint shares with the client, the sooner it is chosen.
fn by_labels(places: &[Place], labels: &[String], node: &Node) -> Vec<u32> {
    if node.locality.is_empty() && node.network.is_empty() {
        // A client without labels: Istio leaves the endpoints as they are.
        return vec![0; places.len()];
    }
    let wanted: Vec<(&str, &str)> = labels
        .iter()
        .map(|label| match label.split_once('=') {
            Some((label, value)) => (label, value),
            None => (label.as_str(), client_label(node, label)),
        })
        .collect();
    let mut priorities: Vec<u32> = places
        .iter()
        .map(|place| mismatch(place, &wanted, node))
        .collect();
    close_gaps(&mut priorities);
    priorities
}

/// 0 when all labels match, else the more the earlier the first mismatch is. An endpoint of another network comes
/// after all of the client's own, in the order of the other labels.
fn mismatch(place: &Place, wanted: &[(&str, &str)], node: &Node) -> u32 {
    let matches = |(label, value): &(&str, &str)| endpoint_label(place, label, node) == *value;
    let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX / 2);
    let after = |skipped: usize| {
        let rest = (0..count).zip(wanted).skip(skipped);
        rest.into_iter()
            .find(|(_, label)| !matches(label))
            .map_or(0, |(i, _)| count - i)
    };
    match wanted.first() {
        Some(first) if first.0 == NETWORK && !matches(first) => count + after(1),
        _ => after(0),
    }
}

/// The client's labels are those that follow from where the node is.
fn client_label<'a>(node: &'a Node, label: &str) -> &'a str {
    topology(label, &node.locality, &node.network).unwrap_or("")
}

/// Whether an endpoint carries all of `labels`, as those of a subset.
pub(super) fn carries(place: &Place, labels: &BTreeMap<String, String>, node: &Node) -> bool {
    let mut labels = labels.iter();
    labels.all(|(label, value)| written_label(place, label, node) == Some(value))
}

/// Where labels order endpoints, a missing one is as good as an empty one.
fn endpoint_label<'a>(place: &Place<'a>, label: &str, node: &'a Node) -> &'a str {
    written_label(place, label, node).unwrap_or("")
}

/// Istio adds the topology to an endpoint's own labels, over what they say of it (`AugmentLabels`). The cluster and the
/// node that an endpoint is on are not known but from its own labels.
fn written_label<'a>(place: &Place<'a>, label: &str, node: &'a Node) -> Option<&'a str> {
    let network = if place.network.is_empty() {
        &node.network
    } else {
        place.network
    };
    let known = topology(label, place.locality, network).filter(|value| !value.is_empty());
    known.or_else(|| place.labels.get(label).map(String::as_str))
}

fn topology<'a>(label: &str, locality: &'a Locality, network: &'a str) -> Option<&'a str> {
    match label {
        REGION => Some(&locality.region),
        ZONE => Some(&locality.zone),
        SUBZONE => Some(&locality.subzone),
        NETWORK => Some(network),
        _ => None,
    }
}

/// What `networking.istio.io/traffic-distribution` asks for: the labels of a `failoverPriority`, and whether all of
/// it can be carried out. `None` for a value that is not known.
pub(super) fn traffic_distribution(value: &str) -> Option<(Vec<String>, bool)> {
    let labels = |labels: &[&str]| labels.iter().map(|l| (*l).to_owned()).collect();
    match value.to_ascii_lowercase().as_str() {
        "prefersamezone" | "preferclose" => Some((labels(&[NETWORK, REGION, ZONE]), true)),
        // The name of the node is not among what clients are told apart by.
        "prefersamenode" => Some((labels(&[NETWORK, REGION, ZONE, SUBZONE]), false)),
        _ => None,
    }
}

/// Renumbers from 0 without gaps, in the same order.
fn close_gaps(priorities: &mut [u32]) {
    let distinct: BTreeSet<u32> = priorities.iter().copied().collect();
    let ranks: BTreeMap<u32, u32> = distinct.into_iter().zip(0..).collect();
    for priority in priorities {
        *priority = ranks[priority];
    }
}

#[cfg(test)]
mod tests;
