//! What a traffic policy says of connections. Each block is whole: what it leaves out has its default in it.

use std::time::Duration;

use super::{LocalityLbSetting, TlsMode};

/// The blocks of a policy; `None` for one that is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<TlsMode>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    pub algorithm: Algorithm,
    pub warmup: Option<Warmup>,
    pub locality_lb: Option<LocalityLbSetting>,
}

/// How one of several endpoints is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Of two that are drawn by weight, the one with fewer open connections for its weight.
    #[default]
    LeastRequest,
    Random,
    RoundRobin,
    /// The address that the client asked for.
    Passthrough,
    /// The same client is sent to the same endpoint.
    SourceHash(HashTable),
}

/// How clients are spread over endpoints, so that few of them move when endpoints come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashTable {
    Ring { minimum_size: u64 },
    Maglev { size: u64 },
}

/// Endpoints that are new get less at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Warmup {
    pub duration: Duration,
    /// Of its weight, at the start: 0 to 100.
    pub minimum_percent: u32,
    /// In thousandths: 1000 lets the weight grow in proportion to time.
    pub aggression: u32,
}

/// `connectionPool.tcp`; `None` for what is not limited or set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionPool {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub keepalive: Option<Keepalive>,
    /// Zero turns a timeout off.
    pub idle_timeout: Option<Duration>,
    pub max_connection_duration: Option<Duration>,
}

/// `tcpKeepalive`; what is `None` is left to the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keepalive {
    pub probes: Option<u32>,
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
}

/// When an endpoint is taken out because connects to it fail, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutlierDetection {
    /// Failed connects in a row, of which each is a 503 or 504 in Envoy's terms; 0 never ejects.
    pub consecutive_5xx_errors: u32,
    pub consecutive_gateway_errors: u32,
    /// Whether failed connects are counted as `consecutive_local_origin_failures` only.
    pub split_external_local_origin_errors: bool,
    pub consecutive_local_origin_failures: u32,
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_percent: u32,
    pub min_health_percent: u32,
}

impl Default for OutlierDetection {
    /// Istio's and Envoy's.
    fn default() -> Self {
        Self {
            consecutive_5xx_errors: 5,
            consecutive_gateway_errors: 0,
            split_external_local_origin_errors: false,
            consecutive_local_origin_failures: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
            min_health_percent: 0,
        }
    }
}

impl OutlierDetection {
    /// Failed connects in a row after which an endpoint is ejected; `None` for never.
    pub fn threshold(&self) -> Option<u32> {
        let counts = if self.split_external_local_origin_errors {
            [self.consecutive_local_origin_failures, 0]
        } else {
            [self.consecutive_5xx_errors, self.consecutive_gateway_errors]
        };
        counts.into_iter().filter(|count| *count > 0).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_both_counts_ejects_unless_it_is_off() {
        let ejects = |all, gateway| {
            let detection = OutlierDetection {
                consecutive_5xx_errors: all,
                consecutive_gateway_errors: gateway,
                ..OutlierDetection::default()
            };
            detection.threshold()
        };
        assert_eq!(ejects(5, 0), Some(5));
        assert_eq!(ejects(5, 3), Some(3));
        assert_eq!(ejects(0, 7), Some(7));
        assert_eq!(ejects(0, 0), None);
    }

    #[test]
    fn split_errors_are_those_of_local_origin_only() {
        let detection = OutlierDetection {
            split_external_local_origin_errors: true,
            consecutive_5xx_errors: 1,
            consecutive_local_origin_failures: 4,
            ..OutlierDetection::default()
        };
        assert_eq!(detection.threshold(), Some(4));
    }
}
