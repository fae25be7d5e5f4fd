//! The forms that a mesh's configuration comes in, and what is said of its fields.

use super::super::diagnostic::Severity;
use super::*;

fn read_ok(text: &str) -> MeshConfig {
    match read("mesh.yaml", text) {
        Ok((mesh, _)) => mesh,
        Err(found) => panic!("{found:?}"),
    }
}

fn findings(text: &str) -> Vec<String> {
    let found = match read("mesh.yaml", text) {
        Ok((_, found)) => {
            assert!(found.iter().all(|d| d.severity != Severity::Error));
            found
        }
        Err(found) => {
            assert!(found.iter().any(|d| d.severity == Severity::Error));
            found
        }
    };
    found
        .iter()
        .map(|d| format!("{} {:?} {} {}", d.line, d.severity, d.code, d.field))
        .collect()
}

const MESH: &str = "dnsRefreshRate: 5s\nrootNamespace: root\ndefaultServiceExportTo: ['.']\n";

fn assert_is_mesh(mesh: &MeshConfig) {
    assert_eq!(mesh.dns_refresh_rate, Duration::from_secs(5));
    assert_eq!(mesh.root_namespace, "root");
    assert_eq!(mesh.default_service_export_to, ["."]);
    assert_eq!(mesh.default_destination_rule_export_to, ["*"]);
}

#[test]
fn nothing_written_means_istio_s_defaults() {
    assert_eq!(read_ok(""), MeshConfig::default());
    assert_eq!(read_ok("{}"), MeshConfig::default());
}

#[test]
fn every_form_of_the_configuration_is_read() {
    let indented = MESH.replace('\n', "\n    ");
    assert_is_mesh(&read_ok(MESH));
    assert_is_mesh(&read_ok(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio}}\ndata:\n  mesh: |\n    {indented}\n"
    )));
    assert_is_mesh(&read_ok(&format!(
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec:\n  meshConfig:\n    {indented}\n"
    )));
    assert_is_mesh(&read_ok(
        &MESH.replace("dnsRefreshRate", "dns_refresh_rate"),
    ));
}

#[test]
fn only_networks_with_gateways_are_kept() {
    let networks = "networks:\n  a:\n    gateways:\n    - {address: 1.1.1.1, port: 15443}\n  b:\n    endpoints: [{fromRegistry: x}]\n";
    for text in [
        networks.to_owned(),
        format!("meshNetworks:\n  {}", networks.replace('\n', "\n  ")),
    ] {
        let kept: Vec<_> = read_ok(&text).gateway_networks.into_iter().collect();
        assert_eq!(kept, ["a"], "{text}");
    }
    let both = format!(
        "kind: ConfigMap\ndata:\n  meshNetworks: |\n    {}\n  mesh: ''\n",
        networks.replace('\n', "\n    ")
    );
    assert_eq!(read_ok(&both).gateway_networks.len(), 1);
    assert_eq!(
        findings(networks),
        ["6 Warning SH1012 networks.b.endpoints"]
    );
}

