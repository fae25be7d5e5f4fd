//! Which destination leads to which service.

use super::*;

fn at(object: Object, addresses: &[&str]) -> Object {
    object.at_addresses(addresses)
}

fn none(name: &str, addresses: &[&str]) -> Object {
    at(entry(name).resolving(Resolution::None), addresses)
}

fn hosted(name: &str, host: &str) -> Object {
    entry(name).saying(|e| e.hosts = vec![host.to_owned()])
}

#[test]
fn addresses_and_prefixes_of_both_families_lead_to_the_service() {
    let addresses = [
        "10.0.0.1",
        "10.1.2.3/16",
        "2001:db8::1",
        "2001:db8:1::/48",
        "10.0.0.9/32",
    ];
    let compiled = compiled(&[none("a", &addresses)], &[]);
    let expected = [
        "10.0.0.1:80 -> default/a:80",
        "10.0.0.9:80 -> default/a:80",
        "[2001:db8::1]:80 -> default/a:80",
        "10.1.0.0/16:80 -> default/a:80",
        "[2001:db8:1::/48]:80 -> default/a:80",
    ];
    assert_eq!(frontends(&compiled), expected);
    let none_in_range = compiled.program.frontends.len();
    assert_eq!(
        none_in_range,
        expected.len(),
        "NONE has no automatic address"
    );
}

#[test]
fn addresses_that_stand_for_no_single_host_are_left_alone_and_said_so() {
    let addresses = [
        "fe80::1",
        "ff02::1",
        "224.0.0.251",
        "255.255.255.255",
        "::ffff:224.0.0.1",
        "fe80::/10",
    ];
    let compiled = compiled(&[none("a", &addresses)], &[]);
    assert_eq!(frontends(&compiled), ["[fe80::/10]:80 -> default/a:80"]);
    let found: Vec<_> = compiled
        .diagnostics
        .iter()
        .map(|d| d.code.as_str())
        .collect();
    assert_eq!(found, ["SH3015"; 5]);
}

#[test]
fn a_v4_mapped_address_is_the_ipv4_address() {
    let compiled = compiled(
        &[none("a", &["::ffff:10.0.0.1", "::ffff:10.1.0.0/112"])],
        &[],
    );
    assert_eq!(
        frontends(&compiled),
        [
            "10.0.0.1:80 -> default/a:80",
            "10.1.0.0/16:80 -> default/a:80"
        ]
    );
}

#[test]
fn an_entry_without_addresses_is_found_at_its_vips() {
    let objects = [entry("a.example")];
    let snapshot = snapshot(&objects);
    let vips = snapshot.vips.get("default", "a.example").unwrap();
    let program = compile(&snapshot).program;
    let found: Vec<Destination> = program.frontends.keys().map(|f| f.destination).collect();
    let expected = [IpAddr::V4(vips.v4), IpAddr::V6(vips.v6)].map(Destination::Address);
    assert_eq!(found, expected);
}

#[test]
fn addresses_of_the_status_stand_in_place_of_the_vips() {
    let object = entry("a").saying(|e| {
        let other = (ip("240.240.0.200"), "other".to_owned());
        e.status_addresses = vec![(ip("240.240.0.100"), "a".to_owned()), other];
    });
    let program = compiled(&[object], &[]).program;
    let found: Vec<String> = program.frontends.keys().map(ToString::to_string).collect();
    assert_eq!(found, ["240.240.0.100:80"]);
}

/// The namespace of the host `a` that clients are led to.
fn led_to(objects: &[Object]) -> BTreeSet<String> {
    let frontends = compiled(objects, &[]).program.frontends;
    frontends
        .values()
        .map(|key| key.namespace.to_string())
        .collect()
}

#[test]
fn of_a_host_in_several_namespaces_clients_see_their_own_then_one_for_them_then_the_oldest() {
    let of = |namespace: &str, created: &str, to: &[&str]| {
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        let object = entry("a").in_namespace(namespace).created(created);
        object.saying(|e| e.export_to = to)
    };
    let own = of("default", "4", &[]);
    let named = of("named", "3", &["default"]);
    let oldest = of("oldest", "1", &["*"]);
    let younger = of("younger", "2", &[]);
    let mut all = vec![younger, oldest, named, own];
    assert_eq!(led_to(&all), BTreeSet::from(["default".to_owned()]));
    all.pop();
    assert_eq!(led_to(&all), BTreeSet::from(["named".to_owned()]));
    all.pop();
    assert_eq!(led_to(&all), BTreeSet::from(["oldest".to_owned()]));
}

