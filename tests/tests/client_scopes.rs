//! Decisions for clients of every scope are those that a reader of the objects would make.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use agent::api::sidecar::HostNamespace;
use agent::api::{Spec, host};
use agent::compile::compile;
use agent::dataplane::{Limits, MemoryDataplane, abi_address};
use agent::model::Snapshot;
use agent_common::abi::{DEFAULT_SCOPE, Outbound, Port, TCP};
use agent_common::{Connect, Family, Verdict, decide};
use proptest::prelude::*;
use tests::clients::{local, read_all, seen, sidecar};

const NAMESPACES: [&str; 3] = ["n0", "n1", "default"];
const EXPORTS: [&str; 5] = [
    "",
    "exportTo: ['.']",
    "exportTo: ['*']",
    "exportTo: [n0]",
    "exportTo: ['~']",
];
const EGRESS: [&str; 5] = ["*/*", "./*", "n0/*", "*/a.test", "~/*"];

/// Reads the objects as Istio's documentation has it, for one client and one destination: the namespace whose host takes it.
fn naive(
    snapshot: &Snapshot,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    address: IpAddr,
    port: u16,
) -> Option<String> {
    let has = |selector: &BTreeMap<String, String>| {
        selector.iter().all(|(k, v)| labels.get(k) == Some(v))
    };
    let sidecars: Vec<_> = snapshot
        .objects
        .iter()
        .filter_map(|object| match &object.spec {
            Spec::Sidecar(sidecar) => Some((object.meta.id.namespace.as_str(), sidecar)),
            _ => None,
        })
        .collect();
    let own = |for_all: bool| {
        sidecars.iter().find(|(home, s)| {
            *home == namespace && s.selector.is_empty() == for_all && has(&s.selector)
        })
    };
    let sidecar = own(false).or_else(|| own(true));
    let mut best: BTreeMap<&str, (u8, &str, Vec<IpAddr>)> = BTreeMap::new();
    for object in &snapshot.objects {
        let Spec::ServiceEntry(entry) = &object.spec else {
            continue;
        };
        let home = object.meta.id.namespace.as_str();
        let to = |name: &str| entry.export_to.iter().any(|to| to == name);
        let rank = if entry.export_to.is_empty() || to("*") {
            if home == namespace { 0 } else { 2 }
        } else if to(".") && home == namespace || to(namespace) {
            u8::from(home != namespace)
        } else {
            continue;
        };
        let name = entry.hosts[0].as_str();
        let imported = sidecar.is_none_or(|(_, sidecar)| {
            sidecar.egress.iter().any(|listener| {
                let takes_port = listener.port.is_none_or(|only| only == port);
                takes_port
                    && listener.hosts.iter().any(|h| {
                        let of = match &h.namespace {
                            HostNamespace::Any => true,
                            HostNamespace::Own => home == namespace,
                            HostNamespace::Named(n) => n == home,
                            HostNamespace::None => false,
                        };
                        of && host::subset_of(name, &h.host)
                    })
            })
        });
        if !imported {
            continue;
        }
        let addresses = entry.addresses.iter().map(ipnet::IpNet::addr).collect();
        if best.get(name).is_none_or(|(known, ..)| rank < *known) {
            best.insert(name, (rank, home, addresses));
        }
    }
    // Of those left that claim the address, the oldest object.
    let age = |home: &str, name: &str| {
        snapshot.objects.iter().position(|o| {
            o.meta.id.namespace == home
                && matches!(&o.spec, Spec::ServiceEntry(e) if e.hosts[0] == name)
        })
    };
    let claims = best
        .iter()
        .filter(|(_, (_, _, addresses))| addresses.contains(&address));
    let first = claims.min_by_key(|(name, (_, home, _))| age(home, name));
    first.map(|(name, (_, home, _))| format!("{home}/{name}:{port}"))
}

