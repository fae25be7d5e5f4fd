//! What the name server teaches: waiting lessons are folded together, the maps follow, and then clients get their answers.
//!
//! Clients wait for it. An address that was learned takes a short way past everything that is there already; a name that
//! gets addresses of its own needs a service, and with that a whole update.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::compile::{Names, Saying, extend};
use crate::model::{Fact, Registry};
use crate::nameserver::Lesson;
use crate::observe::State;

use super::core::Core;

/// Those who wait until the maps know of what they told.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<oneshot::Sender<()>>);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The maps know.
    pub(super) fn release(&mut self) {
        for done in self.0.drain(..) {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }
}

/// A name, and the addresses that a client is told of.
type Seen = (Arc<str>, Vec<IpAddr>);

impl Core {
    /// Folds this lesson and all that wait behind it. Returns whether a whole update must follow, which releases those who
    /// wait; else they are released already.
    pub(super) fn learn(&mut self, first: Lesson, lessons: &mut mpsc::Receiver<Lesson>) -> bool {
        let start = Instant::now();
        self.registry.set_time(self.clock.now());
        let mut seen: Vec<Seen> = Vec::new();
        let mut is_dirty = false;
        let mut next = Some(first);
        while let Some(Lesson { fact, done }) = next {
            if let Fact::Learned {
                name, addresses, ..
            } = &fact
            {
                seen.push((Arc::clone(name), addresses.clone()));
                self.registry.apply(fact);
            } else {
                is_dirty |= self.registry.apply(fact);
            }
            self.waiting.0.push(done);
            next = lessons.try_recv().ok();
        }
        // Before the first publication there is nothing to add to.
        let is_first = self.publisher.borrow().generation == 0;
        if is_dirty || is_first || self.registry.has_lost() || !self.extend(&seen, start) {
            return true;
        }
        self.keep();
        self.waiting.release();
        false
    }

    /// Adds what was seen to the maps and to what is published. Returns whether that was possible.
    fn extend(&mut self, seen: &[Seen], start: Instant) -> bool {
        let before = Arc::clone(&self.publisher.borrow());
        let lessons = seen.iter();
        let extension = extend(
            &before.compiled,
            lessons.map(|(name, addresses)| (&**name, addresses.as_slice())),
        );
        if extension.frontends.is_empty() {
            return true;
        }
        if !self.lock().extend(&extension.frontends) {
            return false;
        }
        let state = State {
            generation: before.generation + 1,
            compiled: Arc::new(extension.compiled),
            updated: SystemTime::now(),
            took: start.elapsed(),
            ..State::clone(&before)
        };
        tracing::debug!(
            generation = state.generation,
            frontends = extension.frontends.len(),
            took = ?state.took,
            "learned"
        );
        self.publisher.send_replace(Arc::new(state));
        true
    }

    /// Gives up what was learned, has ended and is not in use. Returns whether anything went.
    pub(super) fn expire(&mut self) -> bool {
        self.registry.set_time(self.clock.now());
        let dataplane = Arc::clone(&self.dataplane);
        self.registry.expire(|| {
            let dataplane = super::control::lock(&dataplane);
            dataplane.originals().collect::<HashSet<IpAddr>>()
        })
    }
}

/// Gives up names that no host covers any more, whoever sees it.
pub(super) fn retain(registry: &mut Registry, all: &[Arc<Names>]) {
    let is = |what: &dyn Fn(&Names) -> bool| all.iter().any(|names| what(names));
    registry.retain_learned(
        |name| is(&|names| matches!(names.find(name), Some(Saying::Learned))),
        |name| is(&|names| names.is_on_demand(name)),
    );
}