#[test]
fn a_host_that_no_client_sees_leads_nowhere_and_says_so() {
    for to in [".", "elsewhere"] {
        let object = entry("a.example").in_namespace("shop");
        let compiled = compiled(&[object.saying(|e| e.export_to = vec![to.to_owned()])], &[]);
        assert!(compiled.program.frontends.is_empty(), "{to}");
        assert!(compiled.demand.is_empty(), "{to}");
        assert_eq!(
            findings(&compiled),
            [format!("{} a.example", codes::UNSEEN_HOST)]
        );
    }
}

#[test]
fn what_a_host_resolves_to_is_recognised_for_every_resolution() {
    let objects = [
        entry("static.example"),
        entry("none.example").resolving(Resolution::None),
        entry("dns.example").resolving(Resolution::Dns),
    ];
    let answers: [(&str, &[&str]); 3] = [
        ("static.example", &["10.0.0.1"]),
        ("none.example", &["10.0.0.2", "2001:db8::2"]),
        ("dns.example", &["127.0.0.3"]),
    ];
    assert_eq!(
        frontends(&compiled(&objects, &answers)),
        [
            "10.0.0.1:80 -> default/static.example:80",
            "10.0.0.2:80 -> default/none.example:80",
            "127.0.0.3:80 -> default/dns.example:80",
            "[2001:db8::2]:80 -> default/none.example:80",
        ]
    );
}

#[test]
fn answers_that_nobody_can_mean_are_not_recognised() {
    let answers: &[&str] = &[
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "ff02::1",
        "240.240.9.9",
        "2001:2::9",
    ];
    let compiled = compiled(&[entry("a.example")], &[("a.example", answers)]);
    assert_eq!(frontends(&compiled), [""; 0]);
}

#[test]
fn a_declared_address_beats_a_resolved_one_however_old() {
    let objects = [
        entry("old.example").created("2020"),
        none("new", &["10.0.0.1"]).created("2021"),
    ];
    let compiled = compiled(&objects, &[("old.example", &["10.0.0.1"])]);
    assert_eq!(frontends(&compiled), ["10.0.0.1:80 -> default/new:80"]);
    assert_eq!(
        findings(&compiled),
        [format!("{} old.example", codes::ANSWER_TAKEN)]
    );
}

#[test]
fn the_oldest_of_two_claims_wins_and_the_other_is_told_both_names() {
    let objects = [
        none("a", &["10.0.0.1"]).created("2021"),
        none("b", &["10.0.0.1", "10.0.0.2"]).created("2020"),
    ];
    let compiled = compiled(&objects, &[]);
    assert_eq!(
        frontends(&compiled),
        ["10.0.0.1:80 -> default/b:80", "10.0.0.2:80 -> default/b:80"]
    );
    let found = &compiled.diagnostics[0];
    assert_eq!(
        (found.code.as_str(), found.name.as_str()),
        (codes::ADDRESS_TAKEN, "a")
    );
    for name in ["default/a:80", "default/b:80", "ServiceEntry default/b"] {
        assert!(found.message.contains(name), "{}", found.message);
    }
}

#[test]
fn the_same_address_on_other_ports_is_no_conflict() {
    let objects = [
        none("a", &["10.0.0.1"]),
        none("b", &["10.0.0.1"]).saying(|e| e.ports = vec![port("x", 81, Protocol::Tcp)]),
        none("c", &["10.0.0.1"]).saying(|e| e.ports = vec![port("x", 80, Protocol::Udp)]),
    ];
    let compiled = compiled(&objects, &[]);
    assert_eq!(compiled.program.frontends.len(), 3);
    assert_eq!(findings(&compiled), [""; 0]);
}

#[test]
fn hosts_of_one_entry_share_its_addresses_without_a_word_while_they_do_the_same() {
    let two = |e: &mut crate::api::ServiceEntry| e.hosts = vec!["a".into(), "b".into()];
    let same = at(
        entry("x")
            .with_endpoints(vec![endpoint("10.9.9.9")])
            .saying(two),
        &["10.0.0.1"],
    );
    assert_eq!(findings(&compiled(&[same], &[])), [""; 0]);
    let differs = at(
        entry("x").resolving(Resolution::Dns).saying(two),
        &["10.0.0.1"],
    );
    let compiled = compiled(&[differs], &[("b", &["10.8.8.8"])]);
    assert_eq!(findings(&compiled), [format!("{} x", codes::ADDRESS_TAKEN)]);
}

