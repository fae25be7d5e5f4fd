use proptest::prelude::*;

use super::*;

struct Site {
    locality: Locality,
    labels: BTreeMap<String, String>,
    network: String,
    weight: u32,
}

fn site(locality: &str, weight: u32) -> Site {
    Site {
        locality: Locality::parse(locality),
        labels: BTreeMap::new(),
        network: String::new(),
        weight,
    }
}

impl Site {
    fn network(mut self, network: &str) -> Self {
        network.clone_into(&mut self.network);
        self
    }

    fn label(mut self, label: &str, value: &str) -> Self {
        self.labels.insert(label.to_owned(), value.to_owned());
        self
    }
}

fn node(locality: &str) -> Node {
    Node {
        locality: Locality::parse(locality),
        network: String::new(),
        ..Node::default()
    }
}

fn arranged(
    sites: &[Site],
    change: impl FnOnce(&mut LocalityLbSetting),
    failover: bool,
    node: &Node,
) -> Arrangement {
    let mut locality_lb = LocalityLbSetting::default();
    change(&mut locality_lb);
    let setting = Setting {
        locality_lb: Cow::Owned(locality_lb),
        failover,
    };
    let places: Vec<Place> = sites
        .iter()
        .map(|site| Place {
            locality: &site.locality,
            network: &site.network,
            labels: &site.labels,
            weight: site.weight,
        })
        .collect();
    arrange(&places, Some(&setting), node)
}

fn priorities(
    sites: &[Site],
    change: impl FnOnce(&mut LocalityLbSetting),
    node: &Node,
) -> Vec<u32> {
    arranged(sites, change, true, node).priorities
}

