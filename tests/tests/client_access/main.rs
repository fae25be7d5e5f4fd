//! What `AuthorizationPolicy` objects allow and deny each workload: decided in tables as the kernel has them, and equal to what
//! a reader of the objects would say.

mod laws;
mod mtls;
mod told;
mod ways;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use agent::compile::{Compiled, Endpoint, Service, compile};
use agent::dataplane::{Limits, MemoryDataplane, abi_address, ip_address};
use agent::model::Snapshot;
use agent_common::abi::{DEFAULT_SCOPE, Outbound, Port, TCP};
use agent_common::{Connect, Family, Reason, Verdict, decide};
use tests::clients::{authorization, read_all, scope_of, workload};

/// An entry of namespace `pay` for `a.test` at 10.1.0.1, of location `MESH_INTERNAL`, whose endpoint is labelled `app: a`.
const ENTRY: &str = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: pay}\nspec: {hosts: [a.test], addresses: [10.1.0.1], location: MESH_INTERNAL, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], resolution: STATIC, endpoints: [{address: 10.2.0.1, labels: {app: a}}]}\n";

/// A workload of namespace `shop` and account `s` that peers see at 10.9.0.1, one of namespace `ops` that they see nobody knows
/// where.
fn workloads() -> String {
    let local = |namespace: &str, name: &str, spec: &str| {
        workload(
            namespace,
            name,
            "",
            &format!("cgroup: /{namespace}/{name}, {spec}"),
        )
    };
    local("shop", "s", "serviceAccount: s, addresses: [10.9.0.1]") + &local("ops", "o", "")
}

fn read(policies: &[String]) -> Snapshot {
    let mut texts = vec![ENTRY.to_owned(), workloads()];
    texts.extend_from_slice(policies);
    read_all(&texts)
}

/// What becomes of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    At(SocketAddr),
    /// Nothing claims it.
    Passed,
    /// By policies.
    Denied,
    /// For want of an endpoint.
    Refused,
}

/// All that may become of connects of clients of the scope to the address and port.
fn outcomes(compiled: &Compiled, scope: u32, to: SocketAddr) -> BTreeSet<Reached> {
    let mut dataplane = MemoryDataplane::in_memory(&Limits::small());
    assert!(dataplane.apply(&compiled.program).diagnostics.is_empty());
    let connect = Connect {
        family: if to.is_ipv4() { Family::V4 } else { Family::V6 },
        address: abi_address(to.ip()),
        port: Port::new(to.port()),
        protocol: TCP,
        scope,
        names: 0,
        outbound: Outbound::AllowAny,
    };
    let outcome = |draw: u32| match decide(dataplane.tables(), &connect, &mut || draw << 26) {
        Verdict::Rewrite { address, port, .. } => {
            Reached::At(SocketAddr::new(ip_address(address), port.get()))
        }
        Verdict::Original { port, .. } => {
            let port = port.map_or(to.port(), Port::get);
            Reached::At(SocketAddr::new(to.ip(), port))
        }
        Verdict::Pass => Reached::Passed,
        Verdict::Deny {
            reason: Reason::Policy,
            ..
        } => Reached::Denied,
        Verdict::Deny { .. } => Reached::Refused,
        other => panic!("{other:?} for {to}"),
    };
    (0..64).map(outcome).collect()
}

/// Whether each of `clients` may connect; the empty name stands for clients that no workload claims.
fn may(compiled: &Compiled, clients: &[&str]) -> Vec<bool> {
    let may = |name: &&str| {
        let scope = match *name {
            "" => DEFAULT_SCOPE,
            name => scope_of(compiled, name),
        };
        let reached = outcomes(compiled, scope, SocketAddr::from(([10, 1, 0, 1], 80)));
        assert_eq!(reached.len(), 1, "for `{name}`");
        !reached.contains(&Reached::Denied)
    };
    clients.iter().map(may).collect()
}

