//! Which of the sockets on record are to end: what [`crate::dataplane::closing`] has to say of this data plane.

use std::io;

use crate::compile::Program;
use crate::dataplane::closing::{self, CloseRule, Leftover, Target, Ticks};

use super::Dataplane;

impl Dataplane {
    /// The sockets in FLOWS that are connected to an endpoint that was live, and is in `program` no more. An endpoint is gone
    /// where its service is, but not for having no share.
    pub fn leftovers(&self, program: &Program) -> Vec<Leftover> {
        let lingering = self.engine.lingering();
        if lingering.is_empty() {
            return Vec::new();
        }
        let flows = self.engine.tables().flows();
        closing::removed(flows, self.engine.names(), lingering, program)
    }

    /// The sockets in FLOWS that are connected for longer than `rules` allow, or may have been idle for longer.
    pub fn expired(&self, rules: &[CloseRule]) -> io::Result<Vec<Target>> {
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        let flows = self.engine.tables().flows();
        Ok(closing::expired(flows, &Ticks::get()?, rules))
    }
}
