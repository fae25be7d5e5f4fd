//! The control socket: how commands ask a running agent. One connection carries one question, a line of JSON, and its
//! answer, another.

mod client;
mod peer;
mod server;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::nameserver::{Cached, RecordKind};

use super::coverage::CoverageView;
use super::explain::{Explanation, Question};
use super::view::{
    DenialView, EndpointView, LookupView, ObjectView, PolicyView, ServiceView, StatusView,
    SurveyView, WorkloadView,
};

pub use client::{ClientError, ask};
pub use peer::Need;
pub use server::{Handler, ListenError, Listening, serve};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    Services,
    Endpoints,
    Objects,
    Workloads,
    /// Connects that policies denied, or would have.
    Denials,
    Policies,
    Status,
    Explain(Question),
    Coverage,
    /// What the name server answers.
    Lookup {
        name: String,
        #[serde(rename = "type")]
        kind: RecordKind,
    },
    /// What the name server remembers of others' answers.
    NameCache,
    /// Look at all that is in the kernel, and mend what is not as it should be.
    Verify,
}

impl Request {
    /// What whoever asks must be allowed to.
    pub fn need(&self) -> Need {
        match self {
            Self::Services
            | Self::Endpoints
            | Self::Objects
            | Self::Workloads
            | Self::Denials
            | Self::Policies
            | Self::Status
            | Self::Explain(_)
            | Self::Coverage
            | Self::Lookup { .. }
            | Self::NameCache => Need::Read,
            Self::Verify => Need::Change,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", content = "value", rename_all = "camelCase")]
pub enum Response {
    Services(Vec<ServiceView>),
    Endpoints(Vec<EndpointView>),
    Objects(Vec<ObjectView>),
    Workloads(Vec<WorkloadView>),
    Denials(Vec<DenialView>),
    Policies(Vec<PolicyView>),
    Status(Box<StatusView>),
    Explain(Box<Explanation>),
    Coverage(CoverageView),
    Lookup(LookupView),
    NameCache(Vec<Cached>),
    Verify(SurveyView),
    /// Whoever asked may not.
    Denied,
    /// The request was not understood or cannot be answered.
    Error(String),
}
