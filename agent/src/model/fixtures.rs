//! Builders of objects for tests, of this stage and of those after it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::{
    Decoded, DestinationRule, EndpointAddress, Kind, Locality, Meta, Object, ObjectId, Origin,
    Protocol, Resolution, ServiceEntry, ServicePort, Spec, WorkloadEntry,
};

use super::fact::{Answer, Fact, FileFact, SourceId};
use super::registry::Registry;
use super::snapshot::Snapshot;

pub(crate) fn source() -> SourceId {
    SourceId("dir".into())
}

/// The file `path` holds `objects`.
pub(crate) fn read(path: &str, objects: &[Object]) -> Fact {
    let decoded = Decoded {
        objects: objects.to_vec(),
        ..Decoded::default()
    };
    file(path, FileFact::Read(decoded))
}

pub(crate) fn file(path: &str, fact: FileFact) -> Fact {
    Fact::File {
        source: source(),
        path: path.into(),
        fact,
    }
}

pub(crate) fn resolved(host: &str, addresses: &[&str]) -> Fact {
    Fact::Resolved {
        host: host.into(),
        answer: answer(addresses),
    }
}

pub(crate) fn answer(addresses: &[&str]) -> Answer {
    Answer {
        addresses: addresses.iter().map(|a| ip(a)).collect(),
        failure: None,
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn snapshot(objects: &[Object]) -> Snapshot {
    let mut registry = Registry::default();
    registry.apply(read("all.yaml", objects));
    registry.snapshot()
}

fn object(kind: Kind, name: &str, spec: Spec) -> Object {
    Object {
        meta: Meta {
            id: ObjectId {
                kind,
                namespace: "default".to_owned(),
                name: name.to_owned(),
            },
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created: String::new(),
            origin: Origin {
                file: Arc::from(format!("{name}.yaml")),
                line: 1,
            },
        },
        spec,
    }
}

/// An entry of one host that is named like the object unless told otherwise, STATIC, with the TCP port 80.
pub(crate) fn entry(name: &str) -> Object {
    let spec = ServiceEntry {
        hosts: vec![name.to_owned()],
        ports: vec![port("tcp", 80, Protocol::Tcp)],
        resolution: Resolution::Static,
        ..ServiceEntry::default()
    };
    object(Kind::ServiceEntry, name, Spec::ServiceEntry(spec))
}

pub(crate) fn workload(name: &str, address: &str) -> Object {
    let spec = Spec::WorkloadEntry(endpoint(address));
    object(Kind::WorkloadEntry, name, spec)
}

pub(crate) fn rule(name: &str, host: &str) -> Object {
    let spec = DestinationRule {
        host: host.to_owned(),
        ..DestinationRule::default()
    };
    object(Kind::DestinationRule, name, Spec::DestinationRule(spec))
}

pub(crate) fn port(name: &str, number: u16, protocol: Protocol) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        number,
        protocol,
        target_port: None,
        line: 7,
    }
}

/// `unix:/path`, an IP address, a host name, or nothing for an endpoint behind its network's gateway.
pub(crate) fn endpoint(address: &str) -> WorkloadEntry {
    let parsed = match (address, address.parse()) {
        ("", _) => EndpointAddress::Network,
        (_, Ok(ip)) => EndpointAddress::Ip(ip),
        _ => match address.strip_prefix("unix:") {
            Some(path) => EndpointAddress::Unix(path.to_owned()),
            None => EndpointAddress::Fqdn(address.to_owned()),
        },
    };
    WorkloadEntry {
        address: parsed,
        ports: BTreeMap::new(),
        labels: BTreeMap::new(),
        network: String::new(),
        locality: Locality::default(),
        weight: 1,
        service_account: String::new(),
        failing: false,
        line: 9,
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

impl WorkloadEntry {
    pub(crate) fn weighing(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    pub(crate) fn within(mut self, locality: &str) -> Self {
        self.locality = Locality::parse(locality);
        self
    }

    pub(crate) fn labelled(mut self, pairs: &[(&str, &str)]) -> Self {
        self.labels = labels(pairs);
        self
    }
}

impl Object {
    pub(crate) fn created(mut self, at: &str) -> Self {
        at.clone_into(&mut self.meta.created);
        self
    }

    pub(crate) fn in_namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.meta.id.namespace);
        self
    }

    pub(crate) fn at_line(mut self, line: u32) -> Self {
        self.meta.origin.line = line;
        self
    }

    /// Changes what a `ServiceEntry` says.
    pub(crate) fn saying(mut self, change: impl FnOnce(&mut ServiceEntry)) -> Self {
        let Spec::ServiceEntry(entry) = &mut self.spec else {
            panic!("{} is not a ServiceEntry", self.meta.id);
        };
        change(entry);
        self
    }

    /// Changes what a `WorkloadEntry` says.
    pub(crate) fn being(mut self, change: impl FnOnce(&mut WorkloadEntry)) -> Self {
        let Spec::WorkloadEntry(entry) = &mut self.spec else {
            panic!("{} is not a WorkloadEntry", self.meta.id);
        };
        change(entry);
        self
    }

    /// Changes what a `DestinationRule` says.
    pub(crate) fn ruling(mut self, change: impl FnOnce(&mut DestinationRule)) -> Self {
        let Spec::DestinationRule(rule) = &mut self.spec else {
            panic!("{} is not a DestinationRule", self.meta.id);
        };
        change(rule);
        self
    }

    pub(crate) fn resolving(self, resolution: Resolution) -> Self {
        self.saying(|entry| entry.resolution = resolution)
    }

    pub(crate) fn at_addresses(self, addresses: &[&str]) -> Self {
        self.saying(|entry| {
            let nets = addresses.iter().map(|text| match text.parse() {
                Ok(net) => net,
                Err(_) => ip(text).into(),
            });
            entry.addresses = nets.collect();
        })
    }

    pub(crate) fn with_endpoints(self, endpoints: Vec<WorkloadEntry>) -> Self {
        self.saying(|entry| entry.endpoints = endpoints)
    }
}
