//! Clusters: which endpoints a subset holds, and what PASSTHROUGH makes of a service.

use crate::api::{Algorithm, destination_rule::Subset};

use super::super::client::Client;
use super::super::cluster::{self, Supplies};
use super::super::policy::Policies;
use super::*;

/// `address:port` of the endpoints in a subset of port 80 of the host of the first object.
fn members(objects: &[Object], node: Node, subset: &str) -> Vec<String> {
    let mut snapshot = snapshot(objects);
    snapshot.node = node;
    let mut diagnostics = Vec::new();
    let catalog = Catalog::new(&snapshot);
    let policies = Policies::new(&catalog.rules, &snapshot.mesh, Client::unclaimed());
    let hosts = hosts::unite(&catalog.entries, &mut diagnostics);
    let collect = |entry| endpoints::collect(entry, &catalog.workloads, &snapshot, &mut Vec::new());
    let sources: Vec<Sources> = catalog.entries.iter().map(collect).collect();
    let supplies = Supplies {
        sources: &sources,
        policies: &policies,
        snapshot: &snapshot,
    };
    let host = &hosts[0];
    let applied = policies
        .find(&host.namespace, &host.name, 80, Some(subset))
        .unwrap();
    let built = cluster::build(host, &host.ports[0], applied, supplies);
    assert_eq!(built.cluster.subset.as_deref(), Some(subset));
    let members = built.endpoints.iter();
    members
        .map(|e| std::net::SocketAddr::new(e.address, e.port).to_string())
        .collect()
}

fn subset(name: &str, pairs: &[(&str, &str)]) -> Subset {
    Subset {
        name: name.to_owned(),
        labels: labels(pairs),
        traffic_policy: None,
        port_policies: BTreeMap::new(),
        line: 1,
    }
}

#[test]
fn a_subset_holds_the_endpoints_that_carry_all_its_labels() {
    let labelled = |address: &str, pairs: &[(&str, &str)]| endpoint(address).labelled(pairs);
    let objects = [
        entry("a.example").with_endpoints(vec![
            labelled("10.0.0.1", &[("version", "v1"), ("track", "stable")]),
            labelled("10.0.0.2", &[("version", "v1"), ("track", "")]),
            labelled("10.0.0.3", &[("version", "v2")]),
            endpoint("10.0.0.4"),
        ]),
        rule("r", "a.example").ruling(|rule| {
            rule.subsets = vec![
                subset("all", &[]),
                subset("v1", &[("version", "v1")]),
                subset("stable", &[("version", "v1"), ("track", "stable")]),
                // A label that is missing is not an empty one.
                subset("trackless", &[("track", "")]),
                subset("v3", &[("version", "v3")]),
            ];
        }),
    ];
    let of = |subset| members(&objects, Node::default(), subset);
    assert_eq!(of("all").len(), 4);
    assert_eq!(of("v1"), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(of("stable"), ["10.0.0.1:80"]);
    assert_eq!(of("trackless"), ["10.0.0.2:80"]);
    assert_eq!(of("v3"), [""; 0]);
}

#[test]
fn where_an_endpoint_is_counts_as_labels_of_it() {
    let mut away = endpoint("10.0.0.2").within("r2/z1/s1");
    away.network = "n2".to_owned();
    let hosted = endpoint("10.0.0.3").labelled(&[
        ("kubernetes.io/hostname", "node-1"),
        ("topology.kubernetes.io/region", "r9"),
        ("topology.istio.io/cluster", "c1"),
    ]);
    let objects = [
        entry("a.example").with_endpoints(vec![endpoint("10.0.0.1").within("r1/z1"), away, hosted]),
        rule("r", "a.example").ruling(|rule| {
            rule.subsets = vec![
                subset("region", &[("topology.kubernetes.io/region", "r1")]),
                subset("zone", &[("topology.kubernetes.io/zone", "z1")]),
                subset("subzone", &[("topology.istio.io/subzone", "s1")]),
                subset("near", &[("topology.istio.io/network", "n1")]),
                subset("far", &[("topology.istio.io/network", "n2")]),
                subset("written", &[("topology.kubernetes.io/region", "r9")]),
                subset("node", &[("kubernetes.io/hostname", "node-1")]),
                subset("cluster", &[("topology.istio.io/cluster", "c1")]),
            ];
        }),
    ];
    let node = Node {
        network: "n1".to_owned(),
        ..Node::default()
    };
    let of = |subset| members(&objects, node.clone(), subset);
    assert_eq!(of("region"), ["10.0.0.1:80"]);
    assert_eq!(of("zone"), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(of("subzone"), ["10.0.0.2:80"]);
    assert_eq!(of("near"), ["10.0.0.1:80", "10.0.0.3:80"]);
    assert_eq!(of("far"), ["10.0.0.2:80"]);
    assert_eq!(of("written"), ["10.0.0.3:80"]);
    assert_eq!(of("node"), ["10.0.0.3:80"]);
    assert_eq!(of("cluster"), ["10.0.0.3:80"]);
}

fn passing(host: &str) -> Object {
    rule("r", host).ruling(|rule| {
        rule.traffic_policy = Some(TrafficPolicy {
            load_balancer: Some(LoadBalancer {
                algorithm: Algorithm::Passthrough,
                ..LoadBalancer::default()
            }),
            ..TrafficPolicy::default()
        });
    })
}

#[test]
fn passthrough_keeps_the_address_and_the_port_whatever_the_endpoints_are() {
    let object = entry("a.example")
        .at_addresses(&["192.0.2.1"])
        .with_endpoints(vec![endpoint("10.0.0.1")])
        .saying(|e| e.ports[0].target_port = Some(8080));
    let compiled = compiled(&[object, passing("a.example")], &[]);
    let service = service(&compiled, "a.example", 80);
    assert_eq!(service.action, Action::Original { port: None });
    assert_eq!(service.endpoints, []);
    expect_test::expect![[r"
        trafficPolicy of DestinationRule default/r (r.yaml:1) applies
        PASSTHROUGH: connects keep their address and port, whatever the endpoints are"]]
    .assert_eq(&service.explanation().join("\n"));
}

#[test]
fn passthrough_is_refused_where_clients_are_told_automatic_addresses() {
    let object = entry("a.example").with_endpoints(vec![endpoint("10.0.0.1")]);
    let compiled = compiled(&[object, passing("*.example")], &[]);
    assert_eq!(
        service(&compiled, "a.example", 80).action,
        Action::Refuse(RefuseReason::Passthrough)
    );
    assert_eq!(
        findings(&compiled),
        [format!("{} r", codes::PASSTHROUGH_NOWHERE)]
    );
    let message = &compiled.diagnostics[0].message;
    assert!(message.contains("default/a.example:80"), "{message}");
}
