//! Which endpoints a service has, and on which ports.

use super::*;
use crate::api::WorkloadEntry;
use crate::model::Answer;

fn with_ports(mut endpoint: WorkloadEntry, ports: &[(&str, u16)]) -> WorkloadEntry {
    let ports = ports
        .iter()
        .map(|(name, number)| ((*name).to_owned(), *number));
    endpoint.ports = ports.collect();
    endpoint
}

fn selecting(object: Object, pairs: &[(&str, &str)]) -> Object {
    object.saying(|e| e.workload_selector = Some(labels(pairs)))
}

#[test]
fn the_endpoints_port_beats_the_target_port_beats_the_number() {
    let object = entry("a")
        .saying(|e| {
            let mut targeted = port("targeted", 81, Protocol::Tcp);
            targeted.target_port = Some(8081);
            e.ports = vec![port("plain", 80, Protocol::Tcp), targeted];
        })
        .with_endpoints(vec![
            endpoint("10.0.0.1"),
            with_ports(endpoint("10.0.0.2"), &[("plain", 9000), ("targeted", 9001)]),
        ]);
    let compiled = compiled(&[object], &[]);
    assert_eq!(
        endpoints(&compiled, "a", 80),
        ["10.0.0.1:80 1", "10.0.0.2:9000 1"]
    );
    assert_eq!(
        endpoints(&compiled, "a", 81),
        ["10.0.0.1:8081 1", "10.0.0.2:9001 1"]
    );
}

#[test]
fn weights_become_shares() {
    let object = entry("a").with_endpoints(vec![
        endpoint("10.0.0.1").weighing(70),
        endpoint("2001:db8::1").weighing(30),
    ]);
    let compiled = compiled(&[object], &[]);
    assert_eq!(
        endpoints(&compiled, "a", 80),
        ["10.0.0.1:80 7", "[2001:db8::1]:80 3"]
    );
}

#[test]
fn every_host_and_port_of_an_entry_is_a_service_udp_beside_tcp() {
    let object = entry("a").saying(|e| {
        e.hosts = vec!["a".into(), "b".into()];
        e.ports = vec![
            port("tcp", 53, Protocol::Tcp),
            port("udp", 54, Protocol::Udp),
        ];
    });
    let compiled = compiled(&[object], &[]);
    let found: Vec<String> = compiled
        .program
        .services
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "default/a:53",
            "default/a:54/udp",
            "default/b:53",
            "default/b:54/udp"
        ]
    );
}

#[test]
fn resolution_none_keeps_the_address_and_takes_the_target_port() {
    let object = entry("a").resolving(Resolution::None).saying(|e| {
        e.ports[0].target_port = Some(8080);
        e.ports.push(port("other", 81, Protocol::Tcp));
    });
    let compiled = compiled(&[object], &[]);
    let action = |port| service(&compiled, "a", port).action.clone();
    assert_eq!(action(80), Action::Original { port: Some(8080) });
    assert_eq!(action(81), Action::Original { port: None });
}

#[test]
fn a_selector_takes_the_workloads_of_its_namespace_that_carry_all_its_labels() {
    let app = |object: Object, pairs: &[(&str, &str)]| object.being(|w| w.labels = labels(pairs));
    let objects = [
        selecting(entry("a"), &[("app", "x"), ("tier", "1")]),
        app(
            workload("w1", "10.0.0.1"),
            &[("app", "x"), ("tier", "1"), ("more", "y")],
        ),
        app(workload("w2", "10.0.0.2"), &[("app", "x")]),
        app(workload("w3", "10.0.0.3"), &[("app", "x"), ("tier", "1")]).in_namespace("other"),
        app(workload("w4", "10.0.0.4"), &[("app", "x"), ("tier", "1")]).being(|w| w.weight = 3),
    ];
    let compiled = compiled(&objects, &[]);
    assert_eq!(
        endpoints(&compiled, "a", 80),
        ["10.0.0.1:80 1", "10.0.0.4:80 3"]
    );
    assert_eq!(service(&compiled, "a", 80).endpoints[0].object.name, "w1");
}

