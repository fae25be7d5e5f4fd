//! What the name server says of hosts, and what leads to names that were learned or asked for.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::model::{Answer, Fact, Snapshot, UnixTime};

use super::*;

/// What is said of `name`: addresses but for the automatic ones, which are `vip`.
fn said(compiled: &Compiled, name: &str) -> String {
    match compiled.names[0].find(name) {
        None => "-".to_owned(),
        Some(Saying::Learned) => "learned".to_owned(),
        Some(Saying::OnDemand) => "on demand".to_owned(),
        Some(Saying::Addresses(addresses)) => {
            let ranges = VipRanges::default();
            let name = |address: &IpAddr| match address {
                _ if !ranges.contains(*address) => address.to_string(),
                IpAddr::V4(_) => "vip4".to_owned(),
                IpAddr::V6(_) => "vip6".to_owned(),
            };
            let all: Vec<String> = addresses.iter().map(name).collect();
            all.join(" ")
        }
    }
}

fn none(host: &str) -> Object {
    entry(host).resolving(Resolution::None)
}

fn dynamic(host: &str) -> Object {
    entry(host).resolving(Resolution::DynamicDns)
}

fn opted_out(mut object: Object) -> Object {
    let label = "networking.istio.io/enable-autoallocate-ip";
    object
        .meta
        .labels
        .insert(label.to_owned(), "false".to_owned());
    object
}

#[test]
fn a_host_is_said_to_be_at_its_own_addresses_or_else_at_its_automatic_ones() {
    let listed = [
        "10.0.0.1",
        "10.1.0.0/16",
        "2001:db8::1",
        "::ffff:10.0.0.2",
        "224.0.0.1",
    ];
    for (object, expected) in [
        (entry("A.Example."), "vip4 vip6"),
        (entry("a.example").resolving(Resolution::Dns), "vip4 vip6"),
        (
            entry("a.example").at_addresses(&listed),
            "10.0.0.1 10.0.0.2 2001:db8::1",
        ),
        (
            none("a.example").at_addresses(&listed),
            "10.0.0.1 10.0.0.2 2001:db8::1",
        ),
        (entry("*.example").at_addresses(&["10.0.0.1"]), "10.0.0.1"),
        (none("a.example"), "learned"),
        (none("*.example"), "learned"),
        (entry("*.example"), "learned"),
        (entry("*.example").resolving(Resolution::Dns), "learned"),
        (dynamic("*.example"), "on demand"),
        (opted_out(dynamic("*.example")), "-"),
        (opted_out(entry("a.example")), "-"),
        (opted_out(none("a.example")), "learned"),
        (entry("a.example").at_addresses(&["10.1.0.0/16"]), "-"),
        // Whoever declares a CIDR says where the host is: what its name resolves to elsewhere is not it.
        (none("a.example").at_addresses(&["10.1.0.0/16"]), "-"),
        (none("*.example").at_addresses(&["10.1.0.0/16"]), "-"),
        (entry("a.example").saying(|e| e.ports.clear()), "-"),
        (
            entry("a.example").saying(|e| e.export_to = vec!["~".into()]),
            "-",
        ),
        (
            entry("a.example").saying(|e| {
                e.status_addresses = vec![(ip("10.8.0.1"), "a.example".to_owned())];
            }),
            "10.8.0.1",
        ),
    ] {
        let what = format!("{object:?}");
        assert_eq!(
            said(&compiled(&[object], &[]), "a.example"),
            expected,
            "{what}"
        );
    }
}

/// Istio answers with the addresses of both (istio#55776), and allocates for each (istio#53676).
#[test]
fn a_host_that_two_entries_declare_is_said_to_be_at_one_address_of_either_family() {
    let host = |name: &str, port: u16| {
        entry(name).created(name).saying(|e| {
            e.hosts = vec!["a.example".into()];
            e.ports[0].number = port;
        })
    };
    let compiled = compiled(&[host("1", 80), host("2", 443)], &[]);
    assert_eq!(said(&compiled, "a.example"), "vip4 vip6");
    let leading: BTreeSet<u16> = compiled.program.frontends.keys().map(|f| f.port).collect();
    assert_eq!(leading, BTreeSet::from([80, 443]));
    assert_eq!(compiled.program.frontends.len(), 4);
}

#[test]
fn of_hosts_of_several_namespaces_the_one_that_clients_see_is_heard() {
    let objects = [
        entry("young").created("2").at_addresses(&["10.0.0.2"]),
        entry("old")
            .created("1")
            .in_namespace("other")
            .at_addresses(&["10.0.0.1"]),
    ];
    let objects = objects.map(|o| o.saying(|e| e.hosts = vec!["x.example".into()]));
    assert_eq!(said(&compiled(&objects, &[]), "x.example"), "10.0.0.2");
}