#[test]
fn fields_are_checked_at_their_line() {
    let cases: &[(&str, &[&str])] = &[
        ("ca: x\n", &["1 Warning SH1012 ca"]),
        ("\nrootNamespce: x\n", &["2 Warning SH1010 rootNamespce"]),
        ("dnsRefreshRate: 5\n", &["1 Error SH1011 dnsRefreshRate"]),
        ("dnsRefreshRate: 0s\n", &["1 Error SH1303 dnsRefreshRate"]),
        ("rootNamespace: a.b\n", &["1 Error SH1118 rootNamespace"]),
        (
            "defaultDestinationRuleExportTo: ['~']\n",
            &["1 Error SH1118 defaultDestinationRuleExportTo[0]"],
        ),
        (
            "localityLbSetting:\n  distribute:\n  - from: a\n    to: {b: 50}\n",
            &["4 Error SH1307 localityLbSetting.distribute[0].to"],
        ),
        ("kind: ServiceEntry\n", &["1 Error SH1401 "]),
        (
            "rootNamespace: a\n---\nrootNamespace: b\n",
            &["3 Error SH1401 "],
        ),
        ("a: [\n", &["2 Error SH1001 "]),
        (
            "kind: ConfigMap\ndata:\n  mesh: |\n    enabled: 1\n    dnsRefreshRate: x\n",
            &["4 Warning SH1010 enabled", "5 Error SH1011 dnsRefreshRate"],
        ),
        (
            "networks: {a: {gateways: [{port: 1}]}}\n",
            &["1 Error SH1402 networks.a.gateways[0]"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(findings(text), *expected, "{text}");
    }
}

#[test]
fn the_locality_setting_is_that_of_a_rule() {
    let mesh = read_ok("localityLbSetting:\n  enabled: false\n  failover: [{from: a, to: b}]\n");
    assert!(!mesh.locality_lb.enabled);
    assert_eq!(mesh.locality_lb.failover[0].to, "b");
}

#[test]
fn what_the_mesh_says_of_connections_is_read_as_a_rule_is() {
    let mesh = read_ok(
        "connectTimeout: 3s
tcpKeepalive: {probes: 3, time: 1m}
defaultTrafficPolicy:
  connectionPool: {tcp: {maxConnections: 5}}
  outlierDetection: {interval: 1s}
",
    );
    assert_eq!(mesh.connect_timeout, Some(Duration::from_secs(3)));
    let keepalive = mesh.tcp_keepalive.unwrap();
    assert_eq!(
        (keepalive.probes, keepalive.time, keepalive.interval),
        (Some(3), Some(Duration::from_mins(1)), None)
    );
    let policy = mesh.default_traffic_policy;
    assert_eq!(policy.connection_pool.unwrap().max_connections, Some(5));
    let detection = policy.outlier_detection.unwrap();
    assert_eq!(detection.interval, Duration::from_secs(1));
    assert_eq!((policy.load_balancer, policy.tls), (None, None));
}

#[test]
fn what_the_mesh_says_of_connections_is_checked_as_a_rule_is() {
    let text = "connectTimeout: 1us
tcpKeepalive: {interval: 0s}
defaultTrafficPolicy:
  connectionPool: {}
  outlierDetection: {maxEjectionPercent: 101}
";
    assert_eq!(
        findings(text),
        [
            "1 Error SH1303 connectTimeout",
            "2 Error SH1303 tcpKeepalive.interval",
            "4 Error SH1302 defaultTrafficPolicy.connectionPool",
            "5 Error SH1304 defaultTrafficPolicy.outlierDetection.maxEjectionPercent",
        ]
    );
}

#[test]
fn the_first_policy_whose_rules_all_match_says_how_far_entries_are_seen() {
    let mesh = read_ok(
        "serviceEntryVisibility:
  defaultVisibility: NAMESPACE
  applyToSidecars: true
  policies:
  - visibility: NONE
    matchingRules:
    - namespaceSelector: {matchLabels: {tier: lab}}
    - namespaceSelector: {matchExpressions: [{key: keep, operator: DoesNotExist}]}
  - visibility: PUBLIC
    matchingRules:
    - namespaceSelector: {matchExpressions: [{key: tier, operator: In, values: [lab, prod]}]}
  - visibility: NONE
    matchingRules:
    - namespaceSelector: {matchExpressions: [{key: old, operator: Exists}, {key: tier, operator: NotIn, values: [dev]}]}
  - visibility: PUBLIC
    matchingRules: [{}]
",
    );
    let of = |labels: &[(&str, &str)]| {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        mesh.visibility.of("ns", &labels.collect())
    };
    assert_eq!(of(&[("tier", "lab")]), Visibility::None);
    assert_eq!(of(&[("tier", "lab"), ("keep", "")]), Visibility::Public);
    assert_eq!(of(&[("tier", "prod"), ("old", "")]), Visibility::Public);
    assert_eq!(of(&[("old", "")]), Visibility::None);
    assert_eq!(of(&[("old", ""), ("tier", "dev")]), Visibility::Namespace);
    assert_eq!(of(&[]), Visibility::Namespace);
    let catch_all = read_ok("serviceEntryVisibility: {policies: [{visibility: NONE}]}");
    assert_eq!(
        catch_all
            .visibility
            .of("ns", &std::collections::BTreeMap::new()),
        Visibility::None
    );
}

#[test]
fn a_selector_that_says_nothing_clear_is_an_error() {
    let of = |expression: &str| {
        findings(&format!(
            "serviceEntryVisibility: {{policies: [{{matchingRules: [{{namespaceSelector: {{matchExpressions: [{{{expression}}}]}}}}]}}]}}"
        ))
    };
    let at =
        "serviceEntryVisibility.policies[0].matchingRules[0].namespaceSelector.matchExpressions[0]";
    for (expression, field) in [
        ("key: a, operator: Is", "operator"),
        ("key: a, operator: In", "values"),
        ("key: a, operator: Exists, values: [b]", "values"),
    ] {
        assert_eq!(
            of(expression),
            [format!("1 Error SH1116 {at}.{field}")],
            "{expression}"
        );
    }
    assert_eq!(
        findings("serviceEntryVisibility: {defaultVisibility: SECRET}"),
        ["1 Error SH1011 serviceEntryVisibility.defaultVisibility"]
    );
}