#[test]
fn an_empty_selector_takes_every_workload_of_the_namespace() {
    let objects = [
        selecting(entry("a"), &[]),
        workload("w1", "10.0.0.1"),
        workload("w2", "10.0.0.2").in_namespace("other"),
    ];
    assert_eq!(
        endpoints(&compiled(&objects, &[]), "a", 80),
        ["10.0.0.1:80 1"]
    );
}

#[test]
fn a_workload_with_a_host_name_is_an_endpoint_where_names_are_resolved_only() {
    let objects = [
        selecting(entry("static"), &[]),
        selecting(entry("dns"), &[]).resolving(Resolution::Dns),
        workload("named", "w.example"),
    ];
    let compiled = compiled(&objects, &[("w.example", &["10.0.0.1"])]);
    assert_eq!(endpoints(&compiled, "static", 80), [""; 0]);
    assert_eq!(endpoints(&compiled, "dns", 80), ["10.0.0.1:80 1"]);
    assert_eq!(
        findings(&compiled),
        [format!("{} named", codes::WORKLOAD_UNUSABLE)]
    );
}

#[test]
fn a_dns_entry_without_endpoints_is_its_own_endpoint() {
    let object = entry("Db.Example.").resolving(Resolution::Dns).saying(|e| {
        e.ports[0].target_port = Some(5432);
    });
    let compiled = compiled(&[object], &[("db.example", &["10.0.0.2", "10.0.0.1"])]);
    assert_eq!(
        endpoints(&compiled, "Db.Example.", 80),
        ["10.0.0.2:5432 1", "10.0.0.1:5432 1"]
    );
    let first = &service(&compiled, "Db.Example.", 80).endpoints[0];
    assert_eq!(first.hostname.as_deref(), Some("db.example"));
    assert_eq!(*compiled.demand, BTreeSet::from(["db.example".into()]));
}

#[test]
fn a_selector_that_selects_nothing_leaves_a_dns_entry_without_endpoints() {
    let object = selecting(entry("a.example"), &[("app", "x")]).resolving(Resolution::Dns);
    let compiled = compiled(&[object], &[("a.example", &["10.0.0.1"])]);
    assert_eq!(endpoints(&compiled, "a.example", 80), [""; 0]);
    assert_eq!(service(&compiled, "a.example", 80).action, Action::Balance);
}

#[test]
fn each_address_of_a_name_has_the_weight_and_locality_of_its_endpoint() {
    let object = entry("a").resolving(Resolution::Dns).with_endpoints(vec![
        endpoint("x.example").weighing(2).within("r1/z1"),
        endpoint("10.9.9.9").weighing(1),
    ]);
    let compiled = compiled(&[object], &[("x.example", &["10.0.0.1", "2001:db8::1"])]);
    assert_eq!(
        endpoints(&compiled, "a", 80),
        ["10.0.0.1:80 2", "[2001:db8::1]:80 2", "10.9.9.9:80 1"]
    );
    assert_eq!(service(&compiled, "a", 80).endpoints[1].locality.zone, "z1");
}

#[test]
fn round_robin_dns_takes_the_first_address_of_the_answer_ipv4_first() {
    let object = entry("a.example").resolving(Resolution::DnsRoundRobin);
    let compiled = compiled(
        &[object],
        &[("a.example", &["2001:db8::1", "10.0.0.7", "10.0.0.1"])],
    );
    assert_eq!(endpoints(&compiled, "a.example", 80), ["10.0.0.7:80 1"]);
}

#[test]
fn an_address_that_several_names_share_is_one_endpoint_with_the_sum_of_shares() {
    let object = entry("a").resolving(Resolution::Dns).with_endpoints(vec![
        endpoint("x.example").weighing(1),
        endpoint("y.example").weighing(2),
    ]);
    let answers: [(&str, &[&str]); 2] = [
        ("x.example", &["10.0.0.1", "10.0.0.2"]),
        ("y.example", &["10.0.0.1"]),
    ];
    let compiled = compiled(&[object], &answers);
    assert_eq!(
        endpoints(&compiled, "a", 80),
        ["10.0.0.1:80 3", "10.0.0.2:80 1"]
    );
}

