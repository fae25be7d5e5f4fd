//! Policies for a workload hold by whatever way clients come to it: by several hosts and routes at once, by its own address, or by
//! what leaves addresses as they are.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use agent::compile::{Compiled, compile, extend};
use agent::model::Snapshot;
use agent_common::abi::DEFAULT_SCOPE;
use tests::clients::{authorization, read_all, scope_of};

use super::{Reached, outcomes, workloads};

/// An entry of namespace `pay`, of this location, that says this.
fn entry(name: &str, location: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: pay}}\nspec: {{hosts: [{name}.test], location: {location}, {spec}}}\n"
    )
}

/// A service at 10.1.0.1:80 with the endpoint 10.2.0.1:8080, labelled `app: a`.
fn a() -> String {
    entry(
        "a",
        "MESH_INTERNAL",
        "addresses: [10.1.0.1], ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}], resolution: STATIC, endpoints: [{address: 10.2.0.1, labels: {app: a}}]",
    )
}

/// Denies to clients of namespace `shop` what is labelled `app: a`.
fn not_shop() -> String {
    authorization(
        "pay",
        "not-shop",
        "selector: {matchLabels: {app: a}}, action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]",
    )
}

fn read(texts: &[String]) -> Snapshot {
    let mut all = vec![workloads()];
    all.extend_from_slice(texts);
    read_all(&all)
}

/// What becomes of connects of `shop/s`, and of `ops/o`, to the address and port.
fn reached(compiled: &Compiled, to: &str) -> [BTreeSet<Reached>; 2] {
    let to: SocketAddr = to.parse().expect("a valid address");
    ["s", "o"].map(|name| outcomes(compiled, scope_of(compiled, name), to))
}

fn at(places: &[&str]) -> BTreeSet<Reached> {
    let places = places.iter().map(|place| match *place {
        "denied" => Reached::Denied,
        "passed" => Reached::Passed,
        place => Reached::At(place.parse().expect("a valid address")),
    });
    places.collect()
}

fn check(compiled: &Compiled, to: &str, shop: &[&str], ops: &[&str]) {
    assert_eq!(reached(compiled, to), [at(shop), at(ops)], "{to}");
}

fn compiled(texts: &[String]) -> Compiled {
    compile(&read(texts))
}

#[test]
fn a_route_over_hosts_of_both_locations_opens_nothing() {
    let outside = entry(
        "b",
        "MESH_EXTERNAL",
        "addresses: [10.1.0.2], ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}], resolution: STATIC, endpoints: [{address: 10.2.0.1}, {address: 10.2.0.2}]",
    );
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: pay}\nspec: {hosts: [a.test], tcp: [{route: [{destination: {host: a.test}, weight: 50}, {destination: {host: b.test}, weight: 50}]}]}\n";
    let compiled = compiled(&[a(), outside, route.to_owned(), not_shop()]);
    let both = ["10.2.0.1:8080", "10.2.0.2:8080"];
    check(&compiled, "10.1.0.1:80", &["denied", both[1]], &both);
    // Nor does the other host, at the address of which the same server is.
    check(&compiled, "10.1.0.2:80", &["denied", both[1]], &both);
}

#[test]
fn of_several_objects_that_say_who_is_at_an_address_each_counts() {
    let spec = |labels: &str| {
        format!(
            "addresses: [10.1.0.1], ports: [{{number: 80, name: tcp, protocol: TCP, targetPort: 8080}}], resolution: STATIC, endpoints: [{labels}]"
        )
    };
    let (plain, labelled) = (
        "{address: 10.2.0.1}",
        "{address: 10.2.0.1, labels: {app: a}}",
    );
    for endpoints in [
        format!("{plain}, {labelled}"),
        format!("{labelled}, {plain}"),
    ] {
        let compiled = compiled(&[entry("a", "MESH_INTERNAL", &spec(&endpoints)), not_shop()]);
        check(&compiled, "10.1.0.1:80", &["denied"], &["10.2.0.1:8080"]);
    }
}

#[test]
fn an_endpoint_is_denied_at_its_own_address_and_port_alone() {
    let compiled = compiled(&[a(), not_shop()]);
    check(&compiled, "10.2.0.1:8080", &["denied"], &["passed"]);
    check(&compiled, "10.2.0.1:8081", &["passed"], &["passed"]);
    check(&compiled, "10.2.0.2:8080", &["passed"], &["passed"]);
    let keys = compiled.program.services.keys().map(ToString::to_string);
    let keys: Vec<String> = keys.collect();
    let clients = "for clients of other namespaces, rule 1 of AuthorizationPolicy pay/not-shop";
    let own = "pay/a.test:8080 (at 10.2.0.1)";
    assert_eq!(
        keys,
        ["pay/a.test:80", &format!("pay/a.test:80 {clients}"), own]
    );
}