/// Who may connect, among `s`, `o` and nobody in particular, where these policies of namespace `pay` are: `so-` is the first two.
fn who(policies: &[String]) -> String {
    let compiled = compile(&read(policies));
    let may = may(&compiled, &["s", "o", ""]).into_iter();
    let marks = may.zip(['s', 'o', '?']);
    marks
        .map(|(may, mark)| if may { mark } else { '-' })
        .collect()
}

fn check(spec: &str, expected: &str) {
    // The same of the service and of the workload.
    for attachment in [
        "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]",
        "selector: {matchLabels: {app: a}}",
    ] {
        let policy = authorization("pay", "x", &format!("{attachment}, {spec}"));
        assert_eq!(who(&[policy]), expected, "{attachment}, {spec}");
    }
}

#[test]
fn actions_and_defaults_are_istios() {
    check("action: ALLOW", "---");
    check("rules: [{}]", "so?");
    check("action: DENY, rules: [{}]", "---");
    check("action: AUDIT, rules: [{}]", "so?");
    check("action: AUDIT", "so?");
    check("action: CUSTOM, provider: {name: x}, rules: [{}]", "so?");
    let from =
        |namespace: &str| format!("rules: [{{from: [{{source: {{namespaces: [{namespace}]}}}}]}}]");
    check(&from("shop"), "s--");
    check(&format!("action: DENY, {}", from("shop")), "-o?");
}

#[test]
fn deny_goes_before_allow_and_one_allow_is_enough() {
    let policy = |name: &str, action: &str, namespace: &str| {
        let rules = format!("rules: [{{from: [{{source: {{namespaces: [{namespace}]}}}}]}}]");
        authorization("pay", name, &format!("action: {action}, {rules}"))
    };
    let of = |policies: &[(&str, &str)]| {
        let policies = policies.iter().zip(["a", "b", "c"]);
        let policies = policies.map(|((action, namespace), name)| policy(name, action, namespace));
        who(&policies.collect::<Vec<_>>())
    };
    assert_eq!(of(&[("ALLOW", "shop"), ("ALLOW", "ops")]), "so-");
    assert_eq!(of(&[("ALLOW", "shop"), ("DENY", "shop")]), "---");
    assert_eq!(of(&[("DENY", "shop"), ("ALLOW", "'*'")]), "-o-");
    assert_eq!(of(&[("AUDIT", "ops"), ("ALLOW", "shop")]), "s--");
}

#[test]
fn sources_are_matched_by_all_that_they_ask_for() {
    for (source, expected) in [
        ("namespaces: [sh*]", "s--"),
        ("namespaces: ['*ps']", "-o-"),
        ("namespaces: ['*']", "so-"),
        ("notNamespaces: [shop]", "-o?"),
        ("namespaces: ['*'], notNamespaces: [shop]", "-o-"),
        ("principals: [cluster.local/ns/shop/sa/s]", "s--"),
        ("principals: ['*/ns/ops/sa/default']", "-o-"),
        ("principals: ['*/sa/s']", "s--"),
        ("principals: ['*']", "so-"),
        ("notPrincipals: ['*']", "--?"),
        ("principals: [other/ns/shop/sa/s]", "---"),
        ("serviceAccounts: [shop/s]", "s--"),
        ("serviceAccounts: [s]", "---"),
        ("notServiceAccounts: [shop/s]", "-o?"),
        ("trustDomains: [cluster.local]", "so-"),
        ("notTrustDomains: [cluster.local]", "--?"),
        ("ipBlocks: [10.9.0.0/16]", "s--"),
        ("ipBlocks: [10.8.0.0/16]", "---"),
        ("notIpBlocks: [10.8.0.0/16]", "s--"),
        ("namespaces: [ops], ipBlocks: [0.0.0.0/0]", "---"),
        ("requestPrincipals: ['*'], namespaces: [shop]", "---"),
    ] {
        check(
            &format!("rules: [{{from: [{{source: {{{source}}}}}]}}]"),
            expected,
        );
    }
}

