//! Which `DestinationRule` and which locality setting counts for a service.

use super::*;

fn policy() -> TrafficPolicy {
    TrafficPolicy::default()
}

fn tls(mode: TlsMode) -> TrafficPolicy {
    TrafficPolicy {
        tls: Some(mode),
        ..policy()
    }
}

fn detecting() -> TrafficPolicy {
    TrafficPolicy {
        outlier_detection: Some(OutlierDetection::default()),
        ..policy()
    }
}

fn with(object: Object, policy: TrafficPolicy) -> Object {
    object.ruling(|rule| rule.traffic_policy = Some(policy))
}

/// The name of the rule that counts for port 80 of the host `a.b.example`, in `namespace`.
fn deciding(rules: &[Object], namespace: &str, mesh: &MeshConfig) -> Option<String> {
    let mut objects = vec![entry("a.b.example").in_namespace(namespace)];
    objects.extend_from_slice(rules);
    let mut snapshot = snapshot(&objects);
    snapshot.mesh = mesh.clone();
    let compiled = compile(&snapshot);
    let service = compiled.program.services.values().next().unwrap();
    let reason = &service.reasons[0];
    let named = reason.strip_prefix("trafficPolicy of DestinationRule ")?;
    named.split(' ').next().map(str::to_owned)
}

fn ruled(name: &str, namespace: &str, host: &str) -> Object {
    with(rule(name, host), policy()).in_namespace(namespace)
}

fn exported(object: Object, to: &[&str]) -> Object {
    object.ruling(|rule| rule.export_to = to.iter().map(|to| (*to).to_owned()).collect())
}

#[test]
fn the_most_specific_host_of_a_namespace_decides() {
    let rules = [
        ruled("all", "default", "*"),
        ruled("wide", "default", "*.example"),
        ruled("narrow", "default", "*.b.example"),
        ruled("exact", "default", "a.b.example"),
        ruled("no-match", "default", "*.c.example"),
    ];
    let mesh = MeshConfig::default();
    let found = |rules: &[Object]| deciding(rules, "default", &mesh);
    assert_eq!(found(&rules), Some("default/exact".into()));
    assert_eq!(found(&rules[..3]), Some("default/narrow".into()));
    assert_eq!(found(&rules[..2]), Some("default/wide".into()));
    assert_eq!(found(&rules[..1]), Some("default/all".into()));
    assert_eq!(found(&rules[4..]), None);
}

#[test]
fn the_clients_namespace_comes_before_the_services_before_the_root() {
    let rules = [
        ruled("local", "default", "*.example"),
        ruled("remote", "shop", "a.b.example"),
        ruled("root", "istio-system", "a.b.example"),
        ruled("elsewhere", "other", "a.b.example"),
    ];
    let mesh = MeshConfig::default();
    let found = |rules: &[Object]| deciding(rules, "shop", &mesh);
    assert_eq!(found(&rules), Some("default/local".into()));
    assert_eq!(found(&rules[1..]), Some("shop/remote".into()));
    assert_eq!(found(&rules[2..]), Some("istio-system/root".into()));
    assert_eq!(found(&rules[3..]), None);
}

#[test]
fn a_rule_counts_where_it_is_exported_to() {
    let mesh = MeshConfig::default();
    let root = |to: &[&str]| exported(ruled("root", "istio-system", "*"), to);
    assert_eq!(
        deciding(&[root(&["*"])], "shop", &mesh),
        Some("istio-system/root".into())
    );
    assert_eq!(deciding(&[root(&["."])], "shop", &mesh), None);
    let local = exported(ruled("local", "default", "*"), &["other"]);
    assert_eq!(deciding(&[local], "shop", &mesh), None);
    let private = exported(ruled("private", "shop", "*"), &["."]);
    assert_eq!(deciding(&[private], "shop", &mesh), None);
}