/// A registry that holds `objects` and was told `lessons`: names with addresses.
fn taught(objects: &[Object], lessons: &[(&str, &[&str])]) -> Registry {
    let mut registry = Registry::default();
    registry.apply(read("all.yaml", objects));
    for (name, addresses) in lessons {
        registry.apply(learned(name, addresses));
    }
    registry
}

fn learned(name: &str, addresses: &[&str]) -> Fact {
    Fact::Learned {
        name: name.into(),
        addresses: addresses.iter().map(|a| ip(a)).collect(),
        ttl: Duration::ZERO,
    }
}

fn asked(name: &str, addresses: &[&str]) -> Fact {
    Fact::Asked {
        name: name.into(),
        answer: crate::model::fixtures::answer(addresses),
    }
}

#[test]
fn a_learned_address_leads_to_every_port_of_the_host_that_covers_the_name() {
    let objects = [
        entry("*.example")
            .with_endpoints(vec![endpoint("10.9.0.1")])
            .saying(|e| {
                e.ports.push(port("tls", 443, Protocol::Tls));
            }),
        none("*.b.example"),
    ];
    let lessons: [(&str, &[&str]); 3] = [
        ("a.example", &["10.0.0.1", "2001:db8::1"]),
        ("x.b.example", &["10.0.0.2"]),
        ("unknown.test", &["10.0.0.3"]),
    ];
    let compiled = compile(&taught(&objects, &lessons).snapshot());
    assert_eq!(
        frontends(&compiled),
        [
            "10.0.0.1:80 -> default/*.example:80",
            "10.0.0.1:443 -> default/*.example:443",
            "10.0.0.2:80 -> default/*.b.example:80",
            "[2001:db8::1]:80 -> default/*.example:80",
            "[2001:db8::1]:443 -> default/*.example:443",
        ]
    );
    assert_eq!(compiled.learned.len(), 5);
}

