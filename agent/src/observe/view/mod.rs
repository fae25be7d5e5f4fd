//! What `shunt get` and `shunt status` show: plain data whose JSON form is stable, since others script against it.
//!
//! Views are made from a published state and from counts that somebody else read; nothing here waits or locks.

pub mod client;
mod drift;
mod ejection;
pub mod endpoint;
pub mod lookup;
pub mod object;
pub mod place;
pub mod policy;
pub mod service;
pub mod status;

#[cfg(test)]
mod tests;

pub use client::{DenialView, WorkloadView, workloads};
pub use drift::{DriftView, FoundView, PartView, RepairView, SurveyView, survey};
pub use ejection::EjectionView;
pub use endpoint::{EndpointView, Live, OutcomesView, endpoints};
pub use lookup::{AnswerView, LookupView, lookup};
pub use object::{ObjectStatus, ObjectView, objects};
pub use place::Place;
pub use policy::{Hits, PolicyHits, PolicyView, policies};
pub use service::{ActionView, ServiceView, services};
pub use status::{
    ClosedView, FindingsView, HealthView, MapView, NameView, ProgramView, SourceView, StatusInput,
    StatusView, TotalsView, status,
};
