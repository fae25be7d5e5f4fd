//! Do the maps hold what they should? The engine looks at those that it fills; CAPTURE is beside them.

use crate::compile::Program;
use crate::dataplane::drift::{Deviation, Drift, Part, Survey};
use crate::dataplane::engine::{Applied, Pass};

use super::Dataplane;

impl Dataplane {
    /// Looks at a part of the maps; see [`crate::dataplane::Engine::look`].
    pub fn look(&mut self, pass: &mut Pass) {
        self.engine.look(pass);
    }

    /// Mends what was found; see [`crate::dataplane::Engine::mend`].
    pub fn mend(&mut self, pass: Pass, program: &Program) -> (Survey, Option<Applied>) {
        let (mut survey, applied) = self.engine.mend(pass, program);
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
