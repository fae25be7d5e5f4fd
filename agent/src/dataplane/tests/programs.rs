//! Programs, by hand and at random.

use std::net::SocketAddr;
use std::sync::Arc;

use agent_common::abi::{DEFAULT_SCOPE, TCP};
use proptest::prelude::*;
use proptest::sample::select;

use crate::api::{Kind, Locality, ObjectId, Origin, Protocol, Resolution};
use crate::compile::{
    Action, Cluster, Destination, Endpoint, Frontend, Program, Service, ServiceKey,
};
use crate::model::Vital;

pub(super) fn key(host: &str) -> ServiceKey {
    ServiceKey {
        namespace: "default".into(),
        host: host.into(),
        port: 80,
        transport: TCP,
        route: None,
        clients: None,
    }
}

pub(super) fn frontend(destination: &str) -> Frontend {
    let destination = match destination.parse() {
        Ok(net) => Destination::Prefix(net),
        Err(_) => Destination::Address(destination.parse().unwrap()),
    };
    Frontend {
        destination,
        port: 80,
        transport: TCP,
        scope: DEFAULT_SCOPE,
    }
}

/// A service that spreads over `endpoints`, each with its share.
pub(super) fn service(endpoints: &[(&str, u64)]) -> Arc<Service> {
    let object = Arc::new(ObjectId {
        kind: Kind::ServiceEntry,
        namespace: "default".to_owned(),
        name: "entry".to_owned(),
    });
    let origin = Origin {
        file: "a.yaml".into(),
        line: 7,
    };
    let endpoint = |&(at, share): &(&str, u64)| {
        let at: SocketAddr = at.parse().unwrap();
        Endpoint {
            address: at.ip(),
            port: at.port(),
            share,
            priority: 0,
            locality: Locality::default(),
            failing: false,
            workloads: Arc::default(),
            access: None,
            vital: Vital::default(),
            locality_group: 0,
            cluster: 0,
            weight: 1,
            labels: Arc::default(),
            object: Arc::clone(&object),
            origin: origin.clone(),
            hostname: None,
        }
    };
    Arc::new(Service {
        protocol: Protocol::Tcp,
        port_name: "tcp".to_owned(),
        resolution: Resolution::Static,
        action: Action::Balance,
        endpoints: endpoints.iter().map(endpoint).collect(),
        clusters: vec![Cluster::of("a.example".into())],
        subject: None,
        access: None,
        unserved: 0,
        object: Arc::clone(&object),
        origin: origin.clone(),
        reasons: Vec::new(),
    })
}

pub(super) fn add(program: &mut Program, host: &str, at: &[&str], endpoints: &[(&str, u64)]) {
    program.services.insert(key(host), service(endpoints));
    program
        .frontends
        .extend(at.iter().map(|at| (frontend(at), key(host))));
}

/// Takes away all that leads to the service.
pub(super) fn forget_frontends(program: &mut Program, service: &ServiceKey) {
    let all = std::mem::take(&mut program.frontends).into_iter();
    program.frontends = all.filter(|(_, of)| of != service).collect();
}

const DESTINATIONS: [&str; 7] = [
    "240.240.0.1",
    "240.240.0.2",
    "2001:2::1",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "fd00::/16",
    "::/0",
];
const ENDPOINTS: [&str; 5] = [
    "10.9.0.1:80",
    "10.9.0.2:80",
    "10.9.0.2:81",
    "[fd00::1]:80",
    "[fd00::2]:80",
];

pub(super) fn any() -> impl Strategy<Value = Program> {
    let endpoints = prop::collection::vec((select(ENDPOINTS.as_slice()), 0u64..4), 0..5);
    let destinations = prop::collection::vec(select(DESTINATIONS.as_slice()), 1..4);
    prop::collection::vec(
        (
            select(["a", "b", "c", "d"].as_slice()),
            destinations,
            endpoints,
        ),
        0..5,
    )
    .prop_map(|services| {
        let mut program = Program::default();
        for (host, at, endpoints) in services {
            add(&mut program, host, &at, &endpoints);
        }
        program
    })
}
