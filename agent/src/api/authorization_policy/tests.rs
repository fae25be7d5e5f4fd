//! Istio's validation of `AuthorizationPolicy`, a row for each rule, what a valid one is read as, and what is said of what
//! no connection shows.

mod parts;
mod unseen;

use std::collections::BTreeMap;

use super::super::attachment::{Target, TargetKind};
use super::super::decode::{Decoded, decode};
use super::super::object::Spec;
use super::super::specimen;
use super::*;

fn decode_spec(spec: &str) -> Decoded {
    specimen::decode_spec("AuthorizationPolicy", spec)
}

fn errors(spec: &str) -> Vec<String> {
    specimen::errors(&decode_spec(spec))
}

fn read_spec(spec: &str) -> AuthorizationPolicy {
    let mut decoded = decode_spec(spec);
    match decoded.objects.pop().map(|object| object.spec) {
        Some(Spec::AuthorizationPolicy(policy)) => policy,
        other => panic!("{other:?} {:?}", decoded.diagnostics),
    }
}

/// Each row is what stands in place of `…` in `around`, and the errors that it makes.
fn check(around: &str, rows: &[(&str, &[&str])]) {
    for (row, expected) in rows {
        let spec = around.replace('…', row);
        assert_eq!(errors(&spec), *expected, "{spec}");
    }
}

fn any_of<T: Clone>(values: &[T]) -> Values<T> {
    Values {
        any_of: values.to_vec(),
        none_of: Vec::new(),
    }
}

fn none_of<T: Clone>(values: &[T]) -> Values<T> {
    Values {
        any_of: Vec::new(),
        none_of: values.to_vec(),
    }
}

