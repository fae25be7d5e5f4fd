use hickory_proto::op::ResponseCode;

use super::*;

fn addresses(addresses: &[&str]) -> Saying {
    let addresses = addresses.iter().map(|address| address.parse().unwrap());
    Saying::Addresses(addresses.collect())
}

fn shop() -> Names {
    Names::from_iter([
        ("dual.shop", addresses(&["240.1.0.1", "2001:2::1"])),
        ("v4.shop", addresses(&["240.1.0.2"])),
        ("v6.shop", addresses(&["2001:2::3"])),
        (
            "many.shop",
            addresses(&["240.1.0.4", "240.1.0.5", "240.1.0.6"]),
        ),
        ("open.shop", Saying::Learned),
        ("*.open.shop", Saying::Learned),
        ("*.dynamic.shop", Saying::OnDemand),
        ("*.fixed.shop", addresses(&["240.1.0.7"])),
    ])
}

/// The plan for a question of a client in the domains `search`, the first address first.
fn planned(names: &Names, search: &[&str], name: &str, kind: RecordType) -> Plan {
    let search: Vec<Arc<str>> = search.iter().map(|domain| Arc::from(*domain)).collect();
    plan(names, &search, &Question::plain(name, kind), 0)
}

/// The answers of a plan as text, each as `owner TTL TYPE DATA`.
fn told(plan: &Plan) -> Vec<String> {
    let Plan::Answer(reply) = plan else {
        panic!("not answered: {plan:?}")
    };
    assert_eq!(reply.code, ResponseCode::NoError);
    assert!(reply.authoritative, "what is ours to say is authoritative");
    let answers = reply.answers.iter();
    let text = answers.map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data));
    text.collect()
}

#[test]
fn a_host_is_answered_with_its_addresses_of_the_family_that_is_asked_for() {
    let of = |name, kind| told(&planned(&shop(), &[], name, kind));
    assert_eq!(
        of("dual.shop", RecordType::A),
        ["dual.shop. 30 A 240.1.0.1"]
    );
    assert_eq!(
        of("dual.shop", RecordType::AAAA),
        ["dual.shop. 30 AAAA 2001:2::1"]
    );
}

#[test]
fn a_family_that_a_host_lacks_is_answered_with_nothing_rather_than_that_the_host_does_not_exist() {
    assert!(told(&planned(&shop(), &[], "v4.shop", RecordType::AAAA)).is_empty());
    assert!(told(&planned(&shop(), &[], "v6.shop", RecordType::A)).is_empty());
}

#[test]
fn case_and_a_trailing_dot_do_not_matter() {
    let answer = planned(&shop(), &[], "DuaL.Shop.", RecordType::A);
    assert_eq!(told(&answer), ["dual.shop. 30 A 240.1.0.1"]);
}

#[test]
fn the_answer_of_a_wildcard_is_of_the_name_that_is_asked_for() {
    let answer = planned(&shop(), &[], "a.b.fixed.shop", RecordType::A);
    assert_eq!(told(&answer), ["a.b.fixed.shop. 30 A 240.1.0.7"]);
}

#[test]
fn each_address_is_first_for_some_draw_and_none_is_lost() {
    let question = Question::plain("many.shop", RecordType::A);
    let mut firsts = Vec::new();
    for random in 0..3 {
        let mut told = told(&plan(&shop(), &[], &question, random));
        firsts.push(told[0].clone());
        told.sort();
        assert_eq!(told.len(), 3);
        told.dedup();
        assert_eq!(told.len(), 3);
    }
    firsts.sort();
    firsts.dedup();
    assert_eq!(firsts.len(), 3);
}

#[test]
fn other_types_of_hosts_of_ours_are_asked_elsewhere_and_kept_to_our_addresses() {
    for kind in [RecordType::HTTPS, RecordType::TXT, RecordType::ANY] {
        for name in ["dual.shop", "a.fixed.shop", "a.dynamic.shop"] {
            let plan = planned(&shop(), &[], name, kind);
            assert_eq!(plan, Plan::Forward(Use::OfOurs), "{name} {kind}");
        }
        for name in ["open.shop", "a.open.shop", "elsewhere.net"] {
            let plan = planned(&shop(), &[], name, kind);
            assert_eq!(plan, Plan::Forward(Use::PassOn), "{name} {kind}");
        }
    }
}

#[test]
fn hosts_without_addresses_of_their_own_are_asked_for_and_learned_or_given_one() {
    for kind in [RecordType::A, RecordType::AAAA] {
        let plan = |name| planned(&shop(), &["example.com"], name, kind);
        assert_eq!(plan("open.shop"), Plan::Forward(Use::Learn));
        assert_eq!(plan("x.open.shop"), Plan::Forward(Use::Learn));
        assert_eq!(plan("x.dynamic.shop"), Plan::Forward(Use::Ask));
        assert_eq!(plan("elsewhere.net"), Plan::Forward(Use::PassOn));
        assert_eq!(plan(""), Plan::Forward(Use::PassOn));
    }
}

#[test]
fn another_class_than_the_internet_is_none_of_ours() {
    let mut question = Question::plain("dual.shop", RecordType::A);
    question.class = DNSClass::CH;
    let plan = plan(&shop(), &[], &question, 0);
    assert_eq!(plan, Plan::Forward(Use::PassOn));
}

