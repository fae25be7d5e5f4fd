//! What the running data plane can tell: connects, open connections, programs, and how full the maps are.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use agent_common::Tables;
use agent_common::abi::{EndpointState, Port, Total};

use crate::compile::ServiceKey;
use crate::dataplane::address;
use crate::dataplane::store::Store;

use super::Dataplane;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub services: BTreeMap<ServiceKey, ServiceCounts>,
    /// Connects to an address in a VIP range with a port that nothing declares.
    pub port_not_declared: u64,
    /// Redirected connects of which no record could be kept; `getpeername` shows the endpoint.
    pub flows_full: u64,
    /// Redirected connects whose record is stored at the socket, as there was no free line in FLOWS.
    pub flows_stored: u64,
    /// Queries to a name server that were not captured, as no listener was left.
    pub name_servers_full: u64,
    /// Connects to services that had as many connections as they may.
    pub overflows: u64,
    /// Connects that were failed because the tables changed twice under them.
    pub torn: u64,
    /// Failed connects that could not be told of, as the agent read too slowly.
    pub events_lost: u64,
    /// Connects to what nothing claims that were failed, as their clients may reach only what is registered.
    pub not_registered: u64,
    /// The same of clients that are let pass.
    pub not_registered_audited: u64,
    /// Denials that could not be told of, as the agent read too slowly.
    pub denials_lost: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    /// Connects that were sent on, endpoints that are gone included.
    pub connects: u64,
    pub denied: u64,
    /// Sockets that are connected to an original address, for services that keep those; all that are connected, for services
    /// with a limit.
    pub open: u64,
    pub endpoints: BTreeMap<(IpAddr, u16), EndpointCounts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    pub connects: u64,
    /// Connects that it was picked for and that policies denied.
    pub denied: u64,
    /// Sockets that were sent there and have not been closed or sent elsewhere since; with `sock_ops`, TCP sockets only until
    /// their connection ends.
    pub open: u64,
    /// What became of connects, where they are followed.
    pub outcomes: Outcomes,
}

/// Connects by how they ended. Each begins again with 0 after 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub succeeded: u32,
    pub refused: u32,
    pub timed_out: u32,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// Round trips of those that succeeded, together.
    pub latency_us: u64,
}

impl From<EndpointState> for Outcomes {
    fn from(state: EndpointState) -> Self {
        Self {
            succeeded: state.succeeded,
            refused: state.refused,
            timed_out: state.timed_out,
            failures_in_a_row: state.consecutive_failures,
            latency_us: state.latency_us,
        }
    }
}

/// A program on a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFigures {
    pub name: &'static str,
    pub cgroup: PathBuf,
    /// Not once the cgroup is gone.
    pub is_attached: bool,
    /// Runs and their time in nanoseconds, on all cgroups together, while `kernel.bpf_stats_enabled` was 1.
    pub runs: u64,
    pub nanoseconds: u64,
    /// Instructions that the verifier looked at.
    pub verified_instructions: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub map: &'static str,
    pub used: u64,
    pub capacity: u64,
}

impl Dataplane {
    /// One system call for each service and endpoint.
    pub fn counts(&self) -> Counts {
        self.counts_of(|_| true)
    }

    /// The same of some services alone.
    pub fn counts_of(&self, is_wanted: impl Fn(&ServiceKey) -> bool) -> Counts {
        let (tables, names) = (self.engine.tables(), self.engine.names());
        let mut services: BTreeMap<ServiceKey, ServiceCounts> = BTreeMap::new();
        for (id, key) in names.services.iter().filter(|(_, key)| is_wanted(key)) {
            let counter = tables.counter(id).unwrap_or_default();
            let counts = services.entry(key.clone()).or_default();
            counts.connects = counter.connects + self.engine.retired.get(&id).unwrap_or(&0);
            counts.denied = counter.denied;
            counts.open = u64::from(tables.open(id));
        }
        for (id, _) in names.endpoints.iter() {
            if let Some((service, address, port)) = names.endpoint(id)
                && let Some(counts) = services.get_mut(service)
            {
                let state = tables.endpoint(id).unwrap_or_default();
                let counter = tables.counter(id).unwrap_or_default();
                let of_endpoint = EndpointCounts {
                    connects: counter.connects,
                    denied: counter.denied,
                    open: u64::from(state.open),
                    outcomes: state.into(),
                };
                counts.connects += of_endpoint.connects;
                counts.endpoints.insert((address, port), of_endpoint);
            }
        }
        Counts {
            services,
            port_not_declared: tables.total(Total::PortNotDeclared),
            flows_full: tables.total(Total::FlowsFull),
            flows_stored: tables.total(Total::FlowsStored),
            name_servers_full: tables.total(Total::NameServersFull),
            overflows: tables.total(Total::Overflow),
            torn: tables.total(Total::Torn),
            events_lost: tables.total(Total::EventsLost),
            not_registered: tables.total(Total::NotRegistered),
            not_registered_audited: tables.total(Total::NotRegisteredAudited),
            denials_lost: tables.total(Total::DenialsLost),
        }
    }

    /// What has become of clients' connects to an endpoint. `None` where nobody counts that: the kernel cannot, or the endpoint
    /// is not in the maps.
    pub fn endpoint(&self, service: &ServiceKey, at: SocketAddr) -> Option<EndpointState> {
        let (tables, names) = (self.engine.tables(), self.engine.names());
        let service = names.service_id(service)?;
        let key = (service, address::from_ip(at.ip()), Port::new(at.port()));
        let state = tables.endpoint(names.endpoints.get(&key)?)?;
        self.can_follow().then_some(state)
    }

    /// Every program on every cgroup that it is attached to.
    pub fn programs(&self) -> Vec<ProgramFigures> {
        self.attachments
            .iter()
            .map(|attachment| {
                let name = attachment.hook.program();
                let facts = self.program_facts(name).unwrap_or_default();
                let fact = |key: &str| facts.get(key).copied().unwrap_or_default();
                ProgramFigures {
                    name,
                    cgroup: attachment.cgroup.clone(),
                    is_attached: attachment.is_attached(),
                    runs: fact("run_cnt"),
                    nanoseconds: fact("run_time_ns"),
                    verified_instructions: fact("verified_insns"),
                }
            })
            .collect()
    }

    /// What the kernel tells of a loaded program in `fdinfo`: lines of a key, a colon and a number.
    fn program_facts(&self, name: &str) -> Option<BTreeMap<String, u64>> {
        let fd = self.ebpf.program(name)?.fd().ok()?.as_fd().as_raw_fd();
        let facts = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let pairs = facts.lines().filter_map(|line| line.split_once(':'));
        let numbers =
            pairs.filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)));
        Some(numbers.collect())
    }

    pub fn fill(&self) -> Vec<Fill> {
        let (engine, limits) = (&self.engine, &self.limits);
        let fill = |map, used: usize, capacity: u32| Fill {
            map,
            used: used as u64,
            capacity: u64::from(capacity),
        };
        vec![
            fill("frontends", engine.live.frontends.len(), limits.frontends),
            fill("prefixes", engine.live.prefixes.len(), limits.prefixes),
            fill("exempt", engine.live.exempt.len(), limits.exempt),
            fill("cgroups", engine.live.clients.len(), limits.cgroups),
            fill(
                "cells",
                engine.space.used() as usize,
                engine.space.capacity(),
            ),
            fill("services", engine.names.services.count(), limits.services),
            fill(
                "endpoints",
                engine.names.endpoints.count(),
                limits.endpoints,
            ),
            fill(
                "flows",
                engine.tables().lines_in_use(0..limits.flows),
                limits.flows,
            ),
        ]
    }
}
