//! Is what was put into the kernel still as it should be? It is looked at again and again, and mended; each repair is an event,
//! and whoever asks is told what a look at everything comes to.
//!
//! Clients wait for names on the core's loop: a pass takes one part after the other, with pauses while all is well.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use crate::dataplane::{Drift, Part, Pass, Survey};
use crate::observe::State;
use crate::observe::view::status::unix_seconds;
use crate::observe::view::{DriftView, RepairView};

use super::core::Core;

/// Between the beginnings of two passes.
const PASS: Duration = Duration::from_mins(1);
/// To the next one where something could not be mended.
const RETRY: Duration = Duration::from_secs(5);
/// Between two parts of a pass while nothing is found.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at the programs.
const LOOK: Duration = Duration::from_secs(2);
/// What one survey tells in the log, at most.
const TOLD: usize = 20;
/// Repairs that are kept for whoever asks.
const KEPT: usize = 20;
/// Questions that may wait.
const QUESTIONS: usize = 16;

/// Wants to know what a whole pass comes to.
type Asker = oneshot::Sender<Survey>;

/// Where others ask.
#[derive(Clone)]
pub(super) struct Desk {
    questions: mpsc::Sender<Asker>,
    record: Arc<Record>,
}

impl Desk {
    /// What a whole pass comes to, once the core has made it; `None` while programs are not attached. Blocks.
    pub(super) fn verify(&self) -> Option<Survey> {
        let (asker, answer) = oneshot::channel();
        self.questions.blocking_send(asker).ok()?;
        answer.blocking_recv().ok()
    }

    /// What was found since the start.
    pub(super) fn view(&self) -> DriftView {
        self.record.lock().view()
    }
}

/// When what is looked at.
pub(super) struct Resync {
    desk: Desk,
    questions: mpsc::Receiver<Asker>,
    /// Those for whom a pass is to begin.
    askers: Vec<Asker>,
    running: Option<Running>,
    next_pass: Instant,
    next_part: Instant,
    next_look: Instant,
}

/// A pass that is under way.
struct Running {
    pass: Pass,
    askers: Vec<Asker>,
    programs: Survey,
}

impl Resync {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let (sender, questions) = mpsc::channel(QUESTIONS);
        Self {
            desk: Desk {
                questions: sender,
                record: Arc::default(),
            },
            questions,
            askers: Vec::new(),
            running: None,
            next_pass: now + PASS,
            next_part: now,
            next_look: now + LOOK,
        }
    }

    pub(super) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Returns when it is time to look. Nothing is lost where this is not awaited to its end.
    pub(super) async fn due(&mut self) {
        let next = self.next();
        tokio::select! {
            Some(asker) = self.questions.recv() => self.askers.push(asker),
            () = sleep_until(next.into()) => {}
        }
    }

    fn next(&self) -> Instant {
        let is_urgent = !self.askers.is_empty()
            || self
                .running
                .as_ref()
                .is_some_and(|running| running.pass.has_found() || !running.askers.is_empty());
        let of_pass = match &self.running {
            _ if is_urgent => Instant::now(),
            Some(_) => self.next_part,
            None => self.next_pass,
        };
        of_pass.min(self.next_look)
    }
}

impl Core {
    /// Looks at what is due, and mends what is found.
    pub(super) fn look_for_drift(&mut self) {
        let now = Instant::now();
        if !self.startup.is_done() {
            // Nothing is promised yet; whoever asks learns that by its question being dropped.
            self.resync.askers.clear();
            self.resync.next_look = now + LOOK;
            return;
        }
        let begins = self.resync.running.is_none()
            && (!self.resync.askers.is_empty() || now >= self.resync.next_pass);
        let mut programs = Survey::default();
        if begins || now >= self.resync.next_look {
            programs = self.lock().look_after_programs();
            self.resync.next_look = now + LOOK;
            self.resync.desk.record.note_programs(&programs);
        }
        if begins {
            self.resync.next_pass = now + PASS;
            self.resync.running = Some(Running {
                pass: Pass::default(),
                askers: std::mem::take(&mut self.resync.askers),
                programs,
            });
        }
        if let Some(mut running) = self.resync.running.take() {
            self.lock().look(&mut running.pass);
            self.resync.next_part = now + PAUSE;
            if running.pass.is_done() {
                self.end_pass(running);
            } else {
                self.resync.running = Some(running);
            }
        }
    }

    fn end_pass(&mut self, running: Running) {
        let state = Arc::clone(&self.publisher.borrow());
        let program = &state.compiled.program;
        let (mut survey, applied) = self.lock().mend(running.pass, program);
        if let Some(applied) = applied {
            // What is left to do is tried again, as after any update.
            self.publisher.send_replace(Arc::new(State {
                generation: state.generation + 1,
                dataplane_diagnostics: applied.diagnostics.into(),
                updated: SystemTime::now(),
                took: applied.took,
                ..State::clone(&state)
            }));
        }
        self.resync.desk.record.note_maps(&survey);
        if survey.found.iter().any(|drift| drift.failure.is_some()) {
            self.resync.next_pass = Instant::now() + RETRY;
        }
        survey.extend(running.programs);
        for asker in running.askers {
            // Whoever asked may have gone.
            let _ = asker.send(survey.clone());
        }
    }
}

