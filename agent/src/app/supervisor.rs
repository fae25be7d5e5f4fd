//! Is everything at work that the agent consists of? Each of its tasks beats; one that does not is noticed by a thread that does
//! nothing else, and ends the process by its name. What the kernel holds goes on, and whoever started the agent starts it again.
//!
//! Silence is counted in looks, not in time: nobody is to blame for what passes while the whole process is stopped.

use std::process;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tokio::sync::mpsc;

use crate::model::Fact;
use crate::sources::Directory;

/// How long a task may be silent, unless systemd is less patient: compiling the most that the maps hold takes a third of it.
const LIMIT: Duration = Duration::from_secs(30);
/// Looks within the limit.
const LOOKS: u32 = 30;
/// How long those may be silent that wait for file systems, or for all network namespaces, whatever systemd says: a server of
/// files may be away for that long, and then its files are in force all the same.
const PATIENCE: Duration = Duration::from_mins(5);
/// Facts of one source that may wait to be passed on.
const FACTS: usize = 64;

/// By which a task shows that it is at work.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    name: String,
    /// Where it may be silent for longer than others.
    patience: Duration,
    state: AtomicU8,
}

const SILENT: u8 = 0;
const BEATEN: u8 = 1;
const RESTING: u8 = 2;

impl Pulse {
    pub(super) fn beat(&self) {
        self.state.store(BEATEN, Ordering::Relaxed);
    }

    /// There is nothing to do until the next beat.
    pub(super) fn rest(&self) {
        self.state.store(RESTING, Ordering::Relaxed);
    }

    /// Whether it has shown no life since the last call.
    fn is_silent(&self) -> bool {
        let seen =
            self.state
                .compare_exchange(BEATEN, SILENT, Ordering::Relaxed, Ordering::Relaxed);
        seen == Err(SILENT)
    }
}

/// Those of all tasks.
#[derive(Debug, Default)]
pub(super) struct Pulses {
    all: Mutex<Vec<Arc<Pulse>>>,
    /// All were well at a look, which nobody has been told of yet.
    is_well: AtomicBool,
}

impl Pulses {
    /// That of a task which is never silent for long.
    pub(super) fn add(&self, name: &str) -> Arc<Pulse> {
        self.add_with(name, Duration::ZERO)
    }

    /// That of a task which may have to wait for others.
    pub(super) fn add_patient(&self, name: &str) -> Arc<Pulse> {
        self.add_with(name, PATIENCE)
    }

    fn add_with(&self, name: &str, patience: Duration) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse {
            name: name.to_owned(),
            patience,
            state: AtomicU8::new(BEATEN),
        });
        self.all().push(Arc::clone(&pulse));
        pulse
    }

    /// Has each directory be heard of whenever it has read everything, which is twice a minute. Must be called within a Tokio
    /// runtime.
    pub(super) fn follow(&self, directories: &[Directory]) {
        for directory in directories {
            let pulse = self.add_patient(&format!("the source {}", directory.id().0));
            let mut status = directory.watch_status();
            tokio::spawn(async move {
                // Its end is noticed by the core.
                while status.changed().await.is_ok() {
                    pulse.beat();
                }
            });
        }
    }

    /// Whether all were well at a look since the last call.
    pub(super) fn were_well(&self) -> bool {
        self.is_well.swap(false, Ordering::Relaxed)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a source tells facts that nobody can ask whether it is at work: when it has ended, its name is told to `ended`. Must be
/// called within a Tokio runtime.
pub(super) fn relay(
    name: &'static str,
    facts: mpsc::Sender<Fact>,
    ended: mpsc::Sender<&'static str>,
) -> mpsc::Sender<Fact> {
    let (source, mut told) = mpsc::channel(FACTS);
    tokio::spawn(async move {
        loop {
            let fact = tokio::select! {
                fact = told.recv() => fact,
                () = facts.closed() => return,
            };
            let Some(fact) = fact else { break };
            if facts.send(fact).await.is_err() {
                return;
            }
        }
        // Nobody wants to know while all end.
        ended.send(name).await.ok();
    });
    source
}

/// Looks after all of `pulses`, until the process ends.
pub(super) fn watch(pulses: Arc<Pulses>) -> Result<()> {
    let limit = sd_notify::watchdog_enabled().map_or(LIMIT, |patience| LIMIT.min(patience / 2));
    let mut watch = Watch::new(limit);
    let run = move || {
        loop {
            thread::sleep(watch.step());
            let all = pulses.all().clone();
            if let Some(name) = watch.look(&all) {
                hang(&name, limit);
            }
            pulses.is_well.store(true, Ordering::Relaxed);
        }
    };
    let thread = thread::Builder::new().name("watchdog".to_owned());
    thread.spawn(run).context("starting the watchdog")?;
    Ok(())
}

/// How often each was found silent in a row, in the order in which they were added.
struct Watch {
    limit: Duration,
    silent: Vec<u32>,
}

impl Watch {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            silent: Vec::new(),
        }
    }

    /// Between two looks.
    fn step(&self) -> Duration {
        self.limit / LOOKS
    }

    /// Returns the name of one that has been silent for too long.
    fn look(&mut self, all: &[Arc<Pulse>]) -> Option<String> {
        let step = self.step();
        self.silent.resize(all.len(), 0);
        let mut late = None;
        for (silent, pulse) in self.silent.iter_mut().zip(all) {
            *silent = if pulse.is_silent() { *silent + 1 } else { 0 };
            if step * *silent > self.limit.max(pulse.patience) {
                late.get_or_insert_with(|| pulse.name.clone());
            }
        }
        late
    }
}

