use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::api::destination_rule::Distribute;
use crate::api::{
    LoadBalancer, LocalityLbSetting, MeshConfig, Object, OutlierDetection, Protocol, Resolution,
    TlsMode, TrafficPolicy,
};
use crate::model::fixtures::{
    endpoint, entry, ip, labels, port, read, resolved, rule, snapshot, workload,
};
use crate::model::{Node, Registry, VipRanges, VipTable};
use agent_common::abi::{TCP, UDP};

use super::*;

mod clusters;
mod destinations;
mod health;
mod laws;
mod names;
mod policies;
mod probing;
mod reported;
mod routes;
mod targets;

/// The compiled `objects`, where names resolve to `answers`.
fn compiled(objects: &[Object], answers: &[(&str, &[&str])]) -> Compiled {
    let mut snapshot = snapshot(objects);
    for (host, addresses) in answers {
        let answer = crate::model::fixtures::answer(addresses);
        snapshot.answers.insert((*host).into(), answer);
    }
    compile(&snapshot)
}

fn key(host: &str, port: u16) -> ServiceKey {
    ServiceKey {
        namespace: "default".into(),
        host: host.into(),
        port,
        transport: TCP,
        route: None,
        clients: None,
    }
}

fn service<'a>(compiled: &'a Compiled, host: &str, port: u16) -> &'a Service {
    let services = &compiled.program.services;
    let found = services.get(&key(host, port));
    found.unwrap_or_else(|| panic!("no service {host}:{port} in {services:?}"))
}

/// `address:port share` of each endpoint.
fn endpoints(compiled: &Compiled, host: &str, port: u16) -> Vec<String> {
    let endpoints = service(compiled, host, port).endpoints.iter();
    endpoints
        .map(|e| {
            format!(
                "{} {}",
                std::net::SocketAddr::new(e.address, e.port),
                e.share
            )
        })
        .collect()
}

/// `destination -> service` of each frontend, but for those in the VIP ranges.
fn frontends(compiled: &Compiled) -> Vec<String> {
    let ranges = VipRanges::default();
    let all = compiled.program.frontends.iter();
    all.filter(|(frontend, _)| {
        !matches!(frontend.destination, Destination::Address(a) if ranges.contains(a))
    })
    .map(|(frontend, key)| format!("{frontend} -> {key}"))
    .collect()
}

/// `code object` of each finding.
fn findings(compiled: &Compiled) -> Vec<String> {
    let found = compiled.diagnostics.iter();
    found.map(|d| format!("{} {}", d.code, d.name)).collect()
}
