//! What is said of policies that ask for what no connection shows.

use expect_test::{Expect, expect};

use super::{decode_spec, read_spec};
use crate::api::authorization_policy::{Attribute, Unseen};

fn check(spec: &str, expect: &Expect) {
    let decoded = decode_spec(spec);
    let found = decoded.diagnostics.iter().map(|found| {
        let (line, code, field) = (found.line, &found.code, &found.field);
        let (message, hint) = (&found.message, &found.hint);
        format!(
            "{line} {:?} {code} {field}: {message}\n  {hint}\n",
            found.severity
        )
    });
    expect.assert_eq(&found.collect::<String>());
}

#[test]
fn an_allow_rule_never_matches() {
    check(
        "  rules:
  - from:
    - source:
        namespaces: [a]
        requestPrincipals: ['*']
    to:
    - operation:
        ports: ['80']
        methods: [GET]
    - operation:
        methods: [POST]
    when:
    - key: connection.sni
      values: [a.com]
  - to:
    - operation: {ports: ['80']}
",
        &expect![[r"
            9 Warning SH1709 spec.rules[0].from[0].source.requestPrincipals: the rule never matches here, as only a request or a TLS handshake would tell `requestPrincipals`, `methods`, `connection.sni`
              write a rule by ports, addresses and identities, which connections show
        "]],
    );
}

#[test]
fn other_rules_are_read_without_it() {
    check(
        "  action: DENY
  rules:
  - to:
    - operation: {paths: [/admin*]}
  - to:
    - operation:
        ports: ['80']
        notHosts: [a.com]
  - when: [{key: source.ip, values: [10.0.0.1]}]
",
        &expect![[r"
            8 Warning SH1710 spec.rules[0].to[0].operation.paths: the rule denies more than it says, as `paths` is left out: only a request or a TLS handshake would tell
              write the ports that are meant, as it is about every port without
            12 Warning SH1710 spec.rules[1].to[0].operation.notHosts: the rule denies more than it says, as `notHosts` is left out: only a request or a TLS handshake would tell
              nothing to do, if all connections to these ports are meant
        "]],
    );
    check(
        "  action: AUDIT
  rules: [when: [{key: 'request.headers[a]', values: [b]}]]
",
        &expect![[r"
            6 Warning SH1710 spec.rules[0].when[0].key: the rule audits more than it says, as `request.headers[a]` is left out: only a request or a TLS handshake would tell
              write the ports that are meant, as it is about every port without
        "]],
    );
}

#[test]
fn a_custom_policy_is_not_carried_out() {
    check(
        "  action: CUSTOM
  provider: {name: p}
  rules: [to: [operation: {paths: [/a]}]]
",
        &expect![[r"
            5 Warning SH1711 spec.action: CUSTOM is not carried out, as there is no external authorizer to ask: the policy neither allows nor denies anything
              write ALLOW or DENY where ports, addresses and identities suffice
        "]],
    );
}

#[test]
fn messages_name_what_is_wrong_and_what_to_do() {
    check(
        "  targetRef: {group: apps, kind: Deployment, name: x}
  action: DENY
",
        &expect![[r"
            4 Error SH1015 spec.rules: a policy with action DENY has no rules
              write rules; an empty one, {}, matches everything
            5 Error SH1701 spec.targetRef.kind: a policy cannot apply to `Deployment` of group `apps`
              write Service with an empty group, ServiceEntry of networking.istio.io, or Gateway or GatewayClass of gateway.networking.k8s.io
        "]],
    );
    check(
        "  rules:
  - when:
    - {key: source.ips, values: [10.0.0.1]}
    - {key: 'destination.labels[app]', values: [a]}
",
        &expect![[r"
            7 Error SH1706 spec.rules[0].when[0].key: there is no attribute `source.ips`
              did you mean `source.ip`?
            8 Error SH1706 spec.rules[0].when[1].key: there is no attribute `destination.labels[app]`
              write a selector, and remove the condition
        "]],
    );
}

#[test]
fn what_is_unseen_is_kept_by_name() {
    let policy = read_spec(
        "  action: DENY
  rules:
  - from: [source: {notRemoteIpBlocks: [10.0.0.1]}]
    to:
    - operation:
        ports: ['80']
        paths: [/a]
    when: [{key: remote.ip, values: [10.0.0.1]}]
  - to: [operation: {ports: ['80']}]
",
    );
    let [rule, other] = &policy.rules[..] else {
        panic!("{policy:?}");
    };
    let unseen = |field, line| [Unseen { field, line }];
    assert_eq!(rule.from[0].unseen, unseen("notRemoteIpBlocks", 7));
    assert_eq!(rule.to[0].unseen, unseen("paths", 11));
    assert_eq!(
        rule.when[0].attribute,
        Attribute::Unseen("remote.ip".to_owned())
    );
    assert!(rule.needs_unseen());
    assert!(!other.needs_unseen());
}
