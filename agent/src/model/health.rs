//! What is known of endpoints beyond what objects say: which are ejected, which are new.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Identifies a service for as long as it exists, whatever else changes about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    pub namespace: Arc<str>,
    pub host: Arc<str>,
    pub port: u16,
    /// `agent_common::abi::{TCP, UDP}`.
    pub transport: u8,
    /// Of a route that is for some addresses of the service alone, what it is called: those lead to a service of their own.
    pub route: Option<Arc<str>>,
    /// Of clients for which the service is not what it is for the others, what they are called: it is a service of its own.
    pub clients: Option<Arc<str>>,
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vital {
    #[default]
    Healthy,
    /// It joined a while ago and gets this part of its weight, in thousandths; at most 1000.
    Warming(u16),
    /// Connects to it failed, of clients or of probes, and it is left out for a time.
    Ejected,
    /// Its object says that it is unhealthy.
    Failing,
}

impl Vital {
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy | Self::Warming(_))
    }

    /// The word for it that views and reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warming(_) => "warming",
            Self::Ejected => "ejected",
            Self::Failing => "unhealthy",
        }
    }

    /// The part of its weight that an endpoint gets, in thousandths, if it gets any.
    pub const fn thousandths(self) -> u16 {
        match self {
            Self::Warming(part) => part,
            Self::Healthy | Self::Ejected | Self::Failing => 1000,
        }
    }
}

/// The endpoints of one service that are not simply healthy.
pub type ServiceVitals = BTreeMap<SocketAddr, Vital>;

/// All services with such endpoints. Copies share their content.
pub type Vitals = imbl::OrdMap<ServiceKey, Arc<ServiceVitals>>;
