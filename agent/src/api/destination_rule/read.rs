//! Reads and validates a `DestinationRule` and its policies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::{is_dns_label, validate_fqdn, validate_wildcard_domain};
use super::super::object::Meta;
use super::super::rules::{self, Exports};
use super::super::tree::Cursor;
use super::{
    DestinationRule, Subset, TrafficPolicy, connection_pool, load_balancer, outlier_detection, tls,
};

/// Reads a spec that conforms to the schema.
pub(in crate::api) fn read(
    spec: &Cursor<'_>,
    meta: &Meta,
    findings: &mut Findings,
) -> DestinationRule {
    let host = spec.text("host");
    if host.is_empty() {
        findings.error(
            codes::REQUIRED,
            spec.spot_of("host"),
            "the rule has no host",
            "write the host that it is for",
        );
    } else if let Err(error) = validate_wildcard_domain(host) {
        let message = format!("`{host}` is not a host name: {error}");
        findings.error(
            codes::RULE_HOST,
            spec.spot_of("host"),
            message,
            "write a host of a ServiceEntry, without port",
        );
    }
    let (traffic_policy, port_policies) = read_policies(spec, findings);
    let subsets = read_subsets(spec, findings);
    let exports = if spec.has("workloadSelector") {
        Exports::RuleWithSelector
    } else {
        Exports::Rule
    };
    DestinationRule {
        host: host.to_owned(),
        traffic_policy,
        port_policies,
        subsets,
        export_to: rules::export_to(spec, "exportTo", &meta.id.namespace, exports, findings),
        workload_selector: rules::selector(spec, "workloadSelector", "matchLabels", findings),
    }
}

/// The `trafficPolicy` of a rule or of a subset, and those of its ports.
fn read_policies(
    parent: &Cursor<'_>,
    findings: &mut Findings,
) -> (Option<TrafficPolicy>, BTreeMap<u16, TrafficPolicy>) {
    let Some(policy) = parent.field("trafficPolicy") else {
        return (None, BTreeMap::new());
    };
    let whole = read_policy(&policy, findings);
    (Some(whole), read_port_policies(&policy, findings))
}

/// The blocks that a policy has at either level.
const BLOCKS: [&str; 4] = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];

fn read_policy(policy: &Cursor<'_>, findings: &mut Findings) -> TrafficPolicy {
    let others = [
        "portLevelSettings",
        "tunnel",
        "proxyProtocol",
        "retryBudget",
    ];
    if !BLOCKS.iter().chain(&others).any(|name| policy.has(name)) {
        findings.error(
            codes::POLICY_EMPTY,
            policy.spot(),
            "the policy says nothing",
            "remove it, or write what it is to say",
        );
    }
    rules::at_most_one(policy, &["tunnel", "proxyProtocol"], findings);
    if let Some(tunnel) = policy.field("tunnel") {
        check_tunnel(&tunnel, findings);
    }
    if let Some(budget) = policy.field("retryBudget") {
        rules::percent(&budget, "percent", findings);
    }
    read_blocks(policy, findings)
}

fn read_port_policies(
    policy: &Cursor<'_>,
    findings: &mut Findings,
) -> BTreeMap<u16, TrafficPolicy> {
    let mut policies = BTreeMap::new();
    for item in policy.items("portLevelSettings") {
        if !BLOCKS.iter().any(|name| item.has(name)) {
            findings.error(
                codes::POLICY_EMPTY,
                item.spot(),
                "the port's policy says nothing",
                "remove it, or write what it is to say",
            );
        }
        let read = read_blocks(&item, findings);
        let Some(port) = item.field("port") else {
            findings.error(
                codes::REQUIRED,
                item.spot_of("port"),
                "the policy has no port",
                "write port.number",
            );
            continue;
        };
        let number = port.int("number").unwrap_or(0);
        match u16::try_from(number) {
            // As in Istio, the first policy for a port counts.
            Ok(number) if number != 0 => {
                policies.entry(number).or_insert(read);
            }
            _ => {
                let message = format!("{number} is no port, so its policy has no effect");
                findings.warning(
                    codes::RANGE,
                    port.spot_of("number"),
                    message,
                    "write a number between 1 and 65535",
                );
            }
        }
    }
    policies
}

fn read_blocks(policy: &Cursor<'_>, findings: &mut Findings) -> TrafficPolicy {
    let outlier = policy.field("outlierDetection");
    let pool = policy.field("connectionPool");
    let balancer = policy.field("loadBalancer");
    TrafficPolicy {
        connection_pool: pool.map(|pool| connection_pool::read(&pool, findings)),
        load_balancer: balancer
            .map(|balancer| load_balancer::read(&balancer, outlier.is_some(), findings)),
        outlier_detection: outlier.map(|outlier| outlier_detection::read(&outlier, findings)),
        tls: policy
            .field("tls")
            .map(|settings| tls::read(&settings, findings)),
    }
}

fn check_tunnel(tunnel: &Cursor<'_>, findings: &mut Findings) {
    if !matches!(tunnel.text("protocol"), "" | "CONNECT" | "POST") {
        let message = format!("`{}` is not a protocol of tunnels", tunnel.text("protocol"));
        findings.error(
            codes::RANGE,
            tunnel.spot_of("protocol"),
            message,
            "write CONNECT or POST",
        );
    }
    let host = tunnel.text("targetHost");
    if host.parse::<IpAddr>().is_err() && validate_fqdn(host).is_err() {
        let message = format!("`{host}` is neither an IP address nor a domain name");
        findings.error(
            codes::RULE_HOST,
            tunnel.spot_of("targetHost"),
            message,
            "write the host that the tunnel leads to",
        );
    }
    rules::port(
        tunnel.int("targetPort").unwrap_or(0),
        tunnel.spot_of("targetPort"),
        findings,
    );
}

fn read_subsets(spec: &Cursor<'_>, findings: &mut Findings) -> Vec<Subset> {
    let mut names = BTreeSet::new();
    let mut subsets = Vec::with_capacity(spec.items("subsets").len());
    for subset in spec.items("subsets") {
        let name = subset.text("name");
        let spot = subset.spot_of("name");
        if name.is_empty() {
            findings.error(
                codes::SUBSET,
                spot,
                "the subset has no name",
                "write a name, by which routes refer to it",
            );
        } else if !is_dns_label(name) {
            let message = format!("`{name}` is not the name of a subset");
            findings.error(
                codes::SUBSET,
                spot,
                message,
                "use letters, digits and hyphens, at most 63",
            );
        } else if !names.insert(name) {
            let message = format!("another subset is named `{name}` as well");
            findings.error(
                codes::SUBSET,
                spot,
                message,
                "give each subset a name of its own",
            );
        }
        let labels = rules::labels(&subset, "labels", findings);
        let (traffic_policy, port_policies) = read_policies(&subset, findings);
        subsets.push(Subset {
            name: name.to_owned(),
            labels,
            traffic_policy,
            port_policies,
            line: subset.node.line,
        });
    }
    subsets
}
