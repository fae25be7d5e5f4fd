//! The core: the one owner of what is known and of what the kernel holds. It folds facts, and when something is
//! different it compiles, applies and publishes.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};

use crate::api::{Diagnostic, Severity};
use crate::compile::{Compiled, compile};
use crate::dataplane::{Applied, Dataplane, Denials, Events};
use crate::model::{Fact, Registry, Snapshot};
use crate::nameserver::Lesson;
use crate::observe::State;
use crate::settings::Settings;
use crate::sources::{Directory, Refresher};

use super::clients::Tenants;
use super::clock::Clock;
use super::closing::Closing;
use super::control::lock;
use super::denials::Ledger;
use super::drift::Resync;
use super::health::{self, Watch};
use super::hits::HitCounter;
use super::kept::Kept;
use super::lessons::{self, Waiting};
use super::probes::Probes;
use super::supervisor::{Pulse, Pulses};
use super::vip_file::VipFile;

pub(super) use super::startup::Startup;

/// How often what the maps could not take is tried again, and traces are shown.
const TICK: Duration = Duration::from_millis(500);
/// Ticks between two tries.
const RETRY_TICKS: u32 = 10;
/// Ticks between two looks at what policies would have denied.
const AUDIT_TICKS: u32 = 120;
/// Ticks between two looks at what is around the agent.
const LOOK_TICKS: u32 = 4;

pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) registry: Registry,
    pub(super) vip_file: Option<VipFile>,
    pub(super) kept: Option<Kept>,
    pub(super) dataplane: Arc<Mutex<Dataplane>>,
    pub(super) directories: Vec<Directory>,
    pub(super) refresher: Arc<Refresher>,
    pub(super) publisher: watch::Sender<Arc<State>>,
    pub(super) startup: Startup,
    pub(super) clock: Clock,
    /// Whoever told what the maps do not know yet.
    pub(super) waiting: Waiting,
    /// The VIPs differ from those in the file.
    pub(super) unsaved: bool,
    pub(super) closing: Closing,
    pub(super) watch: Watch,
    pub(super) probes: Probes,
    /// Failed connects; `None` where the kernel cannot tell of them.
    pub(super) events: Option<Events>,
    pub(super) tenants: Tenants,
    pub(super) denials: Denials,
    pub(super) ledger: Arc<Ledger>,
    pub(super) hits: Arc<HitCounter>,
    pub(super) resync: Resync,
    pub(super) pulse: Arc<Pulse>,
    pub(super) pulses: Arc<Pulses>,
    /// Names of sources that have ended, which none does by itself.
    pub(super) ended: mpsc::Receiver<&'static str>,
}

impl Core {
    /// Runs until told to stop, or until something that it needs has ended.
    pub(super) async fn run(
        mut self,
        mut facts: mpsc::Receiver<Fact>,
        mut lessons: mpsc::Receiver<Lesson>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<()> {
        let mut hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0u32;
        loop {
            self.pulse.beat();
            let deadline = self.startup.deadline().unwrap_or_else(far_away);
            let is_dirty = tokio::select! {
                _ = &mut stop => break,
                told = health::next(&mut self.events) => {
                    let events = told.context("waiting for events")?;
                    block_in_place(|| self.hear(&events))
                }
                due = self.probes.next() => block_in_place(|| self.probe(due)),
                fact = facts.recv() => self.fold(fact, &mut facts)?,
                Some(lesson) = lessons.recv() => self.learn(lesson, &mut lessons),
                () = tokio::time::sleep_until(deadline.into()) => true,
                () = self.resync.due() => {
                    block_in_place(|| self.look_for_drift());
                    false
                }
                _ = hangup.recv() => {
                    self.reread();
                    false
                }
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.keep_alive();
                    self.lock().flush_traces();
                    self.note_denials();
                    if self.settings.node.is_audited && ticks.is_multiple_of(AUDIT_TICKS) {
                        self.hits.look(&self.lock());
                    }
                    self.save_vips();
                    self.keep();
                    self.go_on_closing();
                    let is_behind = block_in_place(|| self.watch_on());
                    let is_elsewhere =
                        ticks.is_multiple_of(LOOK_TICKS) && self.has_exemptions() && self.look_around();
                    let is_retry = ticks.is_multiple_of(RETRY_TICKS);
                    is_behind || is_elsewhere || is_retry && (self.expire() | self.has_pending())
                }
                name = ended(&mut self.directories) => bail!("the source {name} has ended"),
                Some(name) = self.ended.recv() => bail!("{name} has ended"),
            };
            if is_dirty {
                block_in_place(|| self.publish());
            }
            self.attach_when_due()?;
        }
        self.save_vips();
        self.keep();
        // What was attached and made goes with `self`, unless it is to be kept.
        notify(&[NotifyState::Stopping]);
        Ok(())
    }

    /// Folds this fact and all that wait behind it, so that a burst costs one update.
    fn fold(&mut self, fact: Option<Fact>, facts: &mut mpsc::Receiver<Fact>) -> Result<bool> {
        let mut next = fact.context("every source has ended")?;
        let mut is_dirty = false;
        let mut is_moved = false;
        loop {
            let is_sync = matches!(next, Fact::Synced(_));
            let of_cgroups = matches!(next, Fact::Cgroups(_));
            let is_new = self.registry.apply(next) || is_sync;
            is_moved |= of_cgroups && is_new;
            is_dirty |= !of_cgroups && is_new;
            match facts.try_recv() {
                Ok(fact) => next = fact,
                Err(_) => break,
            }
        }
        Ok(is_dirty || is_moved && block_in_place(|| self.settle_cgroups()))
    }

