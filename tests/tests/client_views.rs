//! What each workload sees, imports and may reach.

use std::net::IpAddr;
use std::sync::Arc;

use agent::api::OutboundPolicy;
use agent::compile::{Compiled, Exemption, Outbound, compile, settle};
use agent_common::abi::DEFAULT_SCOPE;
use imbl::OrdMap;
use tests::clients::{local, read_all, scope_of, seen, sidecar};

/// `destination -> service` of what the workload sees; the empty name stands for clients that no workload claims.
fn sees(compiled: &Compiled, name: &str) -> Vec<String> {
    let scope = match name {
        "" => DEFAULT_SCOPE,
        name => scope_of(compiled, name),
    };
    let all = compiled.program.frontends.iter();
    all.filter(|(frontend, _)| frontend.scope == scope)
        .map(|(frontend, key)| format!("{frontend} -> {key}"))
        .collect()
}

#[test]
fn the_same_host_and_port_leads_each_workload_to_its_own_namespace() {
    let compiled = compile(&read_all(&[
        seen("shop", "exportTo: ['.']"),
        seen("pay", "exportTo: ['.', ops]"),
        local("shop", "s", ""),
        local("pay", "p", ""),
        local("ops", "o", ""),
        local("other", "x", ""),
    ]));
    let of = |namespace: &str| {
        [80, 81].map(|port| format!("10.1.0.1:{port} -> {namespace}/a.test:{port}"))
    };
    assert_eq!(sees(&compiled, "s"), of("shop"));
    assert_eq!(sees(&compiled, "p"), of("pay"));
    assert_eq!(sees(&compiled, "o"), of("pay"));
    assert_eq!(sees(&compiled, "x"), [""; 0]);
    assert_eq!(sees(&compiled, ""), [""; 0]);
    // Whoever sees the same is of one scope.
    assert_eq!(scope_of(&compiled, "o"), scope_of(&compiled, "p"));
    assert_eq!(scope_of(&compiled, "x"), DEFAULT_SCOPE);
    assert_eq!(compiled.program.clients.scopes.len(), 3);
    let names = |name: &str| {
        let scope = &compiled.program.clients.scopes[&scope_of(&compiled, name)];
        compiled
            .names_of(scope.names.into())
            .find("a.test")
            .cloned()
    };
    assert!(names("s").is_some() && names("s") == names("p"));
    assert_eq!(names("x"), None);
}

#[test]
fn there_are_as_many_scopes_as_behaviours_however_many_workloads() {
    let mut texts = vec![seen("shop", "exportTo: ['.']"), seen("pay", "")];
    for i in 0..50 {
        texts.push(local(
            &format!("n{}", i % 7),
            &format!("w{i}"),
            &format!("app: a{i}"),
        ));
        texts.push(local("shop", &format!("s{i}"), &format!("app: a{i}")));
    }
    let compiled = compile(&read_all(&texts));
    assert_eq!(compiled.program.clients.scopes.len(), 2);
    assert_eq!(compiled.program.services.len(), 4);
}

#[test]
fn a_sidecar_imports_hosts_and_ports_and_nothing_else() {
    let of = |spec: &str| {
        let compiled = compile(&read_all(&[
            seen("shop", ""),
            seen("pay", "hosts: [b.pay.test], addresses: [10.1.0.2]"),
            sidecar("shop", "default", spec),
            local("shop", "s", "app: s"),
            local("pay", "p", ""),
        ]));
        assert_eq!(sees(&compiled, "p").len(), 4);
        let sees = sees(&compiled, "s").into_iter();
        let sees = sees.map(|line| line.split(" -> ").next().unwrap_or_default().to_owned());
        sees.collect::<Vec<_>>().join(" ")
    };
    let (a, b) = ("10.1.0.1:80 10.1.0.1:81", "10.1.0.2:80 10.1.0.2:81");
    let all = format!("10.1.0.1:80 10.1.0.1:81 {b}");
    for (egress, expected) in [
        ("[{hosts: ['*/*']}]", all.as_str()),
        ("[{hosts: ['./*']}]", a),
        ("[{hosts: ['pay/*']}]", b),
        ("[{hosts: ['*/*.pay.test']}]", b),
        ("[{hosts: ['*/*', '~pay/*']}]", a),
        ("[{hosts: ['~/*']}]", ""),
        ("[{hosts: ['pay/a.test']}]", ""),
        (
            "[{port: {number: 80, protocol: HTTP}, hosts: ['*/*']}]",
            "10.1.0.1:80 10.1.0.2:80",
        ),
        (
            "[{port: {number: 81, protocol: HTTP}, hosts: ['./*']}, {hosts: ['pay/*']}]",
            "10.1.0.1:81 10.1.0.2:80 10.1.0.2:81",
        ),
        ("[{port: {number: 9, protocol: HTTP}, hosts: ['*/*']}]", ""),
        (
            "[{port: {number: 80, protocol: HTTP}, bind: 127.0.0.1, hosts: ['*/*']}]",
            "",
        ),
    ] {
        assert_eq!(of(&format!("egress: {egress}")), expected, "{egress}");
    }
    assert_eq!(of("outboundTrafficPolicy: {mode: ALLOW_ANY}"), all);
}