#[test]
fn a_more_specific_rule_that_is_not_exported_hides_the_others_of_its_namespace() {
    let rules = [
        exported(ruled("hidden", "shop", "a.b.example"), &["other"]),
        ruled("wild", "shop", "*.example"),
        ruled("root", "istio-system", "*"),
    ];
    let found = deciding(&rules, "shop", &MeshConfig::default());
    assert_eq!(found, Some("istio-system/root".into()));
}

#[test]
fn a_rule_for_a_short_name_never_matches_a_short_host() {
    let objects = [entry("mydb"), with(rule("r", "mydb"), tls(TlsMode::Simple))];
    let compiled = compiled(&objects, &[]);
    assert_eq!(service(&compiled, "mydb", 80).action, Action::Balance);
}

#[test]
fn of_two_rules_for_a_host_the_oldest_with_a_policy_decides() {
    let mesh = MeshConfig::default();
    let newer = ruled("newer", "default", "a.b.example").created("2");
    let older = ruled("older", "default", "a.b.example").created("1");
    let found = deciding(&[newer.clone(), older.clone()], "default", &mesh);
    assert_eq!(found, Some("default/older".into()));
    let bare = rule("bare", "a.b.example").created("0");
    assert_eq!(
        deciding(&[newer, bare], "default", &mesh),
        Some("default/newer".into())
    );
}

#[test]
fn the_rule_that_does_not_count_is_told_so() {
    let objects = [
        ruled("newer", "default", "x.example").created("2"),
        ruled("older", "default", "x.example").created("1"),
        rule("selective", "y.example")
            .ruling(|rule| rule.workload_selector = Some(labels(&[("app", "x")]))),
    ];
    assert_eq!(
        findings(&compiled(&objects, &[])),
        [
            format!("{} newer", codes::RULE_SHADOWED),
            format!("{} selective", codes::NO_SUCH_CLIENT),
        ]
    );
}

#[test]
fn tls_is_refused_and_reported_at_the_rule_with_the_services() {
    for mode in [TlsMode::Simple, TlsMode::Mutual, TlsMode::IstioMutual] {
        let objects = [
            entry("a.example"),
            entry("b.example"),
            with(rule("r", "*.example"), tls(mode)),
        ];
        let compiled = compiled(&objects, &[]);
        let refused = Action::Refuse(RefuseReason::TlsOrigination);
        assert_eq!(service(&compiled, "a.example", 80).action, refused);
        assert_eq!(
            findings(&compiled),
            [format!("{} r", codes::TLS_ORIGINATION)]
        );
        let message = &compiled.diagnostics[0].message;
        assert!(
            message.contains("default/a.example:80, default/b.example:80"),
            "{message}"
        );
    }
    let plain = [
        entry("a.example"),
        with(rule("r", "a.example"), tls(TlsMode::Disable)),
    ];
    assert_eq!(
        service(&compiled(&plain, &[]), "a.example", 80).action,
        Action::Balance
    );
}

#[test]
fn a_policy_of_the_port_replaces_the_whole_policy() {
    let object = with(rule("r", "a.example"), tls(TlsMode::Simple))
        .ruling(|rule| rule.port_policies = BTreeMap::from([(80, detecting())]));
    let two = entry("a.example").saying(|e| e.ports.push(port("other", 81, Protocol::Tcp)));
    let compiled = compiled(&[two, object], &[]);
    assert_eq!(service(&compiled, "a.example", 80).action, Action::Balance);
    let refused = Action::Refuse(RefuseReason::TlsOrigination);
    assert_eq!(service(&compiled, "a.example", 81).action, refused);
}

fn near_and_far() -> Object {
    entry("a.example").with_endpoints(vec![
        endpoint("10.0.0.1").within("r2/z1"),
        endpoint("10.0.0.2").within("r1/z1"),
    ])
}

/// The endpoints of [`near_and_far`] as a node in r1/z1 sees them.
fn seen(objects: &[Object], mesh: LocalityLbSetting) -> Vec<String> {
    let mut snapshot = snapshot(objects);
    snapshot.node.locality = crate::api::Locality::parse("r1/z1");
    snapshot.mesh.locality_lb = mesh;
    endpoints(&compile(&snapshot), "a.example", 80)
}

