//! What every object has: a kind, a name, labels, and the place where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::authorization_policy::AuthorizationPolicy;
use super::destination_rule::DestinationRule;
use super::local_workload::LocalWorkload;
use super::peer_authentication::PeerAuthentication;
use super::request_authentication::RequestAuthentication;
use super::service_entry::ServiceEntry;
use super::sidecar::Sidecar;
use super::virtual_service::VirtualService;
use super::workload_entry::WorkloadEntry;

/// The kinds that shunt carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    AuthorizationPolicy,
    DestinationRule,
    LocalWorkload,
    Namespace,
    PeerAuthentication,
    RequestAuthentication,
    ServiceEntry,
    Sidecar,
    VirtualService,
    WorkloadEntry,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::DestinationRule => "DestinationRule",
            Self::LocalWorkload => "LocalWorkload",
            Self::Namespace => "Namespace",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::ServiceEntry => "ServiceEntry",
            Self::Sidecar => "Sidecar",
            Self::VirtualService => "VirtualService",
            Self::WorkloadEntry => "WorkloadEntry",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    pub file: Arc<str>,
    /// 1-based.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub id: ObjectId,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// `metadata.creationTimestamp`, RFC 3339 in UTC, which orders as text. Empty when absent, as in files.
    pub created: String,
    pub origin: Origin,
}

impl Meta {
    /// Istio's order of configuration, "oldest wins": creation time, then name, then namespace.
    pub fn age_key(&self) -> (&str, &str, &str) {
        (&self.created, &self.id.name, &self.id.namespace)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    ServiceEntry(ServiceEntry),
    WorkloadEntry(WorkloadEntry),
    DestinationRule(DestinationRule),
    VirtualService(VirtualService),
    LocalWorkload(LocalWorkload),
    /// Its labels are all that matters.
    Namespace,
    Sidecar(Sidecar),
    AuthorizationPolicy(AuthorizationPolicy),
    PeerAuthentication(PeerAuthentication),
    RequestAuthentication(RequestAuthentication),
}

/// A valid object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub meta: Meta,
    pub spec: Spec,
}
