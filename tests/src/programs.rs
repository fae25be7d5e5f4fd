//! Builders of programs, as the compiler would make them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use agent::api::{Kind, ObjectId, Origin, Protocol, Resolution};
use agent::compile::{
    Action, Cluster, Destination, Endpoint, Frontend, Policy, Program, Service, ServiceKey,
};
use agent::model::Vital;
use agent_common::abi::{DEFAULT_SCOPE, TCP, UDP};

use crate::sockets::Transport;

/// A destination on port 80, TCP.
pub fn tcp80(destination: Destination) -> Frontend {
    Frontend {
        destination,
        port: 80,
        transport: TCP,
        scope: DEFAULT_SCOPE,
    }
}

pub fn on_port(frontend: Frontend, port: u16) -> Frontend {
    Frontend { port, ..frontend }
}

pub fn frontend(at: SocketAddr, transport: u8) -> Frontend {
    Frontend {
        destination: Destination::Address(at.ip()),
        port: at.port(),
        transport,
        scope: DEFAULT_SCOPE,
    }
}

pub fn key(host: &str, port: u16, transport: u8) -> ServiceKey {
    ServiceKey {
        namespace: "default".into(),
        host: host.into(),
        port,
        transport,
        route: None,
        clients: None,
    }
}

/// An endpoint with its share.
pub fn endpoint(at: SocketAddr, share: u64) -> Endpoint {
    Endpoint {
        address: at.ip(),
        port: at.port(),
        share,
        priority: 0,
        locality: agent::api::Locality::default(),
        failing: false,
        vital: Vital::default(),
        workloads: Arc::default(),
        access: None,
        locality_group: 0,
        cluster: 0,
        weight: 1,
        labels: Arc::default(),
        object: object(),
        origin: origin(),
        hostname: None,
    }
}

pub fn service(action: Action, endpoints: Vec<Endpoint>) -> Arc<Service> {
    Arc::new(Service {
        protocol: Protocol::Tcp,
        port_name: "tcp".to_owned(),
        resolution: Resolution::Static,
        action,
        endpoints,
        clusters: vec![Cluster::of("a.example".into())],
        subject: None,
        access: None,
        unserved: 0,
        object: object(),
        origin: origin(),
        reasons: Vec::new(),
    })
}

/// A service that spreads over `endpoints`, behind `frontends`.
pub fn add(program: &mut Program, key: &ServiceKey, service: Arc<Service>, frontends: &[Frontend]) {
    program.services.insert(key.clone(), service);
    program
        .frontends
        .extend(frontends.iter().map(|&frontend| (frontend, key.clone())));
}

/// Adds a balanced service on the frontend's own port and transport.
pub fn balance(program: &mut Program, host: &str, at: Frontend, endpoints: &[(SocketAddr, u64)]) {
    let endpoints = endpoints
        .iter()
        .map(|&(to, share)| endpoint(to, share))
        .collect();
    add(
        program,
        &key(host, at.port, at.transport),
        service(Action::Balance, endpoints),
        &[at],
    );
}

/// The same by a policy.
pub fn balance_by(
    program: &mut Program,
    policy: Policy,
    at: Frontend,
    endpoints: &[(SocketAddr, u64)],
) {
    balance(program, "a.test", at, endpoints);
    let key = key("a.test", at.port, at.transport);
    if let Some(service) = program.services.get_mut(&key) {
        under(Arc::make_mut(service), policy);
    }
}

/// Puts the service under the policy.
pub fn under(service: &mut Service, policy: Policy) {
    let policy = Arc::new(policy);
    for cluster in &mut service.clusters {
        cluster.policy = Arc::clone(&policy);
    }
}

/// A balanced service of one endpoint behind each frontend: what clients ask for, how, and where they get.
pub fn services(services: &[(&str, Transport, &str)]) -> Program {
    let mut program = Program::default();
    for (vip, transport, endpoint) in services {
        let frontend = frontend(at(vip), transport.protocol());
        balance(&mut program, vip, frontend, &[(at(endpoint), 1)]);
    }
    program
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("tests write valid addresses")
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("tests write valid addresses")
}

fn object() -> Arc<ObjectId> {
    Arc::new(ObjectId {
        kind: Kind::ServiceEntry,
        namespace: "default".to_owned(),
        name: "test".to_owned(),
    })
}

fn origin() -> Origin {
    Origin {
        file: "test.yaml".into(),
        line: 1,
    }
}

/// What the binary `doomed-agent` has in force: at [`DOOMED_VIP`] a service that stays, and beside it some that come, go and
/// change with each turn.
pub fn doomed(turn: u32) -> Program {
    let mut program = Program::default();
    let ports = if turn.is_multiple_of(2) {
        53..56
    } else {
        53..54
    };
    let endpoints: Vec<_> = ports
        .map(|port| (SocketAddr::new(ip("10.9.0.1"), port), 1))
        .collect();
    balance(
        &mut program,
        "a.test",
        frontend(at(DOOMED_VIP), UDP),
        &endpoints,
    );
    for number in 0..16u8 {
        if u32::from(number) % 3 == turn % 3 {
            continue;
        }
        let own = SocketAddr::new([240, 240, 1, number].into(), 80);
        let to = SocketAddr::new([10, 8, 0, number].into(), 80);
        let shares = u64::from(turn % 5) + 1;
        let also = SocketAddr::new([10, 8, 1, number].into(), 80);
        balance(
            &mut program,
            &format!("{number}.test"),
            frontend(own, TCP),
            &[(to, shares), (also, 1)],
        );
        let net = Destination::Prefix(format!("10.{number}.0.0/16").parse().expect("a CIDR"));
        let key = key(&format!("{number}.test"), 80, TCP);
        program.frontends.insert(tcp80(net), key);
    }
    program
}

/// Connected UDP sockets are sent on from there.
pub const DOOMED_VIP: &str = "240.240.0.1:53";
