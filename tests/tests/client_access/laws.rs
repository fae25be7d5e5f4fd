//! Whatever the policies are, who may connect is what a reader of them would say.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use agent::compile::{Compiled, compile};
use proptest::prelude::*;
use tests::clients::{authorization, local, read_all, scope_of, seen, workload};

use super::{Reached, may, outcomes, read};

/// Parts of rules, with who they are about as a reader of Istio's documentation has it: by client (`s`, `o` and nobody), whether
/// it holds where the unknown is in its favour, and where it is not.
const PARTS: [(&str, [(bool, bool); 3]); 9] = [
    ("", [(true, true), (true, true), (true, true)]),
    (
        "from: [{source: {namespaces: [shop]}}], ",
        [(true, true), (false, false), (false, false)],
    ),
    (
        "from: [{source: {notNamespaces: [shop]}}], ",
        [(false, false), (true, true), (true, true)],
    ),
    (
        "from: [{source: {namespaces: [shop]}}, {source: {namespaces: [ops]}}], ",
        [(true, true), (true, true), (false, false)],
    ),
    (
        "from: [{source: {ipBlocks: [10.9.0.0/16]}}], ",
        [(true, true), (true, false), (true, false)],
    ),
    (
        "from: [{source: {notIpBlocks: [10.9.0.0/16]}}], ",
        [(false, false), (true, false), (true, false)],
    ),
    (
        "from: [{source: {principals: ['*/sa/default']}}], ",
        [(false, false), (true, true), (false, false)],
    ),
    (
        "when: [{key: source.namespace, values: ['*']}], ",
        [(true, true), (true, true), (false, false)],
    ),
    (
        "from: [{source: {namespaces: [ops], ipBlocks: [10.9.0.0/16]}}], ",
        [(false, false), (true, false), (false, false)],
    ),
];
/// What is done, and whether it is done, of the service and of the workload.
const OPERATIONS: [(&str, [bool; 2]); 3] = [
    ("", [true, true]),
    ("to: [{operation: {ports: ['80']}}]", [true, false]),
    ("to: [{operation: {ports: ['8080']}}]", [false, true]),
];
const ACTIONS: [&str; 3] = ["ALLOW", "DENY", "AUDIT"];

/// A policy: its action, whether it names the service, and its rules by their parts.
type Written = (usize, bool, Vec<(usize, usize)>);

fn text(name: usize, (action, is_of_service, rules): &Written) -> String {
    let attachment = if *is_of_service {
        "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}], "
    } else {
        ""
    };
    let rules: Vec<String> = rules
        .iter()
        .map(|(part, operation)| format!("{{{}{}}}", PARTS[*part].0, OPERATIONS[*operation].0))
        .collect();
    let spec = format!(
        "{attachment}action: {}, rules: [{}]",
        ACTIONS[*action],
        rules.join(", ")
    );
    authorization("pay", &format!("p{name}"), &spec)
}

/// Whether the client may connect, by the order that Istio documents.
fn naive(policies: &[Written], client: usize) -> bool {
    [true, false].into_iter().all(|of_service| {
        let of = || policies.iter().filter(move |(_, is, _)| *is == of_service);
        let matches = |rules: &[(usize, usize)], in_favour: bool| {
            rules.iter().any(|(part, operation)| {
                let (may, must) = PARTS[*part].1[client];
                let holds = if in_favour { may } else { must };
                holds && OPERATIONS[*operation].1[usize::from(!of_service)]
            })
        };
        let with = |action: usize| of().filter(move |(a, ..)| *a == action);
        let is_denied = with(1).any(|(.., rules)| matches(rules, true));
        let is_allowed =
            with(0).next().is_none() || with(0).any(|(.., rules)| matches(rules, false));
        !is_denied && is_allowed
    })
}

proptest! {
    #[test]
    fn every_client_may_what_a_reader_of_the_policies_would_let_it(
        policies in proptest::collection::vec(
            (0usize..3, any::<bool>(), proptest::collection::vec((0usize..9, 0usize..3), 1..3)), 0..5,
        ),
    ) {
        let texts: Vec<String> = policies.iter().enumerate().map(|(name, p)| text(name, p)).collect();
        let compiled = compile(&read(&texts));
        let expected: Vec<bool> = (0..3).map(|client| naive(&policies, client)).collect();
        prop_assert_eq!(may(&compiled, &["s", "o", ""]), expected, "{}", texts.concat());
    }
}

