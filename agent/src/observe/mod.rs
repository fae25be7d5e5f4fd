//! What is going on, for people and scripts: views of the program and the live maps, and the control socket.
//!
//! Everything here is a function of plain inputs; who holds the live maps, and under which lock, is the application's
//! to know.

pub mod control;
pub mod coverage;
pub mod explain;
pub mod state;
pub mod view;

#[cfg(test)]
mod fixtures;

pub use control::{ClientError, ListenError, Listening, Request, Response, ask, serve};
pub use coverage::{CoverageView, coverage};
pub use explain::{Explanation, Question, Target, explain};
pub use state::State;
pub use view::{
    AnswerView, DenialView, EndpointView, LookupView, ObjectStatus, ObjectView, PolicyView,
    ServiceView, StatusView, SurveyView, WorkloadView,
};