#[test]
fn declared_and_resolved_addresses_stay_whose_they_are_and_the_older_host_learns() {
    let objects = [
        none("*.old").created("1"),
        none("*.young").created("2"),
        none("declared").created("3").at_addresses(&["10.0.0.1"]),
        none("resolved").created("4"),
    ];
    let lessons: [(&str, &[&str]); 2] = [
        ("a.young", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("a.old", &["10.0.0.3"]),
    ];
    let mut registry = taught(&objects, &lessons);
    registry.apply(resolved("resolved", &["10.0.0.2"]));
    let compiled = compile(&registry.snapshot());
    assert_eq!(
        frontends(&compiled),
        [
            "10.0.0.1:80 -> default/declared:80",
            "10.0.0.2:80 -> default/resolved:80",
            "10.0.0.3:80 -> default/*.old:80",
        ]
    );
    let taken = format!("{} *.young", codes::ANSWER_TAKEN);
    let losses = findings(&compiled).into_iter().filter(|f| *f == taken);
    assert_eq!(losses.count(), 3, "{:?}", compiled.diagnostics);
}

#[test]
fn no_address_is_learned_that_cannot_be_meant() {
    let lessons: [(&str, &[&str]); 1] = [(
        "a.example",
        &[
            "240.240.3.4",
            "2001:2::5",
            "0.0.0.0",
            "::",
            "127.0.0.1",
            "::1",
            "224.0.0.1",
            "ff02::1",
            "169.254.1.1",
            "fe80::1",
            "255.255.255.255",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
        ],
    )];
    let compiled = compile(&taught(&[none("*.example")], &lessons).snapshot());
    let all: Vec<String> = compiled
        .program
        .frontends
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(all, ["10.0.0.1:80"]);
}

#[test]
fn a_name_that_was_asked_for_is_a_host_of_its_own() {
    let objects = [dynamic("*.example"), rule("r", "*.example")];
    let mut registry = taught(&objects, &[]);
    assert!(registry.apply(asked("a.example", &["10.0.0.1"])));
    let compiled = compile(&registry.snapshot());
    assert_eq!(said(&compiled, "a.example"), "vip4 vip6");
    assert_eq!(said(&compiled, "b.example"), "on demand");
    assert_eq!(endpoints(&compiled, "a.example", 80), ["10.0.0.1:80 1"]);
    assert_eq!(
        frontends(&compiled),
        ["10.0.0.1:80 -> default/a.example:80"]
    );
    assert_eq!(compiled.program.frontends.len(), 3);
    assert!(compiled.demand.contains("a.example"));
    assert!(compiled.names[0].is_on_demand("a.example"));
    // What the resolver says counts from then on, and to ask again changes nothing.
    registry.apply(resolved("a.example", &["10.0.0.2"]));
    assert!(!registry.apply(asked("a.example", &["10.0.0.3"])));
    let compiled = compile(&registry.snapshot());
    assert_eq!(endpoints(&compiled, "a.example", 80), ["10.0.0.2:80 1"]);
}

#[test]
fn a_name_keeps_its_address_after_it_was_forgotten_and_is_asked_for_again() {
    let mut registry = taught(&[dynamic("*.example")], &[]);
    let vips = |registry: &mut Registry| {
        let compiled = compile(&registry.snapshot());
        match compiled.names[0].find("a.example").cloned() {
            Some(Saying::Addresses(addresses)) => Some(addresses),
            _ => None,
        }
    };
    registry.apply(asked("a.example", &["10.0.0.1"]));
    let first = vips(&mut registry).unwrap();
    registry.set_time(UnixTime(1_000));
    // A socket that is connected there keeps it.
    assert!(!registry.expire(|| first.iter().copied().collect()));
    registry.set_time(UnixTime(2_000));
    assert!(registry.expire(Default::default));
    assert_eq!(vips(&mut registry), None);
    registry.apply(asked("a.example", &["10.0.0.1"]));
    assert_eq!(vips(&mut registry), Some(first));
}

#[test]
fn a_name_whose_host_is_gone_is_forgotten() {
    let mut registry = taught(&[none("*.example")], &[("a.example", &["10.0.0.1"])]);
    registry.apply(read("all.yaml", &[]));
    let compiled = compile(&registry.snapshot());
    let learns = |name: &str| matches!(compiled.names[0].find(name), Some(Saying::Learned));
    registry.retain_learned(learns, |name| compiled.names[0].is_on_demand(name));
    registry.apply(read("all.yaml", &[none("*.example")]));
    assert!(compile(&registry.snapshot()).program.frontends.is_empty());
}

/// Hosts that learn, and others that are in their way.
fn hosts() -> impl Strategy<Value = Vec<Object>> {
    let host = prop_oneof![
        Just("*.example"),
        Just("*.b.example"),
        Just("n.example"),
        Just("*.test"),
        Just("d.test"),
    ];
    let object = (host, 0u8..4, 0u8..3, 0u8..4, any::<bool>(), 79u16..82);
    proptest::collection::vec(object, 1..6).prop_map(|objects| {
        let build = |(i, (host, kind, age, declared, is_udp, number)): (usize, _)| {
            let object = entry(&format!("e{i}")).created(&format!("{age}"));
            let object = match kind {
                0 => object.resolving(Resolution::Dns),
                1 => object,
                2 => object
                    .resolving(Resolution::None)
                    .at_addresses(&[&format!("10.0.0.{declared}")]),
                _ => object.resolving(Resolution::None),
            };
            object.saying(|e| {
                e.hosts = vec![String::from(host)];
                e.ports[0].number = number;
                e.ports[0].protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
            })
        };
        objects.into_iter().enumerate().map(build).collect()
    })
}

fn lessons() -> impl Strategy<Value = Vec<(String, Vec<IpAddr>)>> {
    let name = prop_oneof![
        Just("a.example"),
        Just("a.b.example"),
        Just("n.example"),
        Just("a.test"),
        Just("other"),
    ];
    let address = (0u8..6).prop_map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
    let addresses = proptest::collection::vec(address, 1..3);
    proptest::collection::vec((name.prop_map(str::to_owned), addresses), 0..8)
}

fn teach(registry: &mut Registry, lessons: &[(String, Vec<IpAddr>)]) -> Snapshot {
    for (name, addresses) in lessons {
        registry.apply(Fact::Learned {
            name: name.as_str().into(),
            addresses: addresses.clone(),
            ttl: Duration::ZERO,
        });
    }
    registry.snapshot()
}

proptest! {
    #[test]
    fn the_short_way_leads_where_compiling_anew_does(
        objects in hosts(),
        early in lessons(),
        late in lessons(),
        answer in 0u8..6,
    ) {
        let mut registry = taught(&objects, &[]);
        registry.apply(resolved("n.example", &[&format!("10.0.0.{answer}")]));
        let before = compile(&teach(&mut registry, &early));
        let lessons = late.iter().map(|(name, addresses)| (&**name, addresses.as_slice()));
        let short = extend(&before, lessons);
        let anew = compile(&teach(&mut registry, &late));
        prop_assert_eq!(&short.compiled.program, &anew.program);
        prop_assert_eq!(&short.compiled.learned, &anew.learned);
        for (frontend, key) in &short.frontends {
            prop_assert!(anew.program.services.contains_key(key), "{}", frontend);
        }
    }
}

#[test]
fn answers_that_nobody_resolved_yet_are_those_that_the_client_was_to_get() {
    let mut registry = taught(&[dynamic("*.example")], &[]);
    registry.apply(Fact::Asked {
        name: Arc::from("a.example"),
        answer: Answer::default(),
    });
    let compiled = compile(&registry.snapshot());
    assert_eq!(endpoints(&compiled, "a.example", 80), [""; 0]);
    assert_eq!(said(&compiled, "a.example"), "vip4 vip6");
}