#[test]
fn entries_that_hide_from_everybody_are_not_there() {
    let hidden = entry("a").saying(|e| e.export_to = vec!["~".into()]);
    let private = entry("b").saying(|e| e.export_to = vec![".".into()]);
    let mut snapshot = snapshot(&[hidden, private, entry("c")]);
    let names = |snapshot: &Snapshot| -> Vec<String> {
        let services = compile(snapshot).program.services;
        services.keys().map(|key| key.host.to_string()).collect()
    };
    assert_eq!(names(&snapshot), ["b", "c"]);
    snapshot.mesh.default_service_export_to = vec!["~".into()];
    assert_eq!(names(&snapshot), ["b"]);
}

#[test]
fn ports_of_one_host_in_two_entries_are_united_at_the_addresses_of_both() {
    let objects = [
        at(hosted("a", "x.example"), &["10.0.0.1"]).created("1"),
        at(hosted("b", "x.example"), &["10.0.0.2"])
            .created("2")
            .saying(|e| e.ports = vec![port("other", 81, Protocol::Tcp)]),
    ];
    let compiled = compiled(&objects, &[]);
    assert_eq!(
        frontends(&compiled),
        [
            "10.0.0.1:80 -> default/x.example:80",
            "10.0.0.1:81 -> default/x.example:81",
            "10.0.0.2:80 -> default/x.example:80",
            "10.0.0.2:81 -> default/x.example:81",
        ]
    );
    assert_eq!(service(&compiled, "x.example", 81).object.name, "b");
    assert_eq!(findings(&compiled), [""; 0]);
}

#[test]
fn of_two_entries_with_the_same_port_of_a_host_the_oldest_decides() {
    let objects = [
        hosted("a", "x")
            .created("2")
            .with_endpoints(vec![endpoint("10.0.0.1")]),
        hosted("b", "x")
            .created("1")
            .with_endpoints(vec![endpoint("10.0.0.2")]),
    ];
    let compiled = compiled(&objects, &[]);
    assert_eq!(endpoints(&compiled, "x", 80), ["10.0.0.2:80 1"]);
    assert_eq!(findings(&compiled), [format!("{} a", codes::PORT_TAKEN)]);
    assert_eq!(compiled.diagnostics[0].field, "spec.ports[0].number");
}

#[test]
fn entries_that_differ_in_resolution_selector_or_visibility_cannot_share_a_host() {
    let other_port = |e: &mut crate::api::ServiceEntry| e.ports[0].number = 81;
    let newer = || hosted("b", "x").created("2").saying(other_port);
    for newer in [
        newer().resolving(Resolution::Dns),
        newer().saying(|e| e.workload_selector = Some(labels(&[]))),
        newer().saying(|e| e.export_to = vec![".".into()]),
    ] {
        let compiled = compiled(&[hosted("a", "x").created("1"), newer], &[]);
        assert_eq!(compiled.program.services.len(), 1);
        assert_eq!(findings(&compiled), [format!("{} b", codes::HOST_TAKEN)]);
    }
}

#[test]
fn a_prefix_within_another_leads_to_the_ports_of_both() {
    let objects = [
        none("wide", &["10.0.0.0/8"]),
        none("narrow", &["10.1.0.0/16"]).saying(|e| e.ports[0].number = 443),
    ];
    assert_eq!(
        frontends(&compiled(&objects, &[])),
        [
            "10.0.0.0/8:80 -> default/wide:80",
            "10.1.0.0/16:80 -> default/wide:80",
            "10.1.0.0/16:443 -> default/narrow:443",
        ]
    );
}

#[test]
fn a_wildcard_host_without_addresses_is_reported_as_out_of_reach() {
    let compiled = compiled(
        &[entry("*.example"), none("*.addressed", &["10.0.0.1"])],
        &[],
    );
    assert_eq!(
        findings(&compiled),
        [format!("{} *.example", codes::UNREACHABLE_HOST)]
    );
}