/// Entries of namespace `pay`: whether they are of the mesh, of resolution NONE, and which addresses, ports and endpoints they have,
/// those with labels.
type Entry = (bool, bool, usize, usize, Vec<(usize, usize)>);

const PORTS: [&str; 3] = [
    "{number: 80, name: tcp, protocol: TCP, targetPort: 8080}",
    "{number: 8080, name: tcp, protocol: TCP}",
    "{number: 80, name: tcp, protocol: TCP, targetPort: 8080}, {number: 8080, name: more, protocol: TCP}",
];

const ADDRESSES: [&str; 5] = [
    "10.1.0.1",
    "10.2.0.1",
    "2001:db8::1",
    "10.2.0.0/24",
    "10.0.0.0/8",
];
const ENDPOINTS: [&str; 4] = ["10.2.0.1", "10.2.0.2", "2001:db8:2::1", "2001:db8:2::2"];
const LABELS: [&str; 3] = ["", "app: a", "app: b"];
/// Who connects.
const CLIENTS: [(&str, &str, &str); 4] = [
    ("shop", "s", "addresses: [10.9.0.1]"),
    ("shop", "t", "addresses: [10.8.0.1, '2001:db8:9::1']"),
    ("ops", "o", "addresses: ['2001:db8:9::2']"),
    ("ops", "p", "serviceAccount: p"),
];
const TARGETS: [&str; 5] = [
    "",
    "selector: {matchLabels: {app: a}}, ",
    "selector: {matchLabels: {app: b}}, ",
    "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: e0}], ",
    "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: e1}], ",
];
const SOURCES: [&str; 5] = [
    "",
    "from: [{source: {namespaces: [shop]}}], ",
    "from: [{source: {ipBlocks: [10.9.0.0/16]}}], ",
    "from: [{source: {notIpBlocks: ['2001:db8:9::/64']}}], ",
    "from: [{source: {serviceAccounts: [ops/p]}}], ",
];

fn entry(name: usize, (is_in_mesh, is_none, address, ports, endpoints): &Entry) -> String {
    let location = if *is_in_mesh {
        "MESH_INTERNAL"
    } else {
        "MESH_EXTERNAL"
    };
    let endpoints = endpoints.iter().map(|(endpoint, labels)| {
        format!(
            "{{address: '{}', labels: {{{}}}}}",
            ENDPOINTS[*endpoint], LABELS[*labels]
        )
    });
    let resolution = if *is_none {
        "resolution: NONE".to_owned()
    } else {
        let endpoints: Vec<String> = endpoints.collect();
        format!("resolution: STATIC, endpoints: [{}]", endpoints.join(", "))
    };
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{name}, namespace: pay}}\nspec: {{hosts: [e{name}.test], addresses: ['{}'], location: {location}, ports: [{}], {resolution}}}\n",
        ADDRESSES[*address], PORTS[*ports]
    )
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let endpoints = proptest::collection::vec((0..ENDPOINTS.len(), 0..LABELS.len()), 1..4);
    let entry = (
        any::<bool>(),
        any::<bool>(),
        0..ADDRESSES.len(),
        0..PORTS.len(),
        endpoints,
    );
    proptest::collection::vec(entry, 1..4)
}

/// What is written but for clients: entries, a route over two of them, and policies.
#[derive(Debug)]
struct Mesh {
    services: Vec<String>,
    policies: Vec<String>,
}

fn mesh() -> impl Strategy<Value = Mesh> {
    let policy = (
        0usize..3,
        0..TARGETS.len(),
        0..SOURCES.len(),
        0..OPERATIONS.len(),
    );
    let policies = proptest::collection::vec(policy, 0..4);
    (entries(), policies, any::<bool>()).prop_map(|(entries, policies, is_routed)| {
        let mut services: Vec<String> = entries
            .iter()
            .enumerate()
            .map(|(name, written)| entry(name, written))
            .collect();
        if is_routed {
            let to = |host: usize| {
                let host = host % entries.len();
                format!("{{destination: {{host: e{host}.test}}, weight: 50}}")
            };
            services.push(format!(
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: pay}}\nspec: {{hosts: [e0.test], tcp: [{{route: [{}, {}]}}]}}\n",
                to(0),
                to(1)
            ));
        }
        let policies = policies.into_iter().enumerate();
        let policies = policies.map(|(name, (action, target, source, operation))| {
            let rule = format!("{{{}{}}}", SOURCES[source], OPERATIONS[operation].0);
            let spec = format!("{}action: {}, rules: [{rule}]", TARGETS[target], ACTIONS[action]);
            authorization("pay", &format!("p{name}"), &spec)
        });
        Mesh {
            services,
            policies: policies.collect(),
        }
    })
}