#[test]
fn what_is_not_known_is_denied() {
    for (source, expected) in [
        ("ipBlocks: [10.9.0.0/16]", "---"),
        ("ipBlocks: [10.8.0.0/16]", "s--"),
        ("notIpBlocks: [10.9.0.0/16]", "s--"),
        ("ipBlocks: [10.8.0.0/16], namespaces: [shop]", "so?"),
        // Nobody sees who asks for a request: the rule is read without it.
        ("requestPrincipals: ['*'], namespaces: [shop]", "-o?"),
        ("requestPrincipals: ['*']", "---"),
    ] {
        let rules = format!("rules: [{{from: [{{source: {{{source}}}}}]}}]");
        check(&format!("action: DENY, {rules}"), expected);
    }
    check(
        "action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]",
        "---",
    );
    check("rules: [{to: [{operation: {methods: [GET]}}]}]", "---");
    check(
        "rules: [{when: [{key: connection.sni, values: [a]}]}]",
        "---",
    );
}

#[test]
fn ports_and_addresses_are_those_of_what_the_policy_is_about() {
    let of_service = "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]";
    let of_workload = "selector: {matchLabels: {app: a}}";
    for (attachment, rule, expected) in [
        (of_service, "to: [{operation: {ports: ['80']}}]", "so?"),
        (of_workload, "to: [{operation: {ports: ['80']}}]", "---"),
        (of_service, "to: [{operation: {ports: ['8080']}}]", "---"),
        (of_workload, "to: [{operation: {ports: ['8080']}}]", "so?"),
        (
            of_workload,
            "to: [{operation: {notPorts: ['8080']}}]",
            "---",
        ),
        (
            of_service,
            "when: [{key: destination.port, values: ['80']}]",
            "so?",
        ),
        (
            of_service,
            "when: [{key: destination.ip, values: [10.1.0.1]}]",
            "so?",
        ),
        (
            of_workload,
            "when: [{key: destination.ip, values: [10.1.0.1]}]",
            "---",
        ),
        (
            of_workload,
            "when: [{key: destination.ip, values: [10.2.0.0/16]}]",
            "so?",
        ),
        (
            of_workload,
            "when: [{key: destination.ip, notValues: [10.2.0.0/16]}]",
            "---",
        ),
        (
            of_workload,
            "when: [{key: source.namespace, values: [shop]}, {key: source.ip, values: [10.9.0.1]}]",
            "s--",
        ),
        (
            of_workload,
            "when: [{key: source.principal, notValues: ['*/sa/s']}]",
            "-o?",
        ),
        (
            of_workload,
            "when: [{key: source.serviceAccount, values: [shop/s]}]",
            "s--",
        ),
    ] {
        let policy = authorization("pay", "x", &format!("{attachment}, rules: [{{{rule}}}]"));
        assert_eq!(who(&[policy]), expected, "{attachment}, {rule}");
    }
}

#[test]
fn a_policy_is_about_what_it_selects_and_nothing_else() {
    let deny = "action: DENY, rules: [{}]";
    for (namespace, attachment, expected) in [
        ("pay", "", "---"),
        ("istio-system", "", "---"),
        ("istio-system", "selector: {matchLabels: {app: a}}, ", "---"),
        ("istio-system", "selector: {matchLabels: {app: b}}, ", "so?"),
        ("pay", "selector: {matchLabels: {app: b}}, ", "so?"),
        ("shop", "", "so?"),
        (
            "shop",
            "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}], ",
            "so?",
        ),
        (
            "pay",
            "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: b}], ",
            "so?",
        ),
        (
            "pay",
            "targetRefs: [{group: '', kind: Service, name: a}], ",
            "so?",
        ),
    ] {
        let policy = authorization(namespace, "x", &format!("{attachment}{deny}"));
        assert_eq!(who(&[policy]), expected, "{namespace} {attachment}");
    }
    // Nobody enforces a policy at a server that is not of the mesh.
    let texts = [
        ENTRY.replace("MESH_INTERNAL", "MESH_EXTERNAL"),
        workloads(),
        authorization("pay", "x", deny),
    ];
    let compiled = compile(&read_all(&texts));
    assert_eq!(may(&compiled, &["s", "o", ""]), [true; 3]);
    let codes = compiled.diagnostics.iter().map(|d| d.code.as_str());
    assert!(
        codes.into_iter().any(|code| code == "SH3023"),
        "{:?}",
        compiled.diagnostics
    );
}

