//! Istio's validation of the parts of a rule.

use super::{check, errors};

#[test]
fn no_part_of_a_rule_is_empty() {
    let rows: &[(&str, &[&str])] = &[
        ("", &[]),
        ("from: []", &["SH1015 spec.rules[0].from"]),
        ("from: [{}]", &["SH1015 spec.rules[0].from[0].source"]),
        (
            "from: [{source: {}}]",
            &["SH1015 spec.rules[0].from[0].source"],
        ),
        ("to: []", &["SH1015 spec.rules[0].to"]),
        ("to: [{}]", &["SH1015 spec.rules[0].to[0].operation"]),
        (
            "to: [{operation: {}}]",
            &["SH1015 spec.rules[0].to[0].operation"],
        ),
        (
            "to: [{operation: {ports: []}}]",
            &["SH1015 spec.rules[0].to[0].operation"],
        ),
        (
            "when: [{values: [a]}]",
            &["SH1015 spec.rules[0].when[0].key"],
        ),
        (
            "when: [{key: source.ip}]",
            &["SH1015 spec.rules[0].when[0].values"],
        ),
        (
            "when: [{key: source.principal, notValues: ['']}]",
            &["SH1015 spec.rules[0].when[0].notValues[0]"],
        ),
    ];
    check("  {rules: [{…}]}\n", rows);
}

#[test]
fn sources_are_checked() {
    let long = format!("serviceAccounts: [{}]", "a".repeat(321));
    let many = format!("notServiceAccounts: [{}]", vec!["a"; 17].join(", "));
    let rows: &[(&str, &[&str])] = &[
        (
            "principals: ['*'], notPrincipals: [a], namespaces: [b]",
            &[],
        ),
        ("ipBlocks: [1.2.3.4, 10.0.0.1/8, 'fd00::/8']", &[]),
        ("ipBlocks: [1.2.3]", &["SH1702 source.ipBlocks[0]"]),
        (
            "notIpBlocks: [10.0.0.0/33]",
            &["SH1702 source.notIpBlocks[0]"],
        ),
        ("remoteIpBlocks: [a]", &["SH1702 source.remoteIpBlocks[0]"]),
        (
            "requestPrincipals: ['']",
            &["SH1015 source.requestPrincipals[0]"],
        ),
        ("serviceAccounts: [a, ns/b], ipBlocks: [1.2.3.4]", &[]),
        (
            "serviceAccounts: [a], notNamespaces: [b]",
            &["SH1014 source"],
        ),
        (
            "notServiceAccounts: [a], principals: [b]",
            &["SH1014 source"],
        ),
        (
            "serviceAccounts: ['a*']",
            &["SH1704 source.serviceAccounts[0]"],
        ),
        (
            "serviceAccounts: [a/b/c]",
            &["SH1704 source.serviceAccounts[0]"],
        ),
        (
            "serviceAccounts: [/b]",
            &["SH1704 source.serviceAccounts[0]"],
        ),
        (
            "serviceAccounts: [a/]",
            &["SH1704 source.serviceAccounts[0]"],
        ),
        (&long, &["SH1704 source.serviceAccounts[0]"]),
        (&many, &["SH1119 source.notServiceAccounts"]),
        ("ports: ['80'], ipBlocks: [1.2.3.4]", &[]),
    ];
    for (row, expected) in rows {
        let found = errors(&format!("  rules: [from: [source: {{{row}}}]]\n"));
        let found: Vec<_> = found
            .iter()
            .map(|error| error.replace("spec.rules[0].from[0].", ""))
            .collect();
        assert_eq!(found, *expected, "{row}");
    }
}

#[test]
fn operations_are_checked() {
    let rows: &[(&str, &[&str])] = &[
        ("ports: ['80', '0', '65535']", &[]),
        ("ports: ['65536']", &["SH1703 operation.ports[0]"]),
        (
            "notPorts: ['+80', http]",
            &[
                "SH1703 operation.notPorts[0]",
                "SH1703 operation.notPorts[1]",
            ],
        ),
        ("ports: [80]", &["SH1011 operation.ports[0]"]),
        ("methods: ['']", &["SH1015 operation.methods[0]"]),
        ("paths: ['/a', '/a/*', '/{*}/b/{**}', '/b*/c']", &[]),
        ("paths: ['/{**}/{*}']", &["SH1705 operation.paths[0]"]),
        ("paths: ['/{id}']", &["SH1705 operation.paths[0]"]),
        ("notPaths: ['/{*}/b*']", &["SH1705 operation.notPaths[0]"]),
        ("notPaths: ['/a//{*}']", &["SH1705 operation.notPaths[0]"]),
    ];
    for (row, expected) in rows {
        let found = errors(&format!("  rules: [to: [operation: {{{row}}}]]\n"));
        let found: Vec<_> = found
            .iter()
            .map(|error| error.replace("spec.rules[0].to[0].", ""))
            .collect();
        assert_eq!(found, *expected, "{row}");
    }
}

#[test]
fn conditions_are_checked_by_their_key() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("source.ip", "1.2.3.4", &[]),
        ("source.ip", "a", &["SH1702 values[0]"]),
        ("destination.ip", "1.2.3.4/40", &["SH1702 values[0]"]),
        ("remote.ip", "10.0.0.0/8", &[]),
        ("remote.ip", "a", &["SH1702 values[0]"]),
        ("destination.port", "'80'", &[]),
        ("destination.port", "'-1'", &["SH1703 values[0]"]),
        ("source.namespace", "a*", &[]),
        ("source.principal", "'*'", &[]),
        ("source.serviceAccount", "a*", &["SH1704 values[0]"]),
        ("request.headers[:authority]", "a", &[]),
        ("request.headers", "a", &["SH1706 key"]),
        ("request.auth.claims[]", "a", &["SH1706 key"]),
        ("request.auth.principal", "a", &[]),
        ("connection.sni", "a", &[]),
        ("experimental.envoy.filters.a.b[c]", "d", &[]),
        ("destination.labels[app]", "a", &["SH1706 key"]),
        ("destination.namespace", "a", &["SH1706 key"]),
        ("destination.user", "a", &["SH1706 key"]),
        ("source.ips", "a", &["SH1706 key"]),
    ];
    for (key, value, expected) in rows {
        let spec = format!("  rules: [when: [{{key: '{key}', values: [{value}]}}]]\n");
        let found: Vec<_> = errors(&spec)
            .iter()
            .map(|error| error.replace("spec.rules[0].when[0].", ""))
            .collect();
        assert_eq!(found, *expected, "{key} {value}");
    }
}

#[test]
fn a_rule_has_so_many_sources() {
    let from = vec!["{source: {namespaces: [a]}}"; 513].join(", ");
    let found = errors(&format!("  rules: [{{from: [{from}]}}]\n"));
    assert_eq!(found, ["SH1119 spec.rules[0].from"]);
}