#[test]
fn a_host_behind_which_any_search_domain_stands_is_an_alias_of_the_host() {
    let search = ["corp.example", "example"];
    for domain in search {
        let name = format!("Dual.shop.{domain}");
        assert_eq!(
            told(&planned(&shop(), &search, &name, RecordType::A)),
            [
                format!("dual.shop.{domain}. 30 CNAME dual.shop."),
                "dual.shop. 30 A 240.1.0.1".to_owned()
            ]
        );
    }
    // The alias holds for the family that is not there.
    assert_eq!(
        told(&planned(
            &shop(),
            &search,
            "v4.shop.example",
            RecordType::AAAA
        )),
        ["v4.shop.example. 30 CNAME v4.shop."]
    );
}

#[test]
fn search_domains_are_no_matter_of_wildcards_of_parts_of_labels_or_of_what_is_not_ours_to_answer() {
    let search = ["example", ""];
    for name in [
        "a.fixed.shop.example",
        "a.dynamic.shop.example",
        "open.shop.example",
        "dual.shopexample",
        "dual.shop.other.example",
        "example",
        ".example",
    ] {
        let plan = planned(&shop(), &search, name, RecordType::A);
        assert_eq!(plan, Plan::Forward(Use::PassOn), "{name}");
    }
}

#[test]
fn a_host_that_itself_ends_with_a_search_domain_is_answered_without_an_alias() {
    let names = Names::from_iter([("a.example", addresses(&["240.1.0.1"]))]);
    let answer = planned(&names, &["example"], "a.example", RecordType::A);
    assert_eq!(told(&answer), ["a.example. 30 A 240.1.0.1"]);
}

/// What the resolver of a sidecar does for hosts that no Kubernetes service stands behind.
#[test]
fn hosts_outside_of_the_cluster_are_answered_as_by_the_resolver_of_a_sidecar() {
    const CLUSTER: [&str; 3] = [
        "shop.svc.cluster.local",
        "svc.cluster.local",
        "cluster.local",
    ];
    let names = Names::from_iter([
        ("api.partner.net", addresses(&["192.0.2.1"])),
        ("six.partner.net", addresses(&["2001:db8::6"])),
        ("both.partner.net", addresses(&["192.0.2.2", "2001:db8::2"])),
        ("*.wild", addresses(&["192.0.2.3"])),
        ("*.deep.wild", addresses(&["192.0.2.4"])),
        ("*.svc.mesh.partner.net", addresses(&["192.0.2.5"])),
    ]);
    // What is asked, and what is answered; `None`: it is asked elsewhere.
    let cases: &[(&str, RecordType, Option<&[&str]>)] = &[
        (
            "api.partner.net.",
            RecordType::A,
            Some(&["api.partner.net. 30 A 192.0.2.1"]),
        ),
        (
            "API.Partner.Net.",
            RecordType::A,
            Some(&["api.partner.net. 30 A 192.0.2.1"]),
        ),
        (
            "api.partner.net.shop.svc.cluster.local.",
            RecordType::A,
            Some(&[
                "api.partner.net.shop.svc.cluster.local. 30 CNAME api.partner.net.",
                "api.partner.net. 30 A 192.0.2.1",
            ]),
        ),
        ("api.partner.net.", RecordType::AAAA, Some(&[])),
        ("other.partner.net.", RecordType::A, None),
        (
            "other.partner.net.shop.svc.cluster.local.",
            RecordType::A,
            None,
        ),
        ("six.partner.net.", RecordType::A, Some(&[])),
        (
            "six.partner.net.",
            RecordType::AAAA,
            Some(&["six.partner.net. 30 AAAA 2001:db8::6"]),
        ),
        (
            "both.partner.net.",
            RecordType::A,
            Some(&["both.partner.net. 30 A 192.0.2.2"]),
        ),
        (
            "both.partner.net.",
            RecordType::AAAA,
            Some(&["both.partner.net. 30 AAAA 2001:db8::2"]),
        ),
        ("a.wild.", RecordType::A, Some(&["a.wild. 30 A 192.0.2.3"])),
        (
            "a.b.wild.",
            RecordType::A,
            Some(&["a.b.wild. 30 A 192.0.2.3"]),
        ),
        (
            "a.deep.wild.",
            RecordType::A,
            Some(&["a.deep.wild. 30 A 192.0.2.4"]),
        ),
        // The wildcard does not cover what it hangs from, but the one above does.
        (
            "deep.wild.",
            RecordType::A,
            Some(&["deep.wild. 30 A 192.0.2.3"]),
        ),
        ("wild.", RecordType::A, None),
        ("a.wild.", RecordType::AAAA, Some(&[])),
        // A sidecar makes an alias of the literal asterisk; nobody can ask for that, so the name is left alone.
        ("a.wild.shop.svc.cluster.local.", RecordType::A, None),
        (
            "pay.svc.mesh.partner.net.",
            RecordType::A,
            Some(&["pay.svc.mesh.partner.net. 30 A 192.0.2.5"]),
        ),
        ("api.partner.net.", RecordType::MX, None),
    ];
    for (name, kind, expected) in cases {
        let plan = planned(&names, &CLUSTER, name, *kind);
        match expected {
            Some(expected) => assert_eq!(told(&plan), *expected, "{name} {kind}"),
            None => assert!(matches!(plan, Plan::Forward(_)), "{name} {kind}: {plan:?}"),
        }
    }
}
