//! Do the maps hold what they should? The engine looks at those that it fills; CAPTURE and records of sockets are beside them.

use crate::compile::Program;
use crate::dataplane::drift::{Deviation, Drift, Part, Survey};
use crate::dataplane::engine::{self, Applied};

use super::Dataplane;
use super::sweep::Sweep;

/// How far the maps have been looked at, and what was found.
#[derive(Debug, Default)]
pub struct Pass {
    of_engine: engine::Pass,
    sweep: Sweep,
}

impl Pass {
    pub fn is_done(&self) -> bool {
        self.of_engine.is_done() && self.sweep.is_done()
    }

    /// Whether anything was found that [`Dataplane::mend`] is to mend, or to tell of.
    pub fn has_found(&self) -> bool {
        self.of_engine.has_found() || self.sweep.has_found()
    }
}

impl Dataplane {
    /// Looks at a part of the maps; see [`crate::dataplane::Engine::look`]. Records of sockets that are no more are ended.
    pub fn look(&mut self, pass: &mut Pass) {
        if pass.of_engine.is_done() {
            pass.sweep.go_on(&self.ebpf, self.engine.tables());
        } else {
            self.engine.look(&mut pass.of_engine);
        }
    }

    /// Mends what was found; see [`crate::dataplane::Engine::mend`].
    pub fn mend(&mut self, pass: Pass, program: &Program) -> (Survey, Option<Applied>) {
        let (mut survey, applied) = self.engine.mend(pass.of_engine, program);
        pass.sweep.tell(&mut survey);
        let names = &mut self.engine.store.names;
        survey.compared.insert(Part::Capture, 1);
        if !names.is_as_told() {
            names.tell_again();
            let failure = (!names.is_as_told()).then(|| "it was not taken".to_owned());
            survey.found.push(Drift {
                part: Part::Capture,
                deviation: Deviation::Changed,
                what: "where the name server listens".to_owned(),
                failure,
            });
        }
        (survey, applied)
    }
}