#[test]
fn a_loopback_address_that_is_dialled_is_the_clients_own() {
    let beside = a().replace("10.2.0.1", "127.0.0.1");
    let compiled = compiled(&[beside, not_shop()]);
    check(&compiled, "10.1.0.1:80", &["denied"], &["127.0.0.1:8080"]);
    check(&compiled, "127.0.0.1:8080", &["passed"], &["passed"]);
}

#[test]
fn what_leaves_addresses_as_they_are_leads_to_no_endpoint_that_is_denied() {
    let ports = "ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}, {number: 8080, name: more, protocol: TCP}]";
    for (name, addresses, resolution) in [
        ("cidr", "10.2.0.0/24", "NONE"),
        ("exact", "10.2.0.1, 10.2.0.2", "NONE"),
        (
            "pass",
            "10.2.0.0/24",
            "STATIC, endpoints: [{address: 10.3.0.1}]",
        ),
    ] {
        let passing = entry(
            name,
            "MESH_EXTERNAL",
            &format!("addresses: [{addresses}], {ports}, resolution: {resolution}"),
        );
        let rule = format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: pay}}\nspec: {{host: {name}.test, trafficPolicy: {{loadBalancer: {{simple: PASSTHROUGH}}}}}}\n"
        );
        let compiled = compiled(&[a(), passing, rule, not_shop()]);
        let keeps = |port: u16| format!("10.2.0.1:{port}");
        check(&compiled, "10.2.0.1:8080", &["denied"], &[&keeps(8080)]);
        check(
            &compiled,
            "10.2.0.2:8080",
            &["10.2.0.2:8080"],
            &["10.2.0.2:8080"],
        );
        // Only resolution NONE goes to the target port.
        if name == "pass" {
            check(&compiled, "10.2.0.1:80", &[&keeps(80)], &[&keeps(80)]);
        } else {
            check(&compiled, "10.2.0.1:80", &["denied"], &[&keeps(8080)]);
        }
    }
}

#[test]
fn what_clients_are_told_leads_to_no_endpoint_that_is_denied() {
    let wide = entry(
        "wide",
        "MESH_EXTERNAL",
        "ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}, {number: 8080, name: more, protocol: TCP}], resolution: NONE",
    )
    .replace("wide.test", "'*.wide.test'");
    let snapshot = read(&[a(), wide, not_shop()]);
    let before = compile(&snapshot);
    let address: IpAddr = "10.2.0.1".parse().unwrap();
    let lesson = ("x.wide.test", &[address][..]);
    let told = Snapshot {
        learned: [("x.wide.test".into(), address)].into(),
        ..snapshot.clone()
    };
    for compiled in [extend(&before, [lesson]).compiled, compile(&told)] {
        check(&compiled, "10.2.0.1:80", &["denied"], &["10.2.0.1:8080"]);
        check(&compiled, "10.2.0.1:8080", &["denied"], &["10.2.0.1:8080"]);
    }
    assert_eq!(
        extend(&before, [lesson]).compiled.program,
        compile(&told).program
    );
    // What only counts yields.
    let mut audited = snapshot;
    audited.node.is_audited = true;
    let before = compile(&audited);
    let told = Snapshot {
        learned: told.learned,
        ..audited
    };
    let after = extend(&before, [lesson]).compiled;
    check(
        &after,
        "10.2.0.1:80",
        &["10.2.0.1:8080"],
        &["10.2.0.1:8080"],
    );
    assert_eq!(after.program, compile(&told).program);
}

#[test]
fn what_is_learned_later_leads_each_client_where_policies_let_it() {
    let wide = entry(
        "wide",
        "MESH_EXTERNAL",
        "ports: [{number: 80, name: tcp, protocol: TCP}], resolution: NONE",
    )
    .replace("wide.test", "'*.wide.test'");
    let deny = authorization(
        "pay",
        "x",
        "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: wide}], action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]",
    );
    let before = compiled(&[wide, deny]);
    let address: IpAddr = "10.5.0.1".parse().unwrap();
    let after = extend(&before, [("x.wide.test", &[address][..])]).compiled;
    check(&after, "10.5.0.1:80", &["denied"], &["10.5.0.1:80"]);
}

