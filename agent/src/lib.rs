//! shunt: Istio's `ServiceEntry` on a Linux node without a sidecar.
//!
//! The modules are the stages of the pipeline, in order; each sees only those before it. ARCHITECTURE.md has the map.

pub mod api;
pub mod app;
pub mod cli;
pub mod compile;
pub mod dataplane;
pub mod health;
pub mod model;
pub mod nameserver;
pub mod observe;
pub mod settings;
pub mod sources;
