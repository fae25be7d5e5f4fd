//! What the levels of a policy come to, held against a model that asks for one field at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::api::{
    ConnectionPool, Keepalive, LoadBalancer, Object, OutlierDetection, Spec, TrafficPolicy,
};
use crate::model::fixtures::{labels, rule};

use super::*;

const HOST: &str = "a.example";

/// What is in effect for a port of [`HOST`] where there are these rules, the oldest first.
fn find<'a>(
    rules: &'a [Object],
    mesh: &'a MeshConfig,
    port: u16,
    subset: Option<&str>,
) -> Result<Applied<'a>, NoSubset> {
    let specs: Vec<_> = rules
        .iter()
        .map(|object| (&object.meta, spec(object)))
        .collect();
    Policies::new(&specs, mesh, Client::unclaimed()).find("default", HOST, port, subset)
}

fn spec(object: &Object) -> &DestinationRule {
    let Spec::DestinationRule(rule) = &object.spec else {
        panic!("{object:?}")
    };
    rule
}

fn subset(name: &str) -> Subset {
    Subset {
        name: name.to_owned(),
        labels: labels(&[("version", name)]),
        traffic_policy: None,
        port_policies: BTreeMap::new(),
        line: 5,
    }
}

fn balancing(algorithm: Algorithm) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: Some(LoadBalancer {
            algorithm,
            ..LoadBalancer::default()
        }),
        ..TrafficPolicy::default()
    }
}

fn limited(most: u32) -> TrafficPolicy {
    TrafficPolicy {
        connection_pool: Some(ConnectionPool {
            max_connections: Some(most),
            ..ConnectionPool::default()
        }),
        ..TrafficPolicy::default()
    }
}

fn detecting() -> TrafficPolicy {
    TrafficPolicy {
        outlier_detection: Some(OutlierDetection::default()),
        ..TrafficPolicy::default()
    }
}

#[test]
fn a_port_inherits_nothing_and_a_subset_each_block() {
    let object = rule("r", HOST).ruling(|rule| {
        rule.traffic_policy = Some(TrafficPolicy {
            outlier_detection: Some(OutlierDetection::default()),
            ..balancing(Algorithm::Random)
        });
        rule.port_policies = BTreeMap::from([(81, limited(7))]);
        rule.subsets = vec![Subset {
            traffic_policy: Some(limited(3)),
            port_policies: BTreeMap::from([(82, balancing(Algorithm::RoundRobin))]),
            ..subset("v1")
        }];
    });
    let (rules, mesh) = ([object], MeshConfig::default());
    let seen = |port, subset| {
        let found = find(&rules, &mesh, port, subset).unwrap();
        let policy = &found.policy;
        let most = policy.connection_pool.max_connections;
        (policy.algorithm, most, policy.outlier_detection.is_some())
    };
    assert_eq!(seen(80, None), (Algorithm::Random, None, true));
    assert_eq!(seen(81, None), (Algorithm::LeastRequest, Some(7), false));
    assert_eq!(seen(80, Some("v1")), (Algorithm::Random, Some(3), true));
    assert_eq!(
        seen(81, Some("v1")),
        (Algorithm::LeastRequest, Some(3), false)
    );
    assert_eq!(seen(82, Some("v1")), (Algorithm::RoundRobin, None, false));
}

#[test]
fn subsets_of_newer_rules_are_added_and_equal_names_are_told_so() {
    let older = rule("older", HOST).ruling(|rule| {
        rule.traffic_policy = Some(balancing(Algorithm::Random));
        rule.subsets = vec![subset("v1")];
    });
    let newer = rule("newer", HOST).ruling(|rule| {
        rule.subsets = vec![
            Subset {
                traffic_policy: Some(limited(1)),
                ..subset("v1")
            },
            Subset {
                traffic_policy: Some(limited(2)),
                ..subset("v2")
            },
        ];
    });
    let mesh = MeshConfig::default();
    let rules = [older, newer];
    let specs: Vec<_> = rules
        .iter()
        .map(|object| (&object.meta, spec(object)))
        .collect();
    let diagnostics = shadowed(&specs);
    let policies = Policies::new(&specs, &mesh, Client::unclaimed());
    let most = |name| {
        let found = policies.find("default", HOST, 80, Some(name)).unwrap();
        assert_eq!(found.policy.algorithm, Algorithm::Random);
        found.policy.connection_pool.max_connections
    };
    assert_eq!((most("v1"), most("v2")), (None, Some(2)));
    let found: Vec<_> = diagnostics
        .iter()
        .map(|d| (d.code.as_str(), d.name.as_str(), d.field.as_str(), d.line))
        .collect();
    assert_eq!(
        found,
        [(
            super::super::codes::SUBSET_SHADOWED,
            "newer",
            "spec.subsets[0]",
            5
        )]
    );
}