#[test]
fn a_learned_name_that_leads_past_a_denied_port_leads_there_at_once() {
    let wide = entry(
        "wide",
        "MESH_EXTERNAL",
        "ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 9090}], resolution: NONE",
    )
    .replace("wide.test", "'*.wide.test'");
    let at_80 = a().replace("targetPort: 8080", "targetPort: 80");
    let snapshot = read(&[at_80, wide, not_shop()]);
    let before = compile(&snapshot);
    check(&before, "10.2.0.1:80", &["denied"], &["passed"]);
    let address: IpAddr = "10.2.0.1".parse().unwrap();
    let after = extend(&before, [("x.wide.test", &[address][..])]).compiled;
    check(
        &after,
        "10.2.0.1:80",
        &["10.2.0.1:9090"],
        &["10.2.0.1:9090"],
    );
    let told = Snapshot {
        learned: [("x.wide.test".into(), address)].into(),
        ..snapshot
    };
    assert_eq!(after.program, compile(&told).program);
}

#[test]
fn a_cidr_that_leads_elsewhere_keeps_leading_there() {
    let around = |addresses: &str, port: u16, more: &str| {
        entry(
            &format!("n{port}-{}", addresses.len()),
            "MESH_EXTERNAL",
            &format!(
                "addresses: [{addresses}], ports: [{{number: {port}, name: tcp, protocol: TCP{more}"
            ),
        )
    };
    let spread = around(
        "10.2.0.0/16",
        8080,
        "}], resolution: STATIC, endpoints: [{address: 10.3.0.1}]",
    );
    let mut snapshot = read(&[a(), spread, not_shop()]);
    let elsewhere = ["10.3.0.1:8080"];
    check(&compile(&snapshot), "10.2.0.1:8080", &elsewhere, &elsewhere);
    snapshot.node.is_audited = true;
    check(&compile(&snapshot), "10.2.0.1:8080", &elsewhere, &elsewhere);
    // Of two networks the longer one leads, and to another port.
    let wide = around("10.0.0.0/8", 80, ", targetPort: 8080}], resolution: NONE");
    let narrow = around("10.2.0.0/16", 80, ", targetPort: 9090}], resolution: NONE");
    let compiled = compiled(&[a(), wide, narrow, not_shop()]);
    check(
        &compiled,
        "10.2.0.1:80",
        &["10.2.0.1:9090"],
        &["10.2.0.1:9090"],
    );
    check(&compiled, "10.2.0.1:8080", &["denied"], &["passed"]);
}

#[test]
fn queries_for_names_and_datagrams_meet_no_policy_of_whom_they_dial() {
    for (port, protocol) in [(53, "TCP"), (8080, "UDP")] {
        let of = a()
            .replace("targetPort: 8080", &format!("targetPort: {port}"))
            .replace("protocol: TCP", &format!("protocol: {protocol}"));
        let keys = compiled(&[of, not_shop()]).program.services;
        assert!(
            keys.keys().all(|key| key.route.is_none()),
            "{:?}",
            keys.keys().next()
        );
    }
}

#[test]
fn every_endpoint_of_the_mesh_is_known_whoever_wins_its_port() {
    // The older entry decides for the port; the newer one's endpoint is there all the same.
    let newer = a()
        .replace("name: a,", "name: b,")
        .replace("10.2.0.1", "10.2.0.2");
    let compiled = compiled(&[a(), newer, not_shop()]);
    check(&compiled, "10.1.0.1:80", &["denied"], &["10.2.0.1:8080"]);
    check(&compiled, "10.2.0.2:8080", &["denied"], &["passed"]);
}

#[test]
fn policies_for_a_namespace_are_about_its_entries_of_resolution_none() {
    let none = entry(
        "n",
        "MESH_INTERNAL",
        "addresses: [10.4.0.0/24], ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}], resolution: NONE",
    );
    let deny = |more: &str| {
        let rule = "from: [{source: {namespaces: [shop]}}]";
        authorization(
            "pay",
            "x",
            &format!("action: DENY, rules: [{{{rule}{more}}}]"),
        )
    };
    let passes = ["10.4.0.1:8080"];
    let of = |policy: String| compiled(&[none.clone(), policy]);
    check(&of(deny("")), "10.4.0.1:80", &["denied"], &passes);
    let to = |port: &str| format!(", to: [{{operation: {{ports: ['{port}']}}}}]");
    check(&of(deny(&to("8080"))), "10.4.0.1:80", &["denied"], &passes);
    check(&of(deny(&to("80"))), "10.4.0.1:80", &passes, &passes);
    // Nobody knows the labels of who is there.
    check(&of(not_shop()), "10.4.0.1:80", &passes, &passes);
    let outside = none.replace("MESH_INTERNAL", "MESH_EXTERNAL");
    check(
        &compiled(&[outside, deny("")]),
        "10.4.0.1:80",
        &passes,
        &passes,
    );
}