#[test]
fn a_name_that_does_not_resolve_is_reported_and_the_last_good_answer_stays() {
    let objects = [entry("a.example").resolving(Resolution::Dns)];
    let mut snapshot = snapshot(&objects);
    let mut answer = Answer {
        addresses: Vec::new(),
        failure: Some("NXDOMAIN".to_owned()),
    };
    snapshot.answers.insert("a.example".into(), answer.clone());
    let failed = compile(&snapshot);
    assert_eq!(
        findings(&failed),
        [format!("{} a.example", codes::NAME_UNRESOLVED)]
    );
    answer.addresses = vec![ip("10.0.0.1")];
    snapshot.answers.insert("a.example".into(), answer);
    let stale = compile(&snapshot);
    assert_eq!(findings(&stale), [""; 0]);
    assert_eq!(endpoints(&stale, "a.example", 80), ["10.0.0.1:80 1"]);
    let reasons = &service(&stale, "a.example", 80).reasons;
    assert!(
        reasons.iter().any(|r| r.contains("NXDOMAIN")),
        "{reasons:?}"
    );
}

#[test]
fn unix_sockets_are_left_out_and_refused_when_nothing_else_is_there() {
    let objects = [
        entry("only").with_endpoints(vec![endpoint("unix:/run/a.sock")]),
        entry("mixed").with_endpoints(vec![endpoint("unix:/run/a.sock"), endpoint("10.0.0.1")]),
    ];
    let compiled = compiled(&objects, &[]);
    let refused = Action::Refuse(RefuseReason::UnixSocket);
    assert_eq!(service(&compiled, "only", 80).action, refused);
    assert_eq!(endpoints(&compiled, "mixed", 80), ["10.0.0.1:80 1"]);
    let code = codes::UNIX_SOCKET;
    assert_eq!(
        findings(&compiled),
        [format!("{code} mixed"), format!("{code} only")]
    );
    assert_eq!(compiled.diagnostics[0].field, "spec.endpoints[0].address");
    assert_eq!(compiled.diagnostics[0].line, 9);
}

#[test]
fn an_endpoint_of_another_network_is_dialled_unless_its_network_has_gateways() {
    let away = |network: &str| {
        let mut away = endpoint("10.0.0.1");
        network.clone_into(&mut away.network);
        away
    };
    let objects = [
        entry("open").with_endpoints(vec![away("open")]),
        entry("gated").with_endpoints(vec![away("gated")]),
        entry("mixed").with_endpoints(vec![away("gated"), away("home"), endpoint("")]),
    ];
    let mut snapshot = snapshot(&objects);
    snapshot.mesh.gateway_networks = BTreeSet::from(["gated".to_owned(), "home".to_owned()]);
    snapshot.node.network = "home".to_owned();
    let compiled = compile(&snapshot);
    assert_eq!(endpoints(&compiled, "open", 80), ["10.0.0.1:80 1"]);
    let refused = Action::Refuse(RefuseReason::NetworkGateway);
    assert_eq!(service(&compiled, "gated", 80).action, refused);
    assert_eq!(endpoints(&compiled, "mixed", 80), ["10.0.0.1:80 1"]);
    assert_eq!(compiled.diagnostics.len(), 3);
    // A node that does not know its network reaches all of them.
    snapshot.node = Node::default();
    let compiled = compile(&snapshot);
    assert_eq!(endpoints(&compiled, "gated", 80), ["10.0.0.1:80 1"]);
}

#[test]
fn a_wildcard_of_dynamic_dns_has_no_endpoints_itself() {
    let object = entry("*.example").resolving(Resolution::DynamicDns);
    let compiled = compiled(&[object], &[]);
    assert_eq!(endpoints(&compiled, "*.example", 80), [""; 0]);
    assert_eq!(findings(&compiled), [""; 0]);
    assert!(compiled.program.frontends.is_empty());
}

#[test]
fn names_of_hosts_and_endpoints_in_use_are_kept_resolved_and_no_others() {
    let objects = [
        entry("static.example"),
        entry("none.example").resolving(Resolution::None),
        entry("*.wildcard.example"),
        entry("a")
            .resolving(Resolution::Dns)
            .with_endpoints(vec![endpoint("X.Example.")]),
        entry("hidden.example").saying(|e| e.export_to = vec!["~".into()]),
        workload("unselected", "w.example"),
    ];
    let demand = compiled(&objects, &[]).demand;
    let names: Vec<&str> = demand.iter().map(|name| &**name).collect();
    assert_eq!(names, ["a", "none.example", "static.example", "x.example"]);
}