#[test]
fn a_subset_that_no_rule_has_is_an_error_that_names_the_others() {
    let object = rule("r", HOST).ruling(|rule| rule.subsets = vec![subset("v1"), subset("v2")]);
    let (rules, mesh) = ([object], MeshConfig::default());
    let missing = |rule| NoSubset {
        host: HOST.to_owned(),
        subset: "v3".to_owned(),
        rule,
    };
    let names = vec!["v1".to_owned(), "v2".to_owned()];
    assert_eq!(
        find(&rules, &mesh, 80, Some("v3")).unwrap_err(),
        missing(Some(("DestinationRule default/r".to_owned(), names)))
    );
    assert_eq!(find(&[], &mesh, 80, Some("v3")).unwrap_err(), missing(None));
}

#[test]
fn a_connect_ends_when_the_rule_or_the_mesh_says_so_or_where_failures_count() {
    let seconds = Duration::from_secs;
    let rules = |policy| [rule("r", HOST).ruling(|rule| rule.traffic_policy = Some(policy))];
    let timed = || TrafficPolicy {
        connection_pool: Some(ConnectionPool {
            connect_timeout: Some(seconds(1)),
            ..ConnectionPool::default()
        }),
        ..detecting()
    };
    let timeout = |rules: &[Object], of_mesh: Option<u64>| {
        let mesh = MeshConfig {
            connect_timeout: of_mesh.map(seconds),
            ..MeshConfig::default()
        };
        let found = find(rules, &mesh, 80, None).unwrap();
        found.policy.connection_pool.connect_timeout
    };
    assert_eq!(timeout(&[], None), None);
    assert_eq!(timeout(&[], Some(5)), Some(seconds(5)));
    assert_eq!(timeout(&rules(detecting()), None), Some(seconds(10)));
    assert_eq!(timeout(&rules(detecting()), Some(5)), Some(seconds(5)));
    assert_eq!(timeout(&rules(timed()), Some(5)), Some(seconds(1)));
}

#[test]
fn services_with_equal_policies_share_them() {
    let object = rule("r", "*.example")
        .ruling(|rule| rule.traffic_policy = Some(balancing(Algorithm::Random)));
    let mesh = MeshConfig::default();
    let specs = [(&object.meta, spec(&object))];
    let policies = Policies::new(&specs, &mesh, Client::unclaimed());
    let of = |host| policies.of_host("default", host, 80).policy;
    assert!(Arc::ptr_eq(&of("a.example"), &of("b.example")));
    assert!(Arc::ptr_eq(&of("a.test"), &of("b.test")));
    assert!(!Arc::ptr_eq(&of("a.example"), &of("a.test")));
}

