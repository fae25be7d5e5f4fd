//! Whatever the policies are, who may connect is what a reader of them would say.

use agent::compile::compile;
use proptest::prelude::*;
use tests::clients::{authorization, local, read_all, seen};

use super::{may, read};

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