    fn publish(&mut self) {
        let start = Instant::now();
        let sources: Vec<_> = self.directories.iter().map(|d| d.id().clone()).collect();
        if !self
            .startup
            .may_publish(self.registry.is_synced(&sources), start)
        {
            return;
        }
        self.look_around();
        self.know_cgroups();
        self.registry.set_time(self.clock.now());
        let snapshot = Arc::new(self.registry.snapshot());
        let compiled = Arc::new(self.watch(compile(&snapshot)));
        self.registry.retain_answers(&compiled.demand);
        lessons::retain(&mut self.registry, &compiled.names);
        self.refresher.set_demand(&compiled.demand);
        let is_answered = || all_answered(&compiled, &snapshot);
        let may_apply = self.startup.may_apply(is_answered, start);
        let applied = if may_apply {
            let mut dataplane = self.lock();
            let program = &compiled.program;
            // What an agent before us has counted is known as such from here on.
            dataplane.go_on(program);
            self.hits.turn(&dataplane, program);
            dataplane.apply(program)
        } else {
            Applied::default()
        };
        let before = Arc::clone(&self.publisher.borrow());
        let state = State {
            generation: before.generation + 1,
            snapshot,
            compiled,
            ejections: self.watch.records(),
            file_diagnostics: self.registry.diagnostics().into(),
            dataplane_diagnostics: applied.diagnostics.into(),
            updated: SystemTime::now(),
            took: start.elapsed(),
            ..State::clone(&before)
        };
        report(&before, &state, applied.steps);
        self.keep();
        self.publisher.send_replace(Arc::new(state));
        self.startup.published(Instant::now(), may_apply);
        self.unsaved = true;
        // The file can wait where clients do not: nearly always a host would get the same addresses again.
        if self.waiting.is_empty() {
            self.save_vips();
        }
        self.waiting.release();
        self.follow();
        self.closing.look_again();
        self.go_on_closing();
    }

    fn go_on_closing(&mut self) {
        let compiled = Arc::clone(&self.publisher.borrow().compiled);
        self.closing.go_on(&self.dataplane, &compiled.program);
    }

    fn save_vips(&mut self) {
        if !std::mem::take(&mut self.unsaved) {
            return;
        }
        let vips = &self.publisher.borrow().snapshot.vips;
        if let Some(file) = &mut self.vip_file
            && let Err(error) = file.save(vips)
        {
            tracing::error!(%error, "automatic VIPs are not kept: after a restart hosts may get others");
        }
    }

    fn attach_when_due(&mut self) -> Result<()> {
        let is_answered = || {
            let state = self.publisher.borrow();
            all_answered(&state.compiled, &state.snapshot)
        };
        if !self.startup.may_attach(is_answered, Instant::now()) {
            return Ok(());
        }
        let cgroups = &self.settings.cgroups;
        block_in_place(|| self.lock().attach(cgroups)).context("attaching the kernel programs")?;
        // Whoever waits until all is ready may count on it that failed connects are noticed.
        self.follow();
        self.watch.settle();
        self.startup.attached();
        self.publisher.send_modify(|state| {
            *state = Arc::new(State {
                ready: true,
                ..State::clone(state)
            });
        });
        for cgroup in cgroups {
            tracing::info!(cgroup = %cgroup.display(), "attached");
        }
        notify(&[NotifyState::Ready]);
        Ok(())
    }

    /// Tells systemd that all is well, as often as it was found to be so: what hangs, whoever looks after it or this loop, ends
    /// that.
    fn keep_alive(&self) {
        if self.pulses.were_well() && sd_notify::watchdog_enabled().is_some() {
            notify(&[NotifyState::Watchdog]);
        }
    }

    fn reread(&self) {
        tracing::info!("SIGHUP: reading every source again");
        for directory in &self.directories {
            directory.rescan();
        }
        self.refresher.refresh();
    }

    fn note_denials(&mut self) {
        let denials = self.denials.drain();
        if !denials.is_empty() {
            let state = Arc::clone(&self.publisher.borrow());
            self.ledger.note(&denials, &state, &self.lock());
        }
    }

    fn has_pending(&self) -> bool {
        !self.publisher.borrow().dataplane_diagnostics.is_empty()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Dataplane> {
        lock(&self.dataplane)
    }
}

/// Whether every name that is asked for has an answer, be it that there is none.
fn all_answered(compiled: &Compiled, snapshot: &Snapshot) -> bool {
    let mut names = compiled.demand.iter();
    names.all(|name| snapshot.answers.contains_key(name))
}

/// Logs what an update came to, and every finding that is new.
fn report(before: &State, now: &State, steps: usize) {
    let program = &now.compiled.program;
    tracing::info!(
        generation = now.generation,
        objects = now.snapshot.objects.len(),
        services = program.services.len(),
        frontends = program.frontends.len(),
        changes = steps,
        took = ?now.took,
        "updated"
    );
    let known: BTreeSet<&Diagnostic> = before.diagnostics().collect();
    for finding in now.diagnostics().filter(|finding| !known.contains(finding)) {
        let text = match finding.hint.as_str() {
            "" => finding.to_string(),
            hint => format!("{finding} ({hint})"),
        };
        match finding.severity {
            Severity::Error => tracing::error!("{text}"),
            Severity::Warning => tracing::warn!("{text}"),
            Severity::Info => tracing::debug!("{text}"),
        }
    }
}

/// The name of the first source that ends.
async fn ended(directories: &mut [Directory]) -> String {
    poll_fn(|context| {
        for directory in directories.iter_mut() {
            let name = directory.id().0.to_string();
            if pin!(directory.ended()).poll(context).is_ready() {
                return Poll::Ready(name);
            }
        }
        Poll::Pending
    })
    .await
}

pub(super) fn far_away() -> Instant {
    Instant::now() + Duration::from_hours(24)
}

/// Tells systemd, where it is there to be told.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be notified");
    }
}
