//! The rules of the source tree, each a test that says what is absent. ARCHITECTURE.md names the rule that each holds.

mod code;
mod documents;
mod manifests;
mod source;
mod stages;