fn clients(of: &[(&str, &str, &str)]) -> Vec<String> {
    let clients = of.iter().map(|(namespace, name, spec)| {
        workload(namespace, name, "", &format!("cgroup: /{name}, {spec}"))
    });
    clients.collect()
}

/// Where anything is, or might be.
fn destinations() -> Vec<SocketAddr> {
    let addresses = ADDRESSES[..3].iter().chain(&ENDPOINTS);
    let ports = addresses.flat_map(|address| {
        let address: IpAddr = address.parse().expect("a valid address");
        [80, 8080].map(|port| SocketAddr::new(address, port))
    });
    ports.collect()
}

/// Where connects of the client get. What is counted gets where it goes by itself.
fn places(compiled: &Compiled, client: &str, to: SocketAddr) -> BTreeSet<Reached> {
    let outcomes = outcomes(compiled, scope_of(compiled, client), to);
    let place = |outcome| match outcome {
        Reached::Passed => Reached::At(to),
        other => other,
    };
    outcomes.into_iter().map(place).collect()
}

proptest! {
    /// Whatever is built once for several clients.
    #[test]
    fn what_a_client_may_depends_on_no_other_client(mesh in mesh()) {
        let with = |of: &[(&str, &str, &str)]| {
            compile(&read_all(&[&mesh.services[..], &mesh.policies, &clients(of)].concat()))
        };
        let together = with(&CLIENTS);
        for client in CLIENTS {
            let alone = with(&[client]);
            for to in destinations() {
                let of = |compiled| places(compiled, client.1, to);
                prop_assert_eq!(of(&together), of(&alone), "{} to {} in {:#?}", client.1, to, mesh);
            }
        }
    }

    #[test]
    fn policies_lead_nobody_elsewhere_and_an_audit_changes_nothing(mesh in mesh()) {
        let read = |texts: &[&[String]]| read_all(&[texts.concat(), clients(&CLIENTS)].concat());
        let open = compile(&read(&[&mesh.services]));
        let mut snapshot = read(&[&mesh.services, &mesh.policies]);
        let enforced = compile(&snapshot);
        snapshot.node.is_audited = true;
        let audited = compile(&snapshot);
        for (_, client, _) in CLIENTS {
            for to in destinations() {
                let of = |compiled| places(compiled, client, to);
                let expected = of(&open);
                prop_assert_eq!(&of(&audited), &expected, "{} to {} in {:#?}", client, to, mesh);
                let mut found = of(&enforced);
                found.remove(&Reached::Denied);
                prop_assert!(found.is_subset(&expected), "{} to {} in {:#?}", client, to, mesh);
            }
        }
    }
}

#[test]
fn workloads_that_may_do_the_same_are_one_scope_whatever_rule_lets_them() {
    let entries = (0..1000).map(|i| {
        let more = format!(
            "hosts: [h{i}.test], addresses: [10.1.{}.{}], location: MESH_INTERNAL",
            i / 250,
            1 + i % 250
        );
        seen(&format!("n{}", i % 20), &more).replace("name: a,", &format!("name: h{i},"))
    });
    let workloads = (0..1000).map(|i| local(&format!("n{}", i % 20), &format!("w{i}"), ""));
    // The first entry of each namespace is for each of its workloads by a rule of its own.
    let policies = (0..20).map(|n| {
        let rules = (n..1000)
            .step_by(20)
            .map(|i| format!("{{from: [{{source: {{serviceAccounts: [n{n}/w{i}]}}}}]}}"));
        let rules = rules.collect::<Vec<_>>().join(", ");
        let target = format!("{{group: networking.istio.io, kind: ServiceEntry, name: h{n}}}");
        authorization(
            &format!("n{n}"),
            "x",
            &format!("targetRefs: [{target}], rules: [{rules}]"),
        )
    });
    let workloads = workloads
        .enumerate()
        .map(|(i, text)| text.replace("spec: {", &format!("spec: {{serviceAccount: w{i}, ")));
    let snapshot = read_all(&entries.chain(workloads).chain(policies).collect::<Vec<_>>());
    let start = std::time::Instant::now();
    let compiled = compile(&snapshot);
    println!("compiled in {:?}", start.elapsed());
    // Two ports each: one service for those whom no rule is about, and one more for those whom some rule allows it.
    assert_eq!(compiled.program.services.len(), 2 * (1000 + 20));
    assert_eq!(compiled.program.clients.scopes.len(), 21);
}