fn failover(from: &str, to: &str) -> Failover {
    Failover {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

fn to(parts: &[(&str, u32)]) -> BTreeMap<String, u32> {
    parts.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect()
}

/// Part of the whole that each site gets, in percent, by the weights of localities.
fn parts_of(arrangement: &Arrangement) -> Vec<u64> {
    let weights = arrangement.weights.as_ref().unwrap();
    arrangement
        .groups
        .iter()
        .map(|group| weights[*group as usize])
        .collect()
}

fn four_distances() -> Vec<Site> {
    vec![
        site("far/z1/s1", 1),
        site("r1/z2/s1", 1),
        site("r1/z1/s1", 1),
        site("r1/z1/s2", 1),
    ]
}

#[test]
fn without_outlier_detection_all_endpoints_are_equal() {
    let arrangement = arranged(&four_distances(), |_| {}, false, &node("r1/z1/s1"));
    assert_eq!(arrangement.priorities, [0, 0, 0, 0]);
    assert_eq!(arrangement.weights, None);
}

#[test]
fn failover_goes_from_subzone_to_zone_to_region_to_anywhere() {
    let found = priorities(&four_distances(), |_| {}, &node("r1/z1/s1"));
    assert_eq!(found, [3, 2, 0, 1]);
}

#[test]
fn priorities_have_no_gaps() {
    let sites = [site("far/z1/s1", 1), site("r1/z2/s1", 1)];
    assert_eq!(priorities(&sites, |_| {}, &node("r1/z1/s1")), [1, 0]);
}

#[test]
fn a_node_without_locality_prefers_endpoints_without_locality() {
    let sites = [site("r1/z1/s1", 1), site("", 1)];
    assert_eq!(priorities(&sites, |_| {}, &Node::default()), [1, 0]);
}

#[test]
fn a_failover_region_comes_before_other_regions() {
    let sites = [site("r3", 1), site("r2", 1), site("r1", 1)];
    let rules = |s: &mut LocalityLbSetting| {
        // Only the first entry for the node's region counts.
        s.failover = vec![
            failover("r9", "r3"),
            failover("r1", "r2"),
            failover("r1", "r3"),
        ];
    };
    assert_eq!(priorities(&sites, rules, &node("r1")), [2, 1, 0]);
    let elsewhere = priorities(&sites, rules, &node("r7"));
    assert_eq!(elsewhere, [0, 0, 0]);
}

#[test]
fn only_explicit_failover_rules_weight_localities() {
    let sites = four_distances();
    let implied = arranged(&sites, |_| {}, true, &node("r1/z1/s1"));
    assert_eq!(implied.weights, None);
    let explicit = |s: &mut LocalityLbSetting| s.failover = vec![failover("r1", "r2")];
    let explicit = arranged(&sites, explicit, true, &node("r1/z1/s1"));
    assert!(explicit.weights.is_some());
}

#[test]
fn failover_priority_ranks_by_labels_in_a_row() {
    let sites = [
        site("r1/z1", 1).label("tier", "gold"),
        site("r1/z2", 1).label("tier", "gold"),
        site("r1/z1", 1),
        site("r2/z1", 1).label("tier", "gold"),
    ];
    let rules = |s: &mut LocalityLbSetting| {
        s.failover_priority = vec![REGION.into(), ZONE.into(), "tier=gold".into()];
    };
    assert_eq!(priorities(&sites, rules, &node("r1/z1")), [0, 2, 1, 3]);
}

#[test]
fn a_label_that_client_and_endpoint_both_lack_matches() {
    let sites = [site("r1", 1).label("cluster", "c1"), site("r1", 1)];
    let rules = |s: &mut LocalityLbSetting| s.failover_priority = vec!["cluster".into()];
    assert_eq!(priorities(&sites, rules, &node("r1")), [1, 0]);
}

#[test]
fn endpoints_of_another_network_come_last_but_in_order() {
    let client = Node {
        locality: Locality::parse("r1/z1"),
        network: "n1".to_owned(),
        ..Node::default()
    };
    let sites = [
        site("r2/z1", 1).network("n2"),
        site("r1/z1", 1).network("n2"),
        site("r2/z1", 1).network("n1"),
        site("r1/z1", 1),
    ];
    let rules = |s: &mut LocalityLbSetting| {
        s.failover_priority = vec![NETWORK.into(), REGION.into()];
    };
    assert_eq!(priorities(&sites, rules, &client), [3, 2, 1, 0]);
}

/// Two endpoints in each of three regions, told apart by rack and row.
fn racks() -> Vec<Site> {
    let at = |region, rack, row| {
        let site = site(region, 1).label("rack", rack).label("row", row);
        site.label("kind", "fast")
    };
    let mut racks = vec![
        at("r1", "1", "1"),
        at("r1", "2", "2"),
        at("r2", "1", "3"),
        at("r2", "2", "4"),
        at("r3", "1", "1"),
        at("r3", "2", "2"),
    ];
    racks[0].labels.remove("kind");
    racks
}

#[test]
fn labels_with_values_rank_endpoints_the_same_in_every_region() {
    for (rules, expected) in [
        (&["rack=9", "row=9"][..], [0, 0, 0, 0, 0, 0]),
        (&["rack=1", "row=9"], [0, 1, 0, 1, 0, 1]),
        // The first mismatch decides: what comes after it does not count.
        (&["rack=9", "row=1"], [0, 0, 0, 0, 0, 0]),
        (&["kind=fast", "rack=2", "row=2"], [3, 0, 2, 1, 2, 0]),
        (&["rack=1"], [0, 1, 0, 1, 0, 1]),
        (&["rack=3"], [0, 0, 0, 0, 0, 0]),
        (&["row=1", "rack=1"], [0, 1, 1, 1, 0, 1]),
        (&["rack="], [0, 0, 0, 0, 0, 0]),
    ] {
        let change = |s: &mut LocalityLbSetting| {
            s.failover_priority = rules.iter().map(|rule| (*rule).to_owned()).collect();
        };
        assert_eq!(
            priorities(&racks(), change, &node("r1")),
            expected,
            "{rules:?}"
        );
    }
}

#[test]
fn endpoints_off_the_network_are_still_told_apart_by_the_other_labels() {
    let client = Node {
        network: "away".to_owned(),
        ..node("r1")
    };
    let networks = ["n1", "n2", "n1", "n2", "n1", "n2"];
    let sites = racks().into_iter().zip(networks);
    let sites: Vec<Site> = sites.map(|(site, network)| site.network(network)).collect();
    let ranked = |rules: &[&str]| {
        let change = |s: &mut LocalityLbSetting| {
            s.failover_priority = rules.iter().map(|rule| (*rule).to_owned()).collect();
        };
        priorities(&sites, change, &client)
    };
    // The endpoints of a rack before the others, though none is on the client's network.
    assert_eq!(ranked(&[NETWORK, "rack=1"]), [0, 1, 0, 1, 0, 1]);
    assert_eq!(
        ranked(&["topology.istio.io/network=n1"]),
        [0, 1, 0, 1, 0, 1]
    );
    assert_eq!(
        ranked(&["topology.istio.io/network=n3"]),
        [0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn failover_priority_means_nothing_to_a_client_without_labels() {
    let sites = four_distances();
    let rules = |s: &mut LocalityLbSetting| s.failover_priority = vec![REGION.into()];
    assert_eq!(priorities(&sites, rules, &Node::default()), [0, 0, 0, 0]);
}

#[test]
fn failover_rules_refine_failover_priority() {
    let sites = [
        site("r1", 1),
        site("r2", 1).label("k", "v"),
        site("r1", 1).label("k", "v"),
        site("r3", 1).label("k", "v"),
    ];
    let rules = |s: &mut LocalityLbSetting| {
        s.failover_priority = vec!["k=v".into()];
        s.failover = vec![failover("r1", "r2")];
    };
    assert_eq!(priorities(&sites, rules, &node("r1")), [3, 1, 0, 2]);
}

#[test]
fn distribute_divides_a_part_by_weight_and_rounds_up() {
    let sites = [
        site("r1/z1", 3),
        site("r1/z2", 2),
        site("r2/z1", 1),
        site("r3", 1),
    ];
    let rules = |s: &mut LocalityLbSetting| {
        s.distribute = vec![Distribute {
            from: "r1/z1/*".to_owned(),
            to: to(&[("r1/*", 81), ("r2/*", 19)]),
        }];
    };
    let arrangement = arranged(&sites, rules, false, &node("r1/z1/s1"));
    // 81 × 3/5 = 48.6, 81 × 2/5 = 32.4; what no pattern names is emptied.
    assert_eq!(parts_of(&arrangement), [49, 33, 19, 0]);
    assert_eq!(arrangement.priorities, [0, 0, 0, 0]);
}

#[test]
fn distribute_takes_the_first_entry_for_the_node_and_leaves_other_nodes_alone() {
    let sites = [site("r1", 1), site("r2", 3)];
    let entry = |from: &str, r1: u32| Distribute {
        from: from.to_owned(),
        to: to(&[("r1", r1), ("r2", 100 - r1)]),
    };
    let rules = |s: &mut LocalityLbSetting| {
        s.distribute = vec![entry("r9", 1), entry("r1", 60), entry("*", 10)];
    };
    assert_eq!(
        parts_of(&arranged(&sites, rules, true, &node("r1"))),
        [60, 40]
    );
    assert_eq!(
        parts_of(&arranged(&sites, rules, true, &node("r5"))),
        [10, 90]
    );
    let rules = |s: &mut LocalityLbSetting| s.distribute = vec![entry("r9", 1)];
    assert_eq!(
        parts_of(&arranged(&sites, rules, true, &node("r5"))),
        [1, 3]
    );
}

#[test]
fn the_more_exact_pattern_decides_where_two_match() {
    let sites = [site("r1/z1", 1), site("r1/z2", 1)];
    let rules = |s: &mut LocalityLbSetting| {
        s.distribute = vec![Distribute {
            from: "*".to_owned(),
            to: to(&[("*", 30), ("r1/z2", 70)]),
        }];
    };
    assert_eq!(
        parts_of(&arranged(&sites, rules, true, &node("r1"))),
        [30, 70]
    );
}

#[test]
fn endpoints_of_one_locality_are_one_group() {
    let sites = [site("r1", 2), site("r2", 1), site("r1", 5)];
    let rules = |s: &mut LocalityLbSetting| {
        s.distribute = vec![Distribute {
            from: "nowhere".to_owned(),
            to: to(&[("r1", 100)]),
        }];
    };
    assert_eq!(
        parts_of(&arranged(&sites, rules, true, &node("r1"))),
        [7, 1, 7]
    );
}

#[test]
fn the_traffic_distributions_of_istio_are_known() {
    assert!(
        matches!(traffic_distribution("PreferClose"), Some((labels, true)) if labels.len() == 3)
    );
    assert!(matches!(
        traffic_distribution("PreferSameNode"),
        Some((_, false))
    ));
    assert_eq!(traffic_distribution("Nearby"), None);
}

fn locality() -> impl Strategy<Value = Locality> {
    let part = || prop_oneof![Just(String::new()), "[ab]".prop_map(String::from)];
    (part(), part(), part()).prop_map(|(region, zone, subzone)| Locality {
        region,
        zone,
        subzone,
    })
}

proptest! {
    #[test]
    fn priorities_are_in_order_of_distance_and_without_gaps(
        client in locality(),
        localities in proptest::collection::vec(locality(), 1..12),
    ) {
        let sites: Vec<Site> = localities.iter().map(|l| site(&l.to_string(), 1)).collect();
        let client = Node { locality: client, ..Node::default() };
        let found = priorities(&sites, |_| {}, &client);
        let distinct: BTreeSet<u32> = found.iter().copied().collect();
        prop_assert_eq!(distinct.len(), *distinct.last().unwrap() as usize + 1);
        for (a, p) in sites.iter().zip(&found) {
            for (b, q) in sites.iter().zip(&found) {
                let nearer = distance(&client.locality, &a.locality)
                    .cmp(&distance(&client.locality, &b.locality));
                prop_assert_eq!(nearer, p.cmp(q));
            }
        }
    }
}