fn disabled() -> LocalityLbSetting {
    LocalityLbSetting {
        enabled: false,
        ..LocalityLbSetting::default()
    }
}

fn distributing() -> LocalityLbSetting {
    LocalityLbSetting {
        distribute: vec![Distribute {
            from: "r1".to_owned(),
            to: [("r1".to_owned(), 80), ("r2".to_owned(), 20)].into(),
        }],
        ..LocalityLbSetting::default()
    }
}

const EVEN: [&str; 2] = ["10.0.0.1:80 1", "10.0.0.2:80 1"];
const NEAR: [&str; 2] = ["10.0.0.2:80 1", "10.0.0.1:80 0"];

#[test]
fn outlier_detection_turns_failover_on_unless_the_mesh_turns_it_off() {
    let detects = [near_and_far(), with(rule("r", "a.example"), detecting())];
    assert_eq!(seen(&detects[..1], LocalityLbSetting::default()), EVEN);
    assert_eq!(seen(&detects, LocalityLbSetting::default()), NEAR);
    assert_eq!(seen(&detects, disabled()), EVEN);
}

#[test]
fn the_setting_of_the_rule_stands_in_place_of_the_meshs_whole() {
    let own = |setting| {
        let own = TrafficPolicy {
            load_balancer: Some(LoadBalancer {
                locality_lb: Some(setting),
                ..LoadBalancer::default()
            }),
            ..detecting()
        };
        [near_and_far(), with(rule("r", "a.example"), own)]
    };
    assert_eq!(seen(&own(disabled()), distributing()), EVEN);
    assert_eq!(
        seen(&own(LocalityLbSetting::default()), distributing()),
        NEAR
    );
    assert_eq!(
        seen(&own(distributing()), disabled()),
        ["10.0.0.1:80 1", "10.0.0.2:80 4"]
    );
}

#[test]
fn distribute_of_the_mesh_needs_no_outlier_detection() {
    assert_eq!(
        seen(&[near_and_far()], distributing()),
        ["10.0.0.1:80 1", "10.0.0.2:80 4"]
    );
}

fn annotated(value: &str) -> Object {
    let mut object = near_and_far();
    let annotation = (setting::TRAFFIC_DISTRIBUTION.to_owned(), value.to_owned());
    object.meta.annotations.extend([annotation]);
    object
}

#[test]
fn traffic_distribution_prefers_what_is_near_without_outlier_detection() {
    assert_eq!(seen(&[annotated("PreferClose")], disabled()), NEAR);
    let compiled = compiled(&[annotated("PreferSameNode")], &[]);
    assert_eq!(
        findings(&compiled),
        [format!("{} a.example", codes::TRAFFIC_DISTRIBUTION)]
    );
}

#[test]
fn a_traffic_distribution_that_is_not_known_is_reported_and_has_no_effect() {
    assert_eq!(
        seen(&[annotated("Nearby")], LocalityLbSetting::default()),
        EVEN
    );
    let compiled = compiled(&[annotated("Nearby")], &[]);
    assert_eq!(
        findings(&compiled),
        [format!("{} a.example", codes::TRAFFIC_DISTRIBUTION)]
    );
}

#[test]
fn the_reasons_name_the_rule_the_setting_and_the_shares() {
    let mut snapshot = snapshot(&[near_and_far(), with(rule("r", "a.example"), detecting())]);
    snapshot.node.locality = crate::api::Locality::parse("r1/z1");
    let compiled = compile(&snapshot);
    expect_test::expect![[r"
        trafficPolicy of DestinationRule default/r (r.yaml:1) applies
        localityLbSetting of the mesh gives priorities by region, zone and subzone; this node's locality is r1/z1
        1 of 2 endpoints share the connects by their weights; priority 0 of 0 to 1 can take all of the load"]]
    .assert_eq(&service(&compiled, "a.example", 80).explanation().join("\n"));
}
