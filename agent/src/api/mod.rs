//! What users write: Istio's objects, read strictly as Istio reads them, with every mistake reported at its line.
//!
//! This stage is pure: text in, objects and diagnostics out. It knows no other object than the one it reads; what
//! objects mean together is the model's and the compiler's to say.

pub mod attachment;
pub mod authorization_policy;
pub mod codes;
pub mod decode;
pub mod destination_rule;
pub mod diagnostic;
mod document;
mod findings;
mod header;
pub mod host;
mod likely;
pub mod local_workload;
pub mod locality;
pub mod mesh_config;
pub mod object;
mod outbound_policy;
pub mod peer_authentication;
pub mod request_authentication;
mod rules;
mod schema;
pub mod service_entry;
pub mod sidecar;
#[cfg(test)]
mod specimen;
mod tree;
pub mod virtual_service;
pub mod workload_entry;

pub use attachment::{Attachment, Target, TargetKind};
pub use authorization_policy::{AccessRule, AuthorizationPolicy, PolicyAction};
pub use decode::{Broken, Decoded, decode};
pub use destination_rule::{
    Algorithm, ConnectionPool, DestinationRule, HashTable, Keepalive, LoadBalancer,
    LocalityLbSetting, OutlierDetection, Subset, TlsMode, TrafficPolicy, Warmup,
};
pub use diagnostic::{Diagnostic, Severity};
pub use local_workload::{CgroupPattern, LocalWorkload};
pub use locality::Locality;
pub use mesh_config::MeshConfig;
pub use object::{Kind, Meta, Object, ObjectId, Origin, Spec};
pub use outbound_policy::OutboundPolicy;
pub use peer_authentication::{MtlsMode, PeerAuthentication};
pub use request_authentication::RequestAuthentication;
pub(crate) use schema::duration;
pub use service_entry::{Location, Protocol, Resolution, ServiceEntry, ServicePort};
pub use sidecar::Sidecar;
pub use virtual_service::VirtualService;
pub use workload_entry::{EndpointAddress, WorkloadEntry};