/// Ends the process, without a word to threads that may not listen.
fn hang(name: &str, limit: Duration) -> ! {
    tell(&format!("{name} hangs"));
    tracing::error!(
        ?limit,
        "{name} hangs: the agent ends, and what it has attached goes on"
    );
    process::abort()
}

/// Ends the process as something that it needs has ended: nothing is detached.
pub(super) fn abandon(why: &anyhow::Error) -> ! {
    tell(&format!("{why:#}"));
    tracing::error!("{why:#}: the agent ends, and what it has attached goes on");
    process::exit(1)
}

/// For `systemctl status`.
fn tell(status: &str) {
    // It is in the log as well.
    sd_notify::notify(&[NotifyState::Status(status)]).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn looks_until_late(watch: &mut Watch, pulses: &Pulses) -> (usize, String) {
        let all = pulses.all().clone();
        (1..1000)
            .find_map(|look| Some((look, watch.look(&all)?)))
            .expect("somebody is late")
    }

    #[test]
    fn a_task_that_no_longer_beats_is_named_after_the_limit() {
        let pulses = Pulses::default();
        let (steady, hanging) = (pulses.add("steady"), pulses.add("hanging"));
        let mut watch = Watch::new(LIMIT);
        let all = pulses.all().clone();
        for _ in 0..100 {
            steady.beat();
            hanging.beat();
            assert_eq!(watch.look(&all), None);
        }
        for _ in 0..LOOKS {
            steady.beat();
            assert_eq!(watch.look(&all), None);
        }
        steady.beat();
        assert_eq!(watch.look(&all).as_deref(), Some("hanging"));
    }

    #[test]
    fn a_thread_that_hangs_and_one_that_has_panicked_are_the_same() {
        let pulses = Arc::new(Pulses::default());
        let pulse = pulses.add("thread");
        let thread = thread::spawn(move || {
            pulse.beat();
            panic!("it ends");
        });
        assert!(thread.join().is_err());
        let (looks, name) = looks_until_late(&mut Watch::new(LIMIT), &pulses);
        let seen = (LOOKS + 2) as usize;
        assert_eq!((looks, &*name), (seen, "thread"), "one look saw the beat");
    }

    #[test]
    fn who_rests_is_never_late_and_who_begins_again_may_be() {
        let pulses = Pulses::default();
        let pulse = pulses.add("search");
        let mut watch = Watch::new(LIMIT);
        pulse.rest();
        let all = pulses.all().clone();
        assert!((0..100).all(|_| watch.look(&all).is_none()));
        pulse.beat();
        assert_eq!(looks_until_late(&mut watch, &pulses).1, "search");
    }

    #[test]
    fn who_waits_for_others_has_more_patience_and_who_comes_later_is_seen() {
        let pulses = Pulses::default();
        let mut watch = Watch::new(LIMIT);
        assert_eq!(watch.look(&[]), None);
        pulses.add_patient("files");
        let (looks, _) = looks_until_late(&mut watch, &pulses);
        assert_eq!(looks, 2 + 300, "a look is a second");
    }

    #[tokio::test]
    async fn a_source_that_ends_is_named_and_its_facts_are_passed_on_before() {
        let (facts, mut received) = mpsc::channel(8);
        let (ended, mut names) = mpsc::channel(8);
        let source = relay("a source", facts, ended);
        source.send(Fact::Cgroups(Vec::new())).await.unwrap();
        assert!(matches!(received.recv().await, Some(Fact::Cgroups(_))));
        drop(source);
        assert_eq!(names.recv().await, Some("a source"));
    }
}
