//! How a report shows the policy of a service: by Istio's names, and only what is set.

use std::time::Duration;

use serde::Serialize;

use crate::api::{Algorithm, ConnectionPool, HashTable, Keepalive, OutlierDetection, Warmup};

use super::super::program::{Action, Service};

/// What a service's first cluster is subject to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedPolicy {
    /// How an endpoint is picked, by Istio's name for it; `CONSISTENT_HASH/` and the table for what hashes clients.
    pub load_balancer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<ReportedWarmup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_pool: Option<ReportedConnectionPool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<ReportedOutlierDetection>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedWarmup {
    pub duration: String,
    pub minimum_percent: u32,
    pub aggression: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedConnectionPool {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_keepalive: Option<ReportedKeepalive>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedKeepalive {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedOutlierDetection {
    /// Failed connects in a row after which an endpoint is ejected; absent where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_failures: Option<u32>,
    pub interval: String,
    pub base_ejection_time: String,
    pub max_ejection_percent: u32,
    pub min_health_percent: u32,
}

impl ReportedPolicy {
    pub fn of(service: &Service) -> Self {
        let first = service.clusters.first().map(|cluster| &*cluster.policy);
        Self {
            load_balancer: load_balancer(service),
            warmup: first.and_then(|p| p.warmup.as_ref()).map(warmup),
            connection_pool: first.and_then(|p| connection_pool(&p.connection_pool)),
            outlier_detection: first
                .and_then(|p| p.outlier_detection.as_ref())
                .map(outlier_detection),
        }
    }

    /// A line for each part that is set, the load balancer apart.
    pub fn lines(&self) -> Vec<String> {
        let warmup = self.warmup.as_ref().map(|warmup| {
            let percent = warmup.minimum_percent;
            format!("warmup: {percent}% at first, all after {}", warmup.duration)
        });
        let pool = self.connection_pool.as_ref();
        let pool = pool.map(|pool| format!("connectionPool: {}", pool.words()));
        let detection = self.outlier_detection.as_ref();
        let detection =
            detection.map(|detection| format!("outlierDetection: {}", detection.sentence()));
        [warmup, pool, detection].into_iter().flatten().collect()
    }
}

/// How an endpoint is picked, by Istio's name for it.
fn load_balancer(service: &Service) -> &'static str {
    let algorithm = service.clusters.first().map(|c| c.policy.algorithm);
    match (&service.action, algorithm.unwrap_or_default()) {
        (Action::Original { .. }, _) | (_, Algorithm::Passthrough) => "PASSTHROUGH",
        (_, Algorithm::LeastRequest) => "LEAST_REQUEST",
        (_, Algorithm::Random) => "RANDOM",
        (_, Algorithm::RoundRobin) => "ROUND_ROBIN",
        (_, Algorithm::SourceHash(HashTable::Ring { .. })) => "CONSISTENT_HASH/RING_HASH",
        (_, Algorithm::SourceHash(HashTable::Maglev { .. })) => "CONSISTENT_HASH/MAGLEV",
    }
}

fn warmup(warmup: &Warmup) -> ReportedWarmup {
    ReportedWarmup {
        duration: time(warmup.duration),
        minimum_percent: warmup.minimum_percent,
        aggression: f64::from(warmup.aggression) / 1000.0,
    }
}

/// `None` for a pool that neither limits nor sets anything.
fn connection_pool(pool: &ConnectionPool) -> Option<ReportedConnectionPool> {
    (*pool != ConnectionPool::default()).then(|| ReportedConnectionPool {
        max_connections: pool.max_connections,
        connect_timeout: pool.connect_timeout.map(time),
        idle_timeout: pool.idle_timeout.map(time),
        max_connection_duration: pool.max_connection_duration.map(time),
        tcp_keepalive: pool.keepalive.as_ref().map(keepalive),
    })
}

fn keepalive(keepalive: &Keepalive) -> ReportedKeepalive {
    ReportedKeepalive {
        probes: keepalive.probes,
        time: keepalive.time.map(time),
        interval: keepalive.interval.map(time),
    }
}

fn outlier_detection(detection: &OutlierDetection) -> ReportedOutlierDetection {
    ReportedOutlierDetection {
        consecutive_failures: detection.threshold(),
        interval: time(detection.interval),
        base_ejection_time: time(detection.base_ejection_time),
        max_ejection_percent: detection.max_ejection_percent,
        min_health_percent: detection.min_health_percent,
    }
}

/// As Istio writes it: whole seconds where it is, else milliseconds.
fn time(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}

impl ReportedConnectionPool {
    /// `name value` of all that is set.
    fn words(&self) -> String {
        let keepalive = self.tcp_keepalive.clone().unwrap_or_default();
        let is_bare = self.tcp_keepalive == Some(ReportedKeepalive::default());
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let words = [
            ("maxConnections", number(self.max_connections)),
            ("connectTimeout", self.connect_timeout.clone()),
            ("idleTimeout", self.idle_timeout.clone()),
            (
                "maxConnectionDuration",
                self.max_connection_duration.clone(),
            ),
            ("tcpKeepalive", is_bare.then(|| "on".to_owned())),
            ("tcpKeepalive.probes", number(keepalive.probes)),
            ("tcpKeepalive.time", keepalive.time),
            ("tcpKeepalive.interval", keepalive.interval),
        ];
        let set = words
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        set.collect::<Vec<String>>().join(", ")
    }
}

impl ReportedOutlierDetection {
    /// What it does, in a sentence.
    fn sentence(&self) -> String {
        let Some(failures) = self.consecutive_failures else {
            return "no endpoint is ejected".to_owned();
        };
        format!(
            "ejects after {failures} failed connects in a row, for {}, at most {}% of the endpoints",
            self.base_ejection_time, self.max_ejection_percent
        )
    }
}
