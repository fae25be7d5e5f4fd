//! What is said of policies that have no effect, or do not know enough.

use agent::compile::compile;
use tests::clients::{authorization, read_all};

use super::{ENTRY, read};

/// Codes and messages of what is said of policies.
fn said(policies: &[String]) -> Vec<(String, String)> {
    let compiled = compile(&read(policies));
    let found = compiled.diagnostics.iter();
    let found = found.filter(|found| ["SH3023", "SH3024"].contains(&found.code.as_str()));
    found
        .map(|found| (found.code.clone(), found.message.clone()))
        .collect()
}

#[test]
fn every_target_that_is_not_there_is_named_whatever_others_are() {
    let target =
        |name: &str| format!("{{group: networking.istio.io, kind: ServiceEntry, name: {name}}}");
    let of = |names: &[&str]| {
        let targets: Vec<String> = names.iter().map(|name| target(name)).collect();
        let spec = format!("targetRefs: [{}], rules: [{{}}]", targets.join(", "));
        said(&[authorization("pay", "x", &spec)])
    };
    assert_eq!(of(&["a"]), []);
    let found = of(&["a", "b", "c"]);
    let [(_, b), (_, c)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(b.contains("there is no ServiceEntry pay/b"), "{b}");
    assert!(c.contains("there is no ServiceEntry pay/c"), "{c}");
    // One that is there, but for nobody, is not said to be missing.
    let hidden = ENTRY.replace("spec: {", "spec: {exportTo: ['~'], ");
    let texts = [
        hidden,
        authorization("pay", "x", &format!("targetRefs: [{}]", target("a"))),
    ];
    let compiled = compile(&read_all(&texts));
    let mut messages = compiled.diagnostics.iter().map(|found| &*found.message);
    let expected = "ServiceEntry pay/a is exported to nobody, so the policy has no effect on it";
    assert!(
        messages.any(|message| message == expected),
        "{:?}",
        compiled.diagnostics
    );
}

#[test]
fn of_whom_too_little_is_known_is_named_where_a_rule_asked_for_it() {
    let policy = |blocks: &str, port: u16| {
        let spec = format!(
            "action: DENY, rules: [{{from: [{{source: {{{blocks}}}}}], to: [{{operation: {{ports: ['{port}']}}}}]}}]"
        );
        said(&[authorization("pay", "x", &spec)])
    };
    let found = policy("ipBlocks: [10.9.0.0/16]", 8080);
    let [(code, message)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(code, "SH3024");
    assert!(
        message.contains("ops/o") && !message.contains("shop/s"),
        "{message}"
    );
    assert_eq!(policy("namespaces: [shop]", 8080), []);
    assert_eq!(
        policy("ipBlocks: [10.9.0.0/16]", 9),
        [],
        "nobody gets to that port"
    );
}