#[test]
fn an_audit_and_a_dry_run_let_pass_what_they_count() {
    let denying = authorization("pay", "x", "action: DENY, rules: [{}]");
    let dry = denying.replace(
        "namespace: pay",
        "namespace: pay, annotations: {istio.io/dry-run: 'true'}",
    );
    assert_eq!(who(std::slice::from_ref(&dry)), "so?");
    let noted = |compiled: &Compiled| {
        let of = |endpoint: &Endpoint| {
            let access = endpoint.access.clone().unwrap_or_default();
            access
                .noted
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let services = compiled.program.services.values();
        services
            .flat_map(|service: &std::sync::Arc<Service>| service.endpoints.iter().flat_map(of))
            .collect::<Vec<_>>()
    };
    let found = noted(&compile(&read(&[dry])));
    assert!(
        found[0].starts_with("AuthorizationPolicy pay/x"),
        "{found:?}"
    );

    let mut snapshot = read(&[denying]);
    snapshot.node.is_audited = true;
    let compiled = compile(&snapshot);
    assert_eq!(may(&compiled, &["s", "o", ""]), [true; 3]);
    let service = compiled.program.services.values().next().unwrap();
    let access = service.endpoints[0].access.clone().unwrap();
    assert!(
        access.sentence().contains("--policy-mode=audit lets pass"),
        "{}",
        access.sentence()
    );
}

#[test]
fn one_dry_run_that_allows_it_is_enough_among_dry_runs() {
    let dry = |name: &str, namespace: &str| {
        let rules = format!("rules: [{{from: [{{source: {{namespaces: [{namespace}]}}}}]}}]");
        authorization("pay", name, &rules).replace(
            "namespace: pay",
            "namespace: pay, annotations: {istio.io/dry-run: 'true'}",
        )
    };
    let missing = |policies: &[String]| {
        let compiled = compile(&read(policies));
        let services = compiled.program.services.values();
        let endpoints = services.flat_map(|service: &std::sync::Arc<Service>| &service.endpoints);
        let missing = endpoints.map(|endpoint| {
            let access = endpoint.access.as_ref();
            access.map_or(0, |access| access.noted_missing.len())
        });
        let mut missing: Vec<usize> = missing.collect();
        missing.sort_unstable();
        missing
    };
    // `ops` and nobody in particular are one service, `shop` is another.
    assert_eq!(missing(&[dry("x", "shop")]), [0, 1]);
    assert_eq!(missing(&[dry("x", "shop"), dry("y", "other")]), [0, 2]);
}

#[test]
fn any_name_of_the_trust_domain_is_as_good_as_any_other() {
    let check = |principal: &str, expected: &str| {
        let rules = format!("rules: [{{from: [{{source: {{principals: ['{principal}']}}}}]}}]");
        let mut snapshot = read(&[authorization("pay", "x", &rules)]);
        let mesh = "trustDomain: new.test\ntrustDomainAliases: [old.test]\n";
        snapshot.mesh = agent::api::mesh_config::read("mesh.yaml", mesh).unwrap().0;
        let may = may(&compile(&snapshot), &["s"]);
        assert_eq!(may, [!expected.is_empty()], "{principal}");
    };
    check("new.test/ns/shop/sa/s", "s");
    check("old.test/ns/shop/sa/s", "s");
    check("cluster.local/ns/shop/sa/s", "s");
    check("*.test/ns/shop/sa/s", "s");
    check("other.test/ns/shop/sa/s", "");
    // As in Istio, only names of five parts are translated.
    check("new.test/ns/shop/*", "s");
    check("old.test/ns/shop/*", "");
}