/// Where a connect of that scope is led.
fn led(dataplane: &MemoryDataplane, scope: u32, address: IpAddr, port: u16) -> Option<String> {
    let connect = Connect {
        family: Family::V4,
        address: abi_address(address),
        port: Port::new(port),
        protocol: TCP,
        scope,
        names: 0,
        outbound: Outbound::AllowAny,
    };
    match decide(dataplane.tables(), &connect, &mut || 0) {
        Verdict::Rewrite { service, .. } => {
            dataplane.names().service(service).map(ToString::to_string)
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn every_client_is_led_where_a_reader_of_the_objects_would_lead_it(
        entries in proptest::collection::vec((0usize..3, 0usize..2, 0usize..5, 1u8..3), 1..7),
        sidecars in proptest::collection::vec((0usize..3, 0usize..5, proptest::option::of(80u16..82), any::<bool>()), 0..4),
        workloads in proptest::collection::vec((0usize..3, any::<bool>()), 1..5),
    ) {
        let mut texts = Vec::new();
        let mut known = BTreeSet::new();
        for (namespace, name, export, last) in &entries {
            // The same host twice in a namespace is united, which other tests are about.
            if known.insert((*namespace, *name)) {
                let name = ["a.test", "b.test"][*name];
                let more = format!("hosts: [{name}], addresses: [10.1.0.{last}], {}", EXPORTS[*export]);
                texts.push(seen(NAMESPACES[*namespace], &more).replace("name: a,", &format!("name: '{name}',")));
            }
        }
        for (i, (namespace, egress, port, is_selective)) in sidecars.iter().enumerate() {
            let port = port.map_or(String::new(), |port| format!("port: {{number: {port}, protocol: HTTP}}, "));
            let selector = if *is_selective { "workloadSelector: {labels: {app: x}}, " } else { "" };
            let spec = format!("{selector}egress: [{{{port}hosts: ['{}']}}]", EGRESS[*egress]);
            texts.push(sidecar(NAMESPACES[*namespace], &format!("s{i}"), &spec));
        }
        for (i, (namespace, is_labelled)) in workloads.iter().enumerate() {
            let labels = if *is_labelled { "app: x" } else { "" };
            texts.push(local(NAMESPACES[*namespace], &format!("w{i}"), labels));
        }
        let snapshot = read_all(&texts);
        let compiled = compile(&snapshot);
        let mut clients = vec![(DEFAULT_SCOPE, "default", BTreeMap::new())];
        for (meta, _, scope) in compiled.residents.iter() {
            clients.push((scope, &meta.id.namespace, meta.labels.clone()));
        }
        let mut dataplane = MemoryDataplane::in_memory(&Limits::small());
        dataplane.apply(&compiled.program);
        for (scope, namespace, labels) in clients {
            for (last, port) in [(1u8, 80u16), (1, 81), (2, 80), (2, 81)] {
                let address = IpAddr::from([10, 1, 0, last]);
                let found = led(&dataplane, scope, address, port);
                prop_assert_eq!(
                    found,
                    naive(&snapshot, namespace, &labels, address, port),
                    "{} {:?} {}:{}\n{}", namespace, labels, address, port, texts.concat()
                );
            }
        }
    }
}

/// Twenty namespaces with a twentieth of the workloads and of the entries each; every entry is for its own namespace.
fn crowd(workloads: usize, entries: usize) -> Vec<String> {
    let entries = (0..entries).map(|i| {
        let more = format!(
            "hosts: [h{i}.test], addresses: [10.{}.{}.1], exportTo: ['.']",
            i / 256,
            i % 256
        );
        seen(&format!("n{}", i % 20), &more).replace("name: a,", &format!("name: h{i},"))
    });
    let workloads = (0..workloads).map(|i| {
        let namespace = format!("n{}", i % 20);
        local(&namespace, &format!("w{i}"), &format!("app: a{i}"))
    });
    entries.chain(workloads).collect()
}

#[test]
fn a_thousand_workloads_among_a_thousand_entries_see_what_is_theirs() {
    let mut snapshot = read_all(&crowd(1000, 1000));
    for i in 0..1000 {
        let path = format!("/n{}/w{i}", i % 20);
        snapshot.cgroups.insert(path.into(), 1 + i);
    }
    let start = std::time::Instant::now();
    let compiled = compile(&snapshot);
    println!("compiled in {:?}", start.elapsed());
    let clients = &compiled.program.clients;
    assert_eq!(
        clients.scopes.len(),
        21,
        "one for each namespace, and the default one"
    );
    // Fifty entries of two ports for each.
    assert_eq!(compiled.program.frontends.len(), 2000);
    assert_eq!(compiled.program.services.len(), 2000);
    let mut dataplane = MemoryDataplane::in_memory(&Limits::small());
    assert!(dataplane.apply(&compiled.program).diagnostics.is_empty());
    for i in (0..1000).step_by(37) {
        let scope = clients.cgroups[&(1 + i)];
        for j in (0..1000u64).step_by(41) {
            let [.., high, low] = j.to_be_bytes();
            let found = led(&dataplane, scope, IpAddr::from([10, high, low, 1]), 80);
            let expected = (i % 20 == j % 20).then(|| format!("n{}/h{j}.test:80", j % 20));
            assert_eq!(found, expected, "w{i} h{j}");
        }
    }
}
