//! What holds for every snapshot.

use proptest::prelude::*;

use super::*;
use crate::model::{Fact, ServiceVitals, Vital};

const HOSTS: [&str; 4] = ["a.example", "b.example", "c.example", "*.example"];
const ADDRESSES: [&str; 5] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.0/24",
    "10.0.0.0/8",
    "2001:db8::1",
];

fn objects() -> impl Strategy<Value = Vec<Object>> {
    let resolution = prop_oneof![
        Just(Resolution::None),
        Just(Resolution::Static),
        Just(Resolution::Dns),
        Just(Resolution::DnsRoundRobin),
    ];
    let object = (
        0..HOSTS.len(),
        resolution,
        proptest::collection::vec((1u8..9, 1u32..1000, 0u8..3), 0..5),
        proptest::option::of(0..ADDRESSES.len()),
        80u16..83,
        0u8..3,
    );
    let build = |i: usize, (host, resolution, ends, address, number, created)| {
        let ends: Vec<(u8, u32, u8)> = ends;
        let host: usize = host;
        let created: u8 = created;
        let endpoints = ends.iter().map(|(last, weight, region)| {
            let end = endpoint(&format!("10.7.0.{last}"));
            end.weighing(*weight).within(&format!("r{region}"))
        });
        let endpoints: Vec<_> = endpoints.collect();
        let object = entry(&format!("e{i}")).created(&created.to_string());
        let object = object
            .resolving(resolution)
            .with_endpoints(endpoints)
            .saying(|e| {
                e.hosts = vec![HOSTS[host].to_owned()];
                e.ports[0].number = number;
            });
        match address {
            Some(address) => object.at_addresses(&[ADDRESSES[address]]),
            None => object,
        }
    };
    proptest::collection::vec(object, 1..8).prop_map(move |specs| {
        let specs = specs.into_iter().enumerate();
        specs.map(|(i, spec)| build(i, spec)).collect()
    })
}

/// The program after facts that put each object in a file of its own, in the order of `order`.
fn program(objects: &[Object], order: &[usize]) -> (Compiled, VipTable) {
    program_knowing(objects, order, Vec::new())
}

fn program_knowing(objects: &[Object], order: &[usize], more: Vec<Fact>) -> (Compiled, VipTable) {
    let mut registry = Registry::new(Node::default(), VipRanges::default(), VipTable::default());
    let mut facts: Vec<Fact> = objects
        .iter()
        .map(|object| {
            read(
                &format!("{}.yaml", object.meta.id.name),
                std::slice::from_ref(object),
            )
        })
        .collect();
    facts.push(resolved("a.example", &["10.0.0.1", "10.3.0.1"]));
    facts.push(resolved("b.example", &["10.3.0.1"]));
    for i in order.iter().filter(|i| **i < facts.len()) {
        registry.apply(facts[*i].clone());
    }
    for fact in more {
        registry.apply(fact);
    }
    let snapshot = registry.snapshot();
    (compile(&snapshot), snapshot.vips)
}