#[test]
fn where_a_policy_is_written_is_told() {
    let object = rule("r", HOST).ruling(|rule| {
        rule.traffic_policy = Some(balancing(Algorithm::Random));
        rule.subsets = vec![Subset {
            traffic_policy: Some(limited(3)),
            ..subset("v1")
        }];
    });
    let mesh = MeshConfig {
        default_traffic_policy: detecting(),
        ..MeshConfig::default()
    };
    let rules = [object];
    let reasons = |subset| find(&rules, &mesh, 80, subset).unwrap().reasons.join("\n");
    expect_test::expect![[r"
        trafficPolicy of DestinationRule default/r (r.yaml:1) applies
        outlierDetection of the mesh's defaultTrafficPolicy stands where no rule says otherwise"]]
    .assert_eq(&reasons(None));
    expect_test::expect![[r"
        trafficPolicy of DestinationRule default/r (r.yaml:1) applies
        subset v1 of DestinationRule default/r (r.yaml:5) holds endpoints with version=v1, with its trafficPolicy over that
        outlierDetection of the mesh's defaultTrafficPolicy stands where no rule says otherwise"]]
    .assert_eq(&reasons(Some("v1")));
}

fn policies() -> impl Strategy<Value = TrafficPolicy> {
    let algorithm = prop_oneof![
        Just(Algorithm::LeastRequest),
        Just(Algorithm::Random),
        Just(Algorithm::RoundRobin),
        Just(Algorithm::Passthrough),
    ];
    let tls = prop_oneof![Just(TlsMode::Disable), Just(TlsMode::Simple)];
    let pool = (
        option(1..9),
        option(1..9),
        proptest::option::of(keepalives()),
    );
    (
        proptest::option::of(algorithm),
        proptest::option::of(pool),
        proptest::option::of(1u32..9),
        proptest::option::of(tls),
    )
        .prop_map(|(algorithm, pool, failures, tls)| TrafficPolicy {
            load_balancer: algorithm.map(|algorithm| LoadBalancer {
                algorithm,
                ..LoadBalancer::default()
            }),
            connection_pool: pool.map(|(most, timeout, keepalive)| ConnectionPool {
                max_connections: most,
                connect_timeout: timeout.map(|s| Duration::from_secs(s.into())),
                keepalive,
                ..ConnectionPool::default()
            }),
            outlier_detection: failures.map(|consecutive_5xx_errors| OutlierDetection {
                consecutive_5xx_errors,
                ..OutlierDetection::default()
            }),
            tls,
        })
}

fn option(numbers: std::ops::Range<u32>) -> impl Strategy<Value = Option<u32>> {
    proptest::option::of(numbers)
}

fn keepalives() -> impl Strategy<Value = Keepalive> {
    (option(1..9), option(1..9)).prop_map(|(probes, time)| Keepalive {
        probes,
        time: time.map(|s| Duration::from_secs(s.into())),
        interval: None,
    })
}

/// A policy and one for port 80, either of which may be missing.
type Level = (Option<TrafficPolicy>, Option<TrafficPolicy>);

fn levels() -> impl Strategy<Value = Level> {
    (
        proptest::option::of(policies()),
        proptest::option::of(policies()),
    )
}

/// The levels that count for port 80, the strongest first.
fn counting<'a>(
    rule: &'a Level,
    subset: Option<&'a Level>,
    mesh: &'a TrafficPolicy,
) -> Vec<&'a TrafficPolicy> {
    let mut counting = Vec::new();
    let subset_has_port = match subset {
        Some((_, Some(of_port))) => {
            counting.push(of_port);
            true
        }
        Some((Some(policy), None)) => {
            counting.push(policy);
            false
        }
        Some((None, None)) | None => false,
    };
    if !subset_has_port {
        match rule {
            (_, Some(of_port)) => counting.push(of_port),
            (Some(policy), None) => counting.push(policy),
            (None, None) => {}
        }
    }
    counting.push(mesh);
    counting
}

proptest! {
    #[test]
    fn every_field_is_that_of_the_strongest_level_that_has_its_block(
        rule_level in levels(),
        subset_level in levels(),
        with_subset in any::<bool>(),
        mesh_policy in policies(),
        mesh_keepalive in proptest::option::of(keepalives()),
        mesh_timeout in option(10..20),
    ) {
        let mesh = MeshConfig {
            default_traffic_policy: TrafficPolicy {
                load_balancer: None,
                tls: None,
                ..mesh_policy
            },
            tcp_keepalive: mesh_keepalive,
            connect_timeout: mesh_timeout.map(|s| Duration::from_secs(s.into())),
            ..MeshConfig::default()
        };
        let rules = [rule("r", HOST).ruling(|rule| {
            let (whole, of_port) = rule_level.clone();
            rule.traffic_policy = whole;
            rule.port_policies = of_port.map(|policy| (80, policy)).into_iter().collect();
            let (whole, of_port) = subset_level.clone();
            rule.subsets = vec![Subset {
                traffic_policy: whole,
                port_policies: of_port.map(|policy| (80, policy)).into_iter().collect(),
                ..subset("v1")
            }];
        })];
        let found = find(&rules, &mesh, 80, with_subset.then_some("v1")).unwrap();

        let counting = counting(
            &rule_level,
            with_subset.then_some(&subset_level),
            &mesh.default_traffic_policy,
        );
        let first_pool = counting.iter().find_map(|policy| policy.connection_pool);
        let first_balancer = counting.iter().find_map(|policy| policy.load_balancer.clone());
        let first_outlier = counting.iter().find_map(|policy| policy.outlier_detection);
        let first_tls = counting.iter().find_map(|policy| policy.tls);
        let pool = found.policy.connection_pool;
        let keepalive = |field: fn(&Keepalive) -> Option<u32>| {
            let of_pool = first_pool.and_then(|pool| pool.keepalive).and_then(|k| field(&k));
            of_pool.or(mesh_keepalive.and_then(|k| field(&k)))
        };
        let seconds = |time: Option<Duration>| time.map(|time| u32::try_from(time.as_secs()).unwrap());

        prop_assert_eq!(pool.max_connections, first_pool.and_then(|pool| pool.max_connections));
        prop_assert_eq!(
            seconds(pool.connect_timeout),
            seconds(first_pool.and_then(|pool| pool.connect_timeout))
                .or(mesh_timeout)
                .or(first_outlier.is_some().then_some(10))
        );
        prop_assert_eq!(pool.keepalive.and_then(|k| k.probes), keepalive(|k| k.probes));
        prop_assert_eq!(
            seconds(pool.keepalive.and_then(|k| k.time)),
            keepalive(|k| k.time.map(|time| u32::try_from(time.as_secs()).unwrap()))
        );
        prop_assert_eq!(
            pool.keepalive.is_some(),
            mesh_keepalive.is_some() || first_pool.is_some_and(|pool| pool.keepalive.is_some())
        );
        prop_assert_eq!(
            found.policy.algorithm,
            first_balancer.map_or(Algorithm::LeastRequest, |balancer| balancer.algorithm)
        );
        prop_assert_eq!(found.policy.outlier_detection, first_outlier);
        prop_assert_eq!(found.tls.is_some(), first_tls == Some(TlsMode::Simple));
    }
}
