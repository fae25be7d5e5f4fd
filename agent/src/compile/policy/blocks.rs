//! What the levels of a policy come to together: the rule's, the port's, the subset's and the mesh's (Istio's
//! `MergeTrafficPolicy`). Each block is taken whole from one of them.

use std::fmt;
use std::time::Duration;

use crate::api::destination_rule::{Keepalive, Subset};
use crate::api::{
    ConnectionPool, DestinationRule, LoadBalancer, MeshConfig, Meta, OutlierDetection, TlsMode,
    TrafficPolicy,
};

use super::super::spread::Policy;

/// Istio's, where nothing says how long a connect may take. It is set only where failures count: elsewhere the client knows
/// better how long it wants to wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a block is written.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Writer<'a> {
    Rule(&'a Meta),
    Mesh,
}

/// A block, and where it is written.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Written<'a, T> {
    pub(in super::super) by: Writer<'a>,
    pub(in super::super) block: T,
}

/// The blocks in effect for a port of a host, or of a subset of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blocks<'a> {
    pub(super) load_balancer: Option<Written<'a, &'a LoadBalancer>>,
    pub(super) connection_pool: Option<Written<'a, ConnectionPool>>,
    pub(super) outlier_detection: Option<Written<'a, OutlierDetection>>,
    pub(super) tls: Option<Written<'a, TlsMode>>,
}

impl<'a> Blocks<'a> {
    /// A rule's for `port`: what is written for the port stands in place of all that is written for all ports.
    pub(super) fn of_rule(rule: &'a DestinationRule, meta: &'a Meta, port: u16) -> Self {
        let policy = rule.port_policies.get(&port);
        let policy = policy.or(rule.traffic_policy.as_ref());
        policy.map_or_else(Self::default, |policy| {
            Self::written(policy, Writer::Rule(meta))
        })
    }

    /// These with what the subset says over them. Where it says something for the port, nothing of these is left.
    pub(super) fn with_subset(self, subset: &'a Subset, meta: &'a Meta, port: u16) -> Self {
        let by = Writer::Rule(meta);
        match (subset.port_policies.get(&port), &subset.traffic_policy) {
            (Some(of_port), _) => Self::written(of_port, by),
            (None, Some(policy)) => Self::written(policy, by).or(self),
            (None, None) => self,
        }
    }

    /// These with the mesh's where they are missing.
    pub(super) fn with_mesh(self, mesh: &'a MeshConfig) -> Self {
        self.or(Self::written(&mesh.default_traffic_policy, Writer::Mesh))
    }

    fn written(policy: &'a TrafficPolicy, by: Writer<'a>) -> Self {
        Self {
            load_balancer: written(policy.load_balancer.as_ref(), by),
            connection_pool: written(policy.connection_pool, by),
            outlier_detection: written(policy.outlier_detection, by),
            tls: written(policy.tls, by),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or(other.load_balancer),
            connection_pool: self.connection_pool.or(other.connection_pool),
            outlier_detection: self.outlier_detection.or(other.outlier_detection),
            tls: self.tls.or(other.tls),
        }
    }

    /// What they come to for the endpoints, with what of `mesh` is not a block.
    pub(super) fn policy(&self, mesh: &MeshConfig) -> Policy {
        let balancer = self.load_balancer.map(|written| written.block);
        let pool = self.connection_pool.map(|written| written.block);
        let pool = pool.unwrap_or_default();
        let outlier_detection = self.outlier_detection.map(|written| written.block);
        // A connect that never ends is never counted as failed.
        let needed = outlier_detection.map(|_| CONNECT_TIMEOUT);
        Policy {
            algorithm: balancer.map(|b| b.algorithm).unwrap_or_default(),
            warmup: balancer.and_then(|b| b.warmup),
            connection_pool: ConnectionPool {
                connect_timeout: pool.connect_timeout.or(mesh.connect_timeout).or(needed),
                keepalive: overlaid(pool.keepalive, mesh.tcp_keepalive),
                ..pool
            },
            outlier_detection,
        }
    }
}

fn written<T>(block: Option<T>, by: Writer<'_>) -> Option<Written<'_, T>> {
    block.map(|block| Written { by, block })
}

/// Either's presence turns keepalive on.
fn overlaid(own: Option<Keepalive>, mesh: Option<Keepalive>) -> Option<Keepalive> {
    let (Some(own), Some(mesh)) = (own, mesh) else {
        return own.or(mesh);
    };
    Some(Keepalive {
        probes: own.probes.or(mesh.probes),
        time: own.time.or(mesh.time),
        interval: own.interval.or(mesh.interval),
    })
}

impl fmt::Display for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(meta) => write!(f, "{} ({})", meta.id, meta.origin),
            Self::Mesh => f.write_str("the mesh"),
        }
    }
}