proptest! {
    #[test]
    fn the_order_of_facts_does_not_matter(
        objects in objects(),
        order in Just((0..10).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let (sorted, vips) = program(&objects, &(0..10).collect::<Vec<_>>());
        let (shuffled, shuffled_vips) = program(&objects, &order);
        prop_assert_eq!(vips, shuffled_vips);
        prop_assert_eq!(sorted.program, shuffled.program);
        prop_assert_eq!(sorted.diagnostics, shuffled.diagnostics);
        prop_assert_eq!(sorted.demand, shuffled.demand);
    }

    #[test]
    fn every_program_is_consistent(objects in objects()) {
        let (compiled, _) = program(&objects, &(0..10).collect::<Vec<_>>());
        let program = &compiled.program;
        for (frontend, key) in &program.frontends {
            prop_assert!(program.services.contains_key(key), "{frontend} leads nowhere");
            prop_assert_eq!((frontend.port, frontend.transport), (key.port, key.transport));
            if let Destination::Prefix(net) = frontend.destination {
                prop_assert!(net.prefix_len() < net.max_prefix_len() && net.addr() == net.network());
            }
        }
        for (key, service) in &program.services {
            let balanced = service.action == Action::Balance;
            prop_assert!(balanced || service.endpoints.is_empty());
            prop_assert!(u32::try_from(service.total()).is_ok());
            prop_assert_eq!(service.total() > 0, !service.endpoints.is_empty(), "{}", key);
            let distinct: BTreeSet<_> = service.endpoints.iter().map(|e| (e.address, e.port)).collect();
            prop_assert_eq!(distinct.len(), service.endpoints.len());
            prop_assert!(service.endpoints.is_sorted_by_key(|e| e.priority));
        }
    }

    #[test]
    fn what_is_known_of_health_later_changes_what_knowing_it_from_the_start_would(
        objects in objects(),
        health in proptest::collection::vec((1u8..9, 0u16..1200), 0..6),
    ) {
        let vitals: ServiceVitals = health.iter().map(|(last, part)| {
            let vital = match part {
                1..1000 => Vital::Warming(*part),
                0 => Vital::Failing,
                _ => Vital::Ejected,
            };
            (format!("10.7.0.{last}:80").parse().unwrap(), vital)
        }).collect();
        let (healthy, _) = program(&objects, &(0..10).collect::<Vec<_>>());
        let mut later = healthy.clone();
        let mut facts = Vec::new();
        for key in healthy.program.services.keys() {
            later = later.with_vitals(key, &vitals).unwrap().0;
            facts.push(Fact::Vitals { service: key.clone(), vitals: vitals.clone() });
        }
        let (from_the_start, _) = program_knowing(&objects, &(0..10).collect::<Vec<_>>(), facts);
        prop_assert_eq!(later.program, from_the_start.program);
    }

    #[test]
    fn an_unrelated_entry_changes_no_other_service(objects in objects()) {
        let (before, vips_before) = program(&objects, &(0..10).collect::<Vec<_>>());
        let mut more = objects;
        more.push(entry("unrelated.test").created("9").with_endpoints(vec![endpoint("10.7.9.9")]));
        let (after, vips_after) = program(&more, &(0..11).collect::<Vec<_>>());
        for (key, service) in &before.program.services {
            prop_assert_eq!(Some(service), after.program.services.get(key));
        }
        for (frontend, key) in &before.program.frontends {
            prop_assert_eq!(Some(key), after.program.frontends.get(frontend));
        }
        for (namespace, host, vips) in vips_before.iter() {
            prop_assert_eq!(vips_after.get(namespace, host), Some(vips));
        }
    }
}

#[test]
fn udp_and_tcp_of_one_port_are_two_services() {
    let objects = [
        entry("a").saying(|e| e.hosts = vec!["x".into()]),
        entry("b").saying(|e| {
            e.hosts = vec!["x".into()];
            e.ports[0].protocol = Protocol::Udp;
        }),
    ];
    let program = compiled(&objects, &[]).program;
    let transports: Vec<u8> = program.services.keys().map(|key| key.transport).collect();
    assert_eq!(transports, [TCP, UDP]);
}

#[test]
fn the_report_shows_what_the_kernel_would_hold() {
    let objects = [
        entry("a.example")
            .at_addresses(&["10.0.0.1", "2001:db8::/32"])
            .with_endpoints(vec![
                endpoint("10.9.0.1")
                    .weighing(3)
                    .within("r1/z1")
                    .labelled(&[("v", "1")]),
                endpoint("2001:db8::9").weighing(1),
            ]),
        entry("n.example")
            .resolving(Resolution::None)
            .at_addresses(&["10.0.0.2"]),
    ];
    let report = report(&compiled(&objects, &[]), &[]);
    expect_test::expect![[r#"{"services":[{"namespace":"default","host":"a.example","port":80,"protocol":"TCP","resolution":"STATIC","loadBalancer":"LEAST_REQUEST","frontends":["10.0.0.1:80","[2001:db8::/32]:80"],"endpoints":[{"address":"10.9.0.1","port":80,"share":0.75,"priority":0,"locality":"r1/z1","healthy":true,"health":"healthy","labels":{"v":"1"}},{"address":"2001:db8::9","port":80,"share":0.25,"priority":0,"locality":"","healthy":true,"health":"healthy","labels":{}}],"reasons":["no DestinationRule applies","localityLbSetting of the mesh has no effect: failover needs outlierDetection, and no DestinationRule for this port has it; this node's locality is unknown","2 of 2 endpoints share the connects by their weights"]},{"namespace":"default","host":"n.example","port":80,"protocol":"TCP","resolution":"NONE","loadBalancer":"PASSTHROUGH","frontends":["10.0.0.2:80"],"endpoints":[],"reasons":["no DestinationRule applies","resolution NONE: connects keep their address and port"]}],"diagnostics":[]}"#]]
    .assert_eq(&serde_json::to_string(&report).unwrap());
}
