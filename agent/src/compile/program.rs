//! The program: plain ordered data, equal to what the maps should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use ipnet::IpNet;

use crate::api::{Diagnostic, Locality, ObjectId, Origin, Protocol, Resolution};
use crate::model::{ServiceVitals, VipRanges, Vital};

use super::access::{Access, Subject};
use super::clients::Clients;
use super::learned::Learners;
use super::mesh::MeshWorkload;
use super::names::Names;
use super::residents::Residents;
use super::spread::Cluster;

pub use crate::model::ServiceKey;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    Address(IpAddr),
    /// Never of full length: that is an `Address`.
    Prefix(IpNet),
}

/// A captured destination: what a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    pub destination: Destination,
    pub port: u16,
    /// `agent_common::abi::{TCP, UDP}`.
    pub transport: u8,
    pub scope: u32,
}

/// One endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    /// 0 for one that drains: it gets no new connects.
    pub weight: u32,
    /// Part of the service's new connections, in units of which all endpoints of the service together have
    /// `Service::total()`; 0 for an endpoint that gets none (another priority, `distribute`).
    pub share: u64,
    pub priority: u32,
    /// Index into the localities of its cluster; 0 where those have no weights.
    pub locality_group: u32,
    /// Index into `Service::clusters`.
    pub cluster: u32,
    pub locality: Locality,
    pub vital: Vital,
    /// Who is there, where that is of the mesh: policies for any of these hold for it.
    pub workloads: Arc<[MeshWorkload]>,
    /// What policies for its workload say; `None` where none says anything.
    pub access: Option<Arc<Access>>,
    /// Whether its object says that it is unhealthy, which nothing that is observed of it outweighs.
    pub failing: bool,
    pub labels: Arc<BTreeMap<String, String>>,
    /// The object and line that it comes from.
    pub object: Arc<ObjectId>,
    pub origin: Origin,
    /// The name that it was resolved from, for DNS endpoints.
    pub hostname: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefuseReason {
    /// A `DestinationRule` asks for TLS, which is never given up for plaintext.
    TlsOrigination,
    UnixSocket,
    /// All endpoints are in networks that are reached only through a gateway.
    NetworkGateway,
    /// A `DestinationRule` passes connects on to where clients sent them, which is an automatic address.
    Passthrough,
    /// Policies deny it to these clients.
    Denied,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Spread over the endpoints.
    Balance,
    /// Resolution NONE: pass to the original address, to this port where one is given.
    Original { port: Option<u16> },
    /// Fail closed.
    Refuse(RefuseReason),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub protocol: Protocol,
    pub port_name: String,
    pub resolution: Resolution,
    pub action: Action,
    /// Ordered by priority, then as the objects list them. Empty unless the action is `Balance`.
    pub endpoints: Vec<Endpoint>,
    /// What the endpoints belong to. The first decides what the whole service has one of.
    pub clusters: Vec<Cluster>,
    /// What policies are about that are about the service as a whole; `None` where there is none.
    pub subject: Option<Arc<Subject>>,
    /// What they say of it; `None` where none says anything.
    pub access: Option<Arc<Access>>,
    /// Part of the connects that go to clusters without an endpoint, and fail.
    pub unserved: u64,
    /// The `ServiceEntry` that declares it, and the line of the port.
    pub object: Arc<ObjectId>,
    pub origin: Origin,
    /// Why endpoints stand where they stand, in sentences with object and line, for `explain`.
    pub reasons: Vec<String>,
}

impl Service {
    /// The endpoint at that address and port.
    pub fn endpoint(&self, at: SocketAddr) -> Option<&Endpoint> {
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|endpoint| (endpoint.address, endpoint.port) == (at.ip(), at.port()))
    }

    /// Whether it is that of an endpoint's own address, which policies deny.
    pub fn is_fence(&self) -> bool {
        let subject = self.subject.as_ref();
        subject.is_some_and(|subject| subject.is_endpoint)
    }

    /// Whether policies deny it as a whole.
    pub fn is_denied(&self) -> bool {
        self.action == Action::Refuse(RefuseReason::Denied)
    }

    /// The port that connects to `port` go to, where the service leaves their address as it is.
    pub fn original_port(&self, port: u16) -> Option<u16> {
        match self.action {
            Action::Original { port: target } => Some(target.unwrap_or(port)),
            Action::Balance | Action::Refuse(_) => None,
        }
    }

    /// What the shares of the endpoints are parts of.
    pub fn total(&self) -> u64 {
        self.endpoints.iter().map(|e| e.share).sum::<u64>() + self.unserved
    }
}

/// What the maps should hold. Copies share their content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub services: OrdMap<ServiceKey, Arc<Service>>,
    /// A prefix lists the ports of the prefixes around it too: the kernel asks for the longest one only.
    pub frontends: OrdMap<Frontend, ServiceKey>,
    pub vip_ranges: VipRanges,
    pub clients: Clients,
}

/// What compiling gives. Copies share their content.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    pub program: Program,
    /// Host names to keep resolved, lower case and without a trailing dot.
    pub demand: Arc<BTreeSet<Arc<str>>>,
    /// What the name server says to clients, by [`Scope::names`](super::Scope). The first is the default scope's.
    pub names: Arc<[Arc<Names>]>,
    /// Which of the frontends yield to what clients are told: those that are there only because clients were told of these
    /// addresses, and those that only count what policies would deny.
    pub learned: OrdSet<Frontend>,
    /// By scope.
    pub(super) learners: Arc<BTreeMap<u32, Learners>>,
    pub residents: Residents,
    /// The cgroups that are known, by path.
    pub cgroup_paths: OrdMap<Arc<str>, u64>,
    pub diagnostics: Arc<[Diagnostic]>,
}

impl Compiled {
    /// What clients with names of this number are told; those that nobody has are the default scope's.
    pub fn names_of(&self, number: u32) -> Arc<Names> {
        let found = self.names.get(number as usize).or(self.names.first());
        found.cloned().unwrap_or_default()
    }

    /// The same with what is known of the health of one service's endpoints, and that service; `None` where there is none.
    /// This is what compiling everything anew gives.
    #[must_use]
    pub fn with_vitals(
        &self,
        key: &ServiceKey,
        vitals: &ServiceVitals,
    ) -> Option<(Self, Arc<Service>)> {
        let service = Arc::new(self.program.services.get(key)?.with_vitals(vitals));
        let mut compiled = self.clone();
        let services = &mut compiled.program.services;
        services.insert(key.clone(), Arc::clone(&service));
        Some((compiled, service))
    }
}
