//! What of a service the kernel sees. Services of equal content need no update.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_common::abi::{self, Address, Extra, Port};

use crate::api::{Algorithm, ConnectionPool, Keepalive};
use crate::compile::{Action, Endpoint, RefuseReason, Service};

use super::super::address;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Content {
    pub(super) action: abi::Action,
    pub(super) port: Option<u16>,
    pub(super) algorithm: Algorithm,
    /// Limits and options, but no index.
    pub(super) extra: Extra,
    /// In the order in which their slots stand; those of one address and port are one member.
    pub(in crate::dataplane) members: Vec<Member>,
    /// Part of the connects that fail, in units of the members' shares.
    pub(super) unserved: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Member {
    pub(in crate::dataplane) address: Address,
    pub(in crate::dataplane) port: Port,
    /// 0 for one that gets no connects, but keeps its id.
    pub(super) share: u64,
    /// Members of one pool may take connects of each other; 0 is none's.
    pub(super) pool: u8,
    /// Connects that draw it fail.
    pub(super) is_denied: bool,
}

impl Member {
    /// What its slot says: port 0 for one that policies deny, as nothing is sent there and nothing is kept there.
    pub(super) fn place(&self) -> (Address, Port) {
        let port = if self.is_denied {
            Port::new(0)
        } else {
            self.port
        };
        (self.address, port)
    }
}

impl Content {
    pub(in crate::dataplane) fn of(service: &Service) -> Self {
        let (action, port) = match service.action {
            Action::Balance => (abi::Action::Balance, None),
            Action::Original { port } => (abi::Action::Original, port),
            Action::Refuse(RefuseReason::Denied) => (abi::Action::Deny, None),
            Action::Refuse(_) => (abi::Action::Refuse, None),
        };
        let policy = service.clusters.first().map(|cluster| &cluster.policy);
        let algorithm = match (&service.action, policy) {
            (Action::Balance, Some(policy)) => policy.algorithm,
            (Action::Balance, None) => Algorithm::default(),
            _ => Algorithm::Random,
        };
        let pools = match algorithm {
            Algorithm::LeastRequest => pools(service),
            _ => BTreeMap::new(),
        };
        Self {
            action,
            port,
            algorithm,
            extra: policy.map_or_else(Extra::default, |policy| extra(&policy.connection_pool)),
            members: members(service, &pools),
            unserved: service.unserved,
        }
    }
}

fn members(service: &Service, pools: &BTreeMap<Pool, u8>) -> Vec<Member> {
    let mut members: BTreeMap<(Address, Port), Member> = BTreeMap::new();
    for endpoint in &service.endpoints {
        let (address, port) = (address::from_ip(endpoint.address), Port::new(endpoint.port));
        let pool = pools.get(&pool(service, endpoint)).copied().unwrap_or(0);
        let member = members.entry((address, port)).or_insert(Member {
            address,
            port,
            share: 0,
            pool,
            is_denied: false,
        });
        member.share = member.share.saturating_add(endpoint.share);
        member.is_denied |= endpoint.is_denied();
        // What is in two pools would carry the connects of one into the other.
        if member.pool != pool {
            member.pool = 0;
        }
    }
    let mut members: Vec<Member> = members.into_values().collect();
    for member in members.iter_mut().filter(|member| member.is_denied) {
        // It never has anything open, and would be preferred for that.
        member.pool = 0;
    }
    members.sort_by_key(|member| (member.place(), member.port));
    members
}

/// What has a share of its own, whatever is open: the endpoints of a cluster, a priority and a weighted locality.
type Pool = (u32, u32, u32);

fn pool(service: &Service, endpoint: &Endpoint) -> Pool {
    let cluster = service.clusters.get(endpoint.cluster as usize);
    let has_localities = cluster.is_some_and(|cluster| cluster.localities.is_some());
    let locality = if has_localities {
        endpoint.locality_group
    } else {
        0
    };
    (endpoint.cluster, endpoint.priority, locality)
}

/// Numbers the pools from 1. Those of clusters with another algorithm have none, and those that come too late for a number.
fn pools(service: &Service) -> BTreeMap<Pool, u8> {
    let takes_part = |endpoint: &&Endpoint| {
        let cluster = service.clusters.get(endpoint.cluster as usize);
        let algorithm = cluster.map(|cluster| cluster.policy.algorithm);
        endpoint.share > 0 && algorithm.unwrap_or_default() == Algorithm::LeastRequest
    };
    let endpoints = service.endpoints.iter().filter(takes_part);
    let pools: BTreeSet<Pool> = endpoints.map(|endpoint| pool(service, endpoint)).collect();
    pools.into_iter().zip(1..=u8::MAX).collect()
}

/// What `tcp(7)` takes at most; more would be refused.
const MOST_SECONDS: u32 = 32_767;
const MOST_PROBES: u32 = 127;

fn extra(pool: &ConnectionPool) -> Extra {
    let Keepalive {
        probes,
        time,
        interval,
    } = pool.keepalive.unwrap_or_default();
    Extra {
        max_connections: pool.max_connections.unwrap_or(0),
        connect_timeout: pool.connect_timeout.map_or(0, milliseconds),
        keepalive: u32::from(pool.keepalive.is_some()),
        keepalive_time: time.map_or(0, seconds),
        keepalive_interval: interval.map_or(0, seconds),
        keepalive_probes: probes.map_or(0, |probes| probes.min(MOST_PROBES)),
        ..Extra::default()
    }
}

/// At least one, as 0 leaves an option to the system.
fn milliseconds(duration: Duration) -> u32 {
    let most = u32::try_from(i32::MAX).unwrap_or(u32::MAX);
    u32::try_from(duration.as_millis()).map_or(most, |ms| ms.clamp(1, most))
}

fn seconds(duration: Duration) -> u32 {
    let whole = duration.as_millis().div_ceil(1000);
    u32::try_from(whole).map_or(MOST_SECONDS, |s| s.clamp(1, MOST_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_kept_within_what_the_kernel_takes() {
        let pool = ConnectionPool {
            connect_timeout: Some(Duration::from_micros(10)),
            keepalive: Some(Keepalive {
                probes: Some(1000),
                time: Some(Duration::from_secs(100_000)),
                interval: Some(Duration::from_millis(1500)),
            }),
            ..ConnectionPool::default()
        };
        let expected = Extra {
            connect_timeout: 1,
            keepalive: 1,
            keepalive_time: 32_767,
            keepalive_interval: 2,
            keepalive_probes: 127,
            ..Extra::default()
        };
        assert_eq!(extra(&pool), expected);
        assert_eq!(extra(&ConnectionPool::default()), Extra::default());
    }
}