#[test]
fn an_audit_counts_dials_of_an_endpoint_and_opens_nothing() {
    let mut snapshot = read(&[a(), not_shop()]);
    snapshot.node.is_audited = true;
    let compiled = compile(&snapshot);
    check(&compiled, "10.2.0.1:8080", &["10.2.0.1:8080"], &["passed"]);
    let services = compiled.program.services.iter();
    let fence = services.clone().find(|(key, _)| key.route.is_some());
    let access = fence.unwrap().1.access.clone().unwrap();
    assert!(access.sentence().contains("--policy-mode=audit lets pass"));
    // Nothing that counts stands where REGISTRY_ONLY looks at what nobody registered.
    let mesh = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n";
    snapshot.mesh = agent::api::mesh_config::read("mesh.yaml", mesh).unwrap().0;
    let compiled = compile(&snapshot);
    check(&compiled, "10.2.0.1:8080", &["passed"], &["passed"]);
}

#[test]
fn clients_are_compared_by_their_addresses_of_the_family_that_connects_go_by() {
    let service = |address: &str| {
        entry(
            "d",
            "MESH_EXTERNAL",
            &format!(
                "addresses: ['{address}'], ports: [{{number: 80, name: tcp, protocol: TCP}}], resolution: STATIC, endpoints: [{{address: 10.2.0.9}}]"
            ),
        )
    };
    let policy = |action: &str, block: &str| {
        authorization(
            "pay",
            "x",
            &format!(
                "targetRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: d}}], action: {action}, rules: [{{from: [{{source: {{ipBlocks: ['{block}']}}}}]}}]"
            ),
        )
    };
    // `s` has 10.9.0.1 alone, and is led to an IPv4 endpoint from either address.
    for (address, to) in [
        ("10.1.0.9", "10.1.0.9:80"),
        ("2001:db8::9", "[2001:db8::9]:80"),
    ] {
        for (action, block, expected) in [
            ("DENY", "10.9.0.0/16", "denied"),
            ("ALLOW", "10.9.0.0/16", "10.2.0.9:80"),
            ("ALLOW", "2001:db8::/32", "denied"),
        ] {
            let compiled = compiled(&[service(address), policy(action, block)]);
            let [shop, _] = reached(&compiled, to);
            assert_eq!(shop, at(&[expected]), "{action} {block} at {to}");
        }
    }
    // Whose connects can only be of one family is known by its addresses of that.
    let both = read(&[service("10.1.0.9"), policy("ALLOW", "10.9.0.0/16")]);
    let both = both.objects.iter().map(|object| {
        let mut object = agent::api::Object::clone(object);
        if let agent::api::Spec::LocalWorkload(workload) = &mut object.spec
            && !workload.addresses.is_empty()
        {
            workload.addresses.push("2001:db8:9::1".parse().unwrap());
        }
        std::sync::Arc::new(object)
    });
    let both = Snapshot {
        objects: both.collect(),
        ..Snapshot::default()
    };
    let [shop, _] = reached(&compile(&both), "10.1.0.9:80");
    assert_eq!(shop, at(&["10.2.0.9:80"]));
    let compiled = compiled(&[service("2001:db8::9"), policy("DENY", "10.9.0.0/16")]);
    let unclaimed = outcomes(
        &compiled,
        DEFAULT_SCOPE,
        "[2001:db8::9]:80".parse().unwrap(),
    );
    assert_eq!(
        unclaimed,
        at(&["denied"]),
        "nobody knows where they come from"
    );
}

#[test]
fn a_route_for_some_addresses_is_judged_by_those() {
    let service = entry(
        "a",
        "MESH_EXTERNAL",
        "addresses: [10.1.0.1, 10.1.1.1], ports: [{number: 80, name: tcp, protocol: TCP}], resolution: STATIC, endpoints: [{address: 10.2.0.9}]",
    );
    let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: pay}\nspec: {hosts: [a.test], tcp: [{match: [{destinationSubnets: [10.1.1.0/24]}], route: [{destination: {host: a.test}}]}]}\n";
    let policy = authorization(
        "pay",
        "x",
        "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}], rules: [{when: [{key: destination.ip, values: [10.1.1.0/24]}]}]",
    );
    let compiled = compiled(&[service, route.to_owned(), policy]);
    check(&compiled, "10.1.0.1:80", &["denied"], &["denied"]);
    check(&compiled, "10.1.1.1:80", &["10.2.0.9:80"], &["10.2.0.9:80"]);
}