#[test]
fn the_sidecar_for_its_labels_goes_before_its_namespaces_before_the_roots() {
    let only = |port: u16| {
        format!("egress: [{{port: {{number: {port}, protocol: HTTP}}, hosts: ['*/*']}}]")
    };
    let own = sidecar(
        "shop",
        "own",
        &format!("workloadSelector: {{labels: {{app: s}}}}, {}", only(80)),
    );
    let other = sidecar(
        "shop",
        "other",
        &format!("workloadSelector: {{labels: {{app: x}}}}, {}", only(9)),
    );
    let namespace = sidecar("shop", "all", &only(81));
    let root = sidecar("istio-system", "root", "egress: [{hosts: ['~/*']}]");
    let elsewhere = sidecar("pay", "all", "egress: [{hosts: ['~/*']}]");
    let of = |sidecars: &[&String]| {
        let mut texts = vec![seen("shop", ""), local("shop", "s", "app: s")];
        texts.extend(sidecars.iter().map(ToString::to_string));
        let lines = sees(&compile(&read_all(&texts)), "s").into_iter();
        let ports = lines.filter_map(|line| Some(line.split(" -> ").next()?.to_owned()));
        ports.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(&[&root, &namespace, &other, &own]), "10.1.0.1:80");
    assert_eq!(of(&[&root, &namespace, &other]), "10.1.0.1:81");
    assert_eq!(of(&[&root, &other]), "");
    assert_eq!(of(&[&elsewhere, &other]), "10.1.0.1:80 10.1.0.1:81");
}

#[test]
fn rules_and_routes_are_those_that_the_workload_sees() {
    let rule = |name: &str, namespace: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{host: a.test, {spec}}}\n"
        )
    };
    let limited = |most: u32| {
        format!("trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {most}}}}}}}")
    };
    let texts = [
        seen("shop", ""),
        rule("service", "shop", &limited(1)),
        rule("client", "pay", &limited(2)),
        rule(
            "labelled",
            "pay",
            &format!(
                "workloadSelector: {{matchLabels: {{app: p}}}}, {}",
                limited(3)
            ),
        ),
        local("shop", "s", ""),
        local("pay", "p", "app: p"),
        local("pay", "q", "app: q"),
    ];
    let compiled = compile(&read_all(&texts));
    let limit = |name: &str| {
        let scope = scope_of(&compiled, name);
        let (_, key) = compiled
            .program
            .frontends
            .iter()
            .find(|(frontend, _)| frontend.scope == scope)
            .expect("it sees the host");
        let cluster = &compiled.program.services[key].clusters[0];
        cluster.policy.connection_pool.max_connections
    };
    assert_eq!(
        (limit("s"), limit("q"), limit("p")),
        (Some(1), Some(2), Some(3))
    );
}

#[test]
fn an_outbound_policy_is_the_meshs_unless_the_sidecar_has_one_and_an_audit_denies_nothing() {
    let of = |mesh: OutboundPolicy, is_audited: bool| {
        let mut snapshot = read_all(&[
            seen("shop", ""),
            sidecar("open", "s", "outboundTrafficPolicy: {mode: ALLOW_ANY}"),
            sidecar("closed", "s", "outboundTrafficPolicy: {}"),
            local("open", "o", ""),
            local("closed", "c", ""),
            local("shop", "s", ""),
        ]);
        snapshot.mesh.outbound = mesh;
        snapshot.node.is_audited = is_audited;
        snapshot.node.internal = vec!["10.0.0.0/8".parse().unwrap()];
        snapshot
            .surroundings
            .addresses
            .insert(IpAddr::from([192, 0, 2, 1]));
        snapshot.surroundings.name_servers =
            [[10, 0, 0, 53], [192, 0, 2, 53]].map(IpAddr::from).into();
        let compiled = compile(&snapshot);
        let clients = &compiled.program.clients;
        let outbound =
            ["o", "c", "s"].map(|name| clients.scopes[&scope_of(&compiled, name)].outbound);
        (outbound, clients.exempt.clone())
    };
    let (any, only) = (Outbound::AllowAny, Outbound::RegistryOnly);
    let (outbound, exempt) = of(OutboundPolicy::AllowAny, false);
    assert_eq!(outbound, [any, only, any]);
    let exempt: Vec<_> = exempt
        .iter()
        .map(|(net, e)| (net.to_string(), *e))
        .collect();
    let expected = [
        ("10.0.0.0/8", Exemption::Destination),
        // Longer prefixes are asked first.
        ("10.0.0.53/32", Exemption::Destination),
        ("192.0.2.1/32", Exemption::Destination),
        ("192.0.2.53/32", Exemption::NameServer),
    ];
    assert_eq!(exempt, expected.map(|(net, e)| (net.to_owned(), e)));
    assert_eq!(of(OutboundPolicy::RegistryOnly, false).0, [any, only, only]);
    let audited = Outbound::Audited;
    assert_eq!(
        of(OutboundPolicy::RegistryOnly, true).0,
        [any, audited, audited]
    );
}