fn account(namespace: &str, name: &str) -> ServiceAccount {
    ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

#[test]
fn a_valid_one_is_read_with_all_that_connections_show() {
    let policy = read_spec(
        "  selector: {matchLabels: {app: x}}
  action: DENY
  rules:
  - from:
    - source:
        principals: ['cluster.local/ns/a/*']
        notNamespaces: [b]
        ipBlocks: [10.1.2.3/8, '2001:db8::1']
        trustDomains: [td]
    - source:
        serviceAccounts: [sa, ns2/sb]
    to:
    - operation: {ports: ['80', '0443'], notPorts: ['0']}
    when:
    - {key: source.ip, notValues: [192.0.2.0/24]}
    - {key: source.serviceAccount, values: [sa]}
    - {key: destination.port, values: ['80']}
    - {key: source.trustDomain, values: [td]}
  - {}
",
    );
    let condition = |attribute, line| Condition { attribute, line };
    let texts = |text: &str| any_of(&[text.to_owned()]);
    let blocks = ["10.1.2.3/8", "2001:db8::1/128"].map(|block| block.parse().unwrap());
    let rule = AccessRule {
        from: vec![
            Source {
                principals: texts("cluster.local/ns/a/*"),
                namespaces: none_of(&["b".to_owned()]),
                ip_blocks: any_of(&blocks),
                trust_domains: texts("td"),
                line: 9,
                ..Source::default()
            },
            Source {
                service_accounts: any_of(&[account("ns1", "sa"), account("ns2", "sb")]),
                line: 14,
                ..Source::default()
            },
        ],
        to: vec![Operation {
            ports: Values {
                any_of: vec![80, 443],
                none_of: vec![0],
            },
            unseen: Vec::new(),
            line: 17,
        }],
        when: vec![
            condition(
                Attribute::SourceIp(none_of(&["192.0.2.0/24".parse().unwrap()])),
                19,
            ),
            condition(
                Attribute::SourceServiceAccount(any_of(&[account("ns1", "sa")])),
                20,
            ),
            condition(Attribute::DestinationPort(any_of(&[80])), 21),
            condition(Attribute::SourceTrustDomain(texts("td")), 22),
        ],
        line: 8,
    };
    let everything = AccessRule {
        line: 23,
        ..AccessRule::default()
    };
    let expected = AuthorizationPolicy {
        attachment: Attachment {
            selector: Some(BTreeMap::from([("app".to_owned(), "x".to_owned())])),
            targets: Vec::new(),
        },
        action: PolicyAction::Deny,
        is_dry_run: false,
        rules: vec![rule, everything],
    };
    assert_eq!(policy, expected);
}

#[test]
fn a_policy_without_anything_allows_nothing_everywhere() {
    assert_eq!(read_spec("  {}\n"), AuthorizationPolicy::default());
}

#[test]
fn a_policy_names_its_targets_by_kind() {
    let policy = read_spec(
        "  targetRefs:
  - {kind: Service, group: '', name: a}
  - {kind: ServiceEntry, group: networking.istio.io, name: b}
  - {kind: Gateway, group: gateway.networking.k8s.io, name: c}
  - {kind: GatewayClass, group: gateway.networking.k8s.io, name: d}
",
    );
    let target = |kind, name: &str, line| Target {
        kind,
        name: name.to_owned(),
        line,
    };
    let expected = [
        target(TargetKind::Service, "a", 6),
        target(TargetKind::ServiceEntry, "b", 7),
        target(TargetKind::Gateway, "c", 8),
        target(TargetKind::GatewayClass, "d", 9),
    ];
    assert_eq!(policy.attachment.targets, expected);
    let policy = read_spec("  targetRef: {kind: Service, name: a}\n");
    assert_eq!(
        policy.attachment.targets,
        [target(TargetKind::Service, "a", 5)]
    );
}

#[test]
fn what_a_policy_applies_to_is_checked() {
    let rows: &[(&str, &[&str])] = &[
        ("selector: {matchLabels: {app: ''}}", &[]),
        (
            "selector: {matchLabels: {app: 'x*'}}",
            &["SH1116 spec.selector.matchLabels.app"],
        ),
        (
            "selector: {matchLabels: {'': x}}",
            &[r#"SH1116 spec.selector.matchLabels[""]"#],
        ),
        (
            "selector: {matchLabels: {a: b}}, targetRef: {kind: Service, name: x}",
            &["SH1014 spec.targetRef"],
        ),
        (
            "targetRef: {kind: Service, name: x}, targetRefs: [{kind: Service, name: x}]",
            &["SH1014 spec.targetRefs"],
        ),
        (
            "targetRef: {kind: Service}",
            &["SH1015 spec.targetRef.name"],
        ),
        (
            "targetRef: {kind: Service, name: x, namespace: ns1}",
            &["SH1701 spec.targetRef.namespace"],
        ),
        (
            "targetRefs: [{kind: Gateway, group: networking.istio.io, name: x}]",
            &["SH1701 spec.targetRefs[0].kind"],
        ),
        (
            "targetRefs: [{kind: Pod, name: x}]",
            &["SH1701 spec.targetRefs[0].kind"],
        ),
    ];
    check("  {…}\n", rows);
    let long = format!(
        "  targetRef: {{kind: Service, name: {}}}\n",
        "a".repeat(254)
    );
    assert_eq!(errors(&long), ["SH1119 spec.targetRef.name"]);
    let targets = vec!["{kind: Service, name: x}"; 17].join(", ");
    assert_eq!(
        errors(&format!("  targetRefs: [{targets}]\n")),
        ["SH1119 spec.targetRefs"]
    );
}

#[test]
fn rules_and_provider_fit_the_action() {
    let rows: &[(&str, &[&str])] = &[
        ("action: ALLOW", &[]),
        ("action: AUDIT", &[]),
        ("action: DENY", &["SH1015 spec.rules"]),
        ("action: DENY, rules: []", &["SH1015 spec.rules"]),
        ("action: DENY, rules: [{}]", &[]),
        (
            "action: CUSTOM, provider: {name: p}",
            &["SH1015 spec.rules"],
        ),
        ("action: CUSTOM, provider: {name: p}, rules: [{}]", &[]),
        ("action: CUSTOM, rules: [{}]", &["SH1015 spec.provider"]),
        (
            "action: CUSTOM, provider: {name: ''}, rules: [{}]",
            &["SH1015 spec.provider.name"],
        ),
        ("provider: {name: p}", &["SH1014 spec.provider"]),
        ("action: REFUSE", &["SH1011 spec.action"]),
        ("rules: [null]", &["SH1011 spec.rules[0]"]),
    ];
    check("  {…}\n", rows);
    let rules = vec!["{}"; 513].join(", ");
    assert_eq!(
        errors(&format!("  rules: [{rules}]\n")),
        ["SH1119 spec.rules"]
    );
}

#[test]
fn an_external_authorizer_is_not_asked_by_identities() {
    let rows: &[(&str, &[&str])] = &[
        ("from: [{source: {ipBlocks: [10.0.0.1]}}]", &[]),
        (
            "from: [{source: {notPrincipals: [a]}}]",
            &["SH1707 spec.rules[0].from[0].source.notPrincipals"],
        ),
        ("when: [{key: destination.port, values: ['1']}]", &[]),
        (
            "when: [{key: source.namespace, values: [a]}]",
            &["SH1707 spec.rules[0].when[0].key"],
        ),
        (
            "when: [{key: 'request.auth.claims[iss]', values: [a]}]",
            &["SH1707 spec.rules[0].when[0].key"],
        ),
    ];
    check(
        "  {action: CUSTOM, provider: {name: p}, rules: [{…}]}\n",
        rows,
    );
}

#[test]
fn a_dry_run_is_for_policies_that_allow_or_deny() {
    let decoded = |kind: &str, value: &str, spec: &str| {
        decode(
            "x",
            &format!(
                "apiVersion: {kind}\nmetadata:\n  name: x\n  annotations:\n    istio.io/dry-run: '{value}'\nspec: {spec}\n"
            ),
        )
    };
    let policy = "security.istio.io/v1\nkind: AuthorizationPolicy";
    for (value, expected) in [("true", true), ("T", true), ("0", false)] {
        let decoded = decoded(policy, value, "{action: DENY, rules: [{}]}");
        assert_eq!(decoded.diagnostics, []);
        match &decoded.objects[0].spec {
            Spec::AuthorizationPolicy(policy) => assert_eq!(policy.is_dry_run, expected),
            other => panic!("{other:?}"),
        }
    }
    let entry = "networking.istio.io/v1\nkind: WorkloadEntry";
    for (kind, value, spec) in [
        (policy, "yes", "{}"),
        (policy, "true", "{action: AUDIT}"),
        (entry, "true", "{address: 1.2.3.4}"),
    ] {
        let decoded = decoded(kind, value, spec);
        let expected = [r#"SH1708 metadata.annotations["istio.io/dry-run"]"#];
        assert_eq!(specimen::errors(&decoded), expected, "{kind} {spec}");
        assert_eq!(decoded.diagnostics[0].line, 6);
    }
}