#[derive(Debug, Default)]
struct Record(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    passes: u64,
    last_pass: Option<SystemTime>,
    repaired: u64,
    /// The last ones.
    repairs: VecDeque<(SystemTime, Drift)>,
    /// What is not mended of the maps, and of the programs.
    of_maps: Vec<Drift>,
    of_programs: Vec<Drift>,
}

impl Record {
    fn note_programs(&self, survey: &Survey) {
        let mut entries = self.lock();
        let before = std::mem::take(&mut entries.of_programs);
        entries.of_programs = entries.note(survey, &before);
    }

    fn note_maps(&self, survey: &Survey) {
        let mut entries = self.lock();
        entries.passes += 1;
        entries.last_pass = Some(SystemTime::now());
        let before = std::mem::take(&mut entries.of_maps);
        entries.of_maps = entries.note(survey, &before);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn view(&self) -> DriftView {
        let standing = self.of_programs.iter().chain(&self.of_maps);
        let repairs = self.repairs.iter().rev();
        DriftView {
            passes: self.passes,
            last_pass: self.last_pass.map(unix_seconds),
            repaired: self.repaired,
            standing: standing.map(ToString::to_string).collect(),
            repairs: repairs
                .map(|(at, drift)| RepairView::new(*at, drift))
                .collect(),
        }
    }

    /// Tells of what was found, but for what could not be mended `before` either. Returns what could not.
    fn note(&mut self, survey: &Survey, before: &[Drift]) -> Vec<Drift> {
        let mut standing = Vec::new();
        let mut told = 0;
        for drift in &survey.found {
            if drift.failure.is_some() {
                standing.push(drift.clone());
                if before.contains(drift) {
                    continue;
                }
            } else {
                self.repaired += 1;
                self.repairs.push_back((SystemTime::now(), drift.clone()));
                if self.repairs.len() > KEPT {
                    self.repairs.pop_front();
                }
            }
            told += 1;
            if told <= TOLD {
                tell(drift);
            }
        }
        if told > TOLD {
            tracing::warn!("somebody has changed {} more than that", told - TOLD);
        }
        standing
    }
}

fn tell(drift: &Drift) {
    match (&drift.failure, drift.part) {
        (Some(_), _) => tracing::error!("somebody has changed {drift}"),
        (None, Part::Programs | Part::Pins) => tracing::warn!("somebody has changed {drift}"),
        // Programs may have been away for a while.
        (None, Part::Flows) => tracing::warn!("{drift}"),
        (None, _) => tracing::warn!("somebody has changed the map {drift}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::dataplane::Deviation;

    use super::*;

    fn survey(failures: &[Option<&str>]) -> Survey {
        let found = failures.iter().map(|failure| Drift {
            part: Part::Frontends,
            deviation: Deviation::Missing,
            what: "10.1.0.1:80 of default/a.test:80".to_owned(),
            failure: failure.map(str::to_owned),
        });
        Survey {
            found: found.collect(),
            ..Survey::default()
        }
    }

    #[test]
    fn the_last_repairs_are_kept_and_all_are_counted() {
        let desk = Resync::new().desk();
        for _ in 0..KEPT {
            desk.record.note_maps(&survey(&[None, None]));
        }
        let view = desk.view();
        assert_eq!(view.passes, KEPT as u64);
        assert_eq!((view.repaired, view.repairs.len()), (2 * KEPT as u64, KEPT));
        assert_eq!(view.standing, [""; 0]);
    }

    #[test]
    fn what_is_not_mended_stands_until_it_is() {
        let desk = Resync::new().desk();
        desk.record.note_maps(&survey(&[None, Some("it is full")]));
        desk.record.note_programs(&survey(&[]));
        let expected = "FRONTENDS: 10.1.0.1:80 of default/a.test:80 (missing): not mended, and tried again: it is full";
        assert_eq!(desk.view().standing, [expected]);
        assert_eq!(desk.view().repaired, 1);
        desk.record.note_maps(&survey(&[None]));
        assert_eq!(desk.view().standing, [""; 0]);
    }

    #[tokio::test]
    async fn whoever_asks_is_heard_at_once() {
        let mut resync = Resync::new();
        let (asker, _answer) = oneshot::channel();
        resync.desk.questions.try_send(asker).unwrap();
        let wait = tokio::time::timeout(Duration::from_secs(1), resync.due());
        assert_eq!(wait.await, Ok(()));
        assert!(resync.next() <= Instant::now());
    }
}