#[test]
fn cgroups_that_come_and_go_leave_what_compiling_anew_would() {
    let mut snapshot = read_all(&[
        seen("shop", "exportTo: ['.']"),
        local("shop", "s", ""),
        local("pay", "p", ""),
    ]);
    let cgroups = |paths: &[(&str, u64)]| {
        let paths = paths.iter().map(|(path, id)| (Arc::from(*path), *id));
        paths.collect::<OrdMap<Arc<str>, u64>>()
    };
    snapshot.cgroups = cgroups(&[("", 1), ("/shop", 2), ("/shop/s", 3)]);
    let before = compile(&snapshot);
    let shop = scope_of(&before, "s");
    let of = |compiled: &Compiled| {
        compiled
            .program
            .clients
            .cgroups
            .clone()
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&before), [(1, 0), (2, 0), (3, shop)]);
    assert_eq!(before.program.clients.levels, [2]);
    snapshot.cgroups = cgroups(&[("", 1), ("/shop", 2), ("/shop/s", 4), ("/shop/s/x", 5)]);
    let moved = settle(&before, &snapshot.cgroups);
    let anew = compile(&snapshot);
    assert_eq!(moved.compiled.program, anew.program);
    assert_eq!(moved.compiled.diagnostics, anew.diagnostics);
    assert_eq!(
        moved.changes,
        Some(vec![(4, Some(shop)), (5, Some(shop)), (3, None)])
    );
    snapshot.cgroups = cgroups(&[("", 1), ("/pay", 7), ("/pay/p", 8), ("/shop/s", 4)]);
    let moved = settle(&anew, &snapshot.cgroups);
    assert_eq!(moved.compiled.program, compile(&snapshot).program);
}

#[test]
fn entries_are_seen_as_far_as_the_mesh_lets_them() {
    let namespace = |name: &str, labels: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nspec: {{finalizers: [kubernetes]}}\nstatus: {{phase: Active}}\n"
        )
    };
    let compiled = |export_to: &str, setting: &str| {
        let mut snapshot = read_all(&[
            namespace("shop", "tier: lab"),
            seen("shop", export_to),
            local("shop", "s", ""),
            local("pay", "p", ""),
        ]);
        let mesh = format!("serviceEntryVisibility: {{{setting}}}\n");
        snapshot.mesh = agent::api::mesh_config::read("mesh.yaml", &mesh)
            .expect("a mesh")
            .0;
        compile(&snapshot)
    };
    let by_label = |visibility: &str, label: &str| {
        format!(
            "policies: [{{visibility: {visibility}, matchingRules: [{{namespaceSelector: {{matchLabels: {{{label}}}}}}}]}}]"
        )
    };
    for (export_to, setting, expected) in [
        ("", String::new(), "sp"),
        ("", "defaultVisibility: PUBLIC".to_owned(), "sp"),
        ("", "defaultVisibility: NAMESPACE".to_owned(), "s-"),
        ("", "defaultVisibility: NONE".to_owned(), "--"),
        (
            "exportTo: [shop, pay]",
            "defaultVisibility: NAMESPACE".to_owned(),
            "s-",
        ),
        // It never makes an entry visible where that does not say so itself.
        (
            "exportTo: [pay]",
            "defaultVisibility: NAMESPACE".to_owned(),
            "--",
        ),
        (
            "exportTo: ['.']",
            "defaultVisibility: PUBLIC".to_owned(),
            "s-",
        ),
        (
            "",
            by_label("NAMESPACE", "kubernetes.io/metadata.name: shop"),
            "s-",
        ),
        (
            "",
            by_label("NAMESPACE", "kubernetes.io/metadata.name: pay"),
            "sp",
        ),
        ("", by_label("NONE", "tier: lab"), "--"),
        ("", by_label("NONE", "tier: prod"), "sp"),
    ] {
        let compiled = compiled(export_to, &setting);
        let marks = ["s", "p"].map(|name| match sees(&compiled, name).as_slice() {
            [] => "-",
            _ => name,
        });
        let found = marks.concat();
        assert_eq!(found, expected, "{export_to} {setting}");
    }
    let found = compiled("", "defaultVisibility: NONE");
    let mut found = found.diagnostics.iter();
    assert!(found.any(|d| d.code == "SH3020" && d.message.contains("serviceEntryVisibility")));
}
