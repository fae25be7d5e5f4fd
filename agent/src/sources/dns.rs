//! The resolver as a source: the addresses of the names that are wanted, told whenever they are answered.
//!
//! A name is asked for once for all who need it. Which answers are kept for how long is `schedule`'s to say; this
//! carries its questions to the servers, a bounded number at a time.

mod name;
mod schedule;
mod upstream;

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{self, Interval, MissedTickBehavior, interval};

use crate::model::Fact;
use crate::sources::file::Stamp;

use self::name::Outcome;
use self::schedule::{Question, Schedule};
use self::upstream::Client;

pub use self::name::{Family, FamilyStatus, NameStatus};
pub use self::schedule::Timing;
pub use self::upstream::Upstream;

/// How many questions await an answer at once. It is what Envoy's resolver asks on one socket, and bounds the burst
/// that a start with many names sends.
const MAX_IN_FLIGHT: usize = 100;
/// How often one looks whether the system's configuration is another: two `stat`s.
const CONFIGURATION_CHECK: Duration = Duration::from_secs(1);

/// Whom to ask, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefresherSettings {
    pub upstream: Upstream,
    pub timing: Timing,
}

/// Names that are being kept resolved, until this is dropped.
#[derive(Debug)]
pub struct Refresher {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Refresher {
    /// Starts with no name. Must be called within a Tokio runtime.
    pub fn start(settings: RefresherSettings, facts: mpsc::Sender<Fact>) -> Self {
        let shared = Arc::new(Shared {
            schedule: Mutex::new(Schedule::new(settings.timing)),
            rescheduled: Notify::new(),
        });
        let resolution = Resolution {
            shared: Arc::clone(&shared),
            client: settings.upstream.connect(MAX_IN_FLIGHT),
            stamp: settings.upstream.stamp(),
            upstream: settings.upstream,
            facts,
            lookups: JoinSet::new(),
        };
        Self {
            shared,
            task: tokio::spawn(resolution.run()),
        }
    }

    /// Says which names are wanted from now on: lower case, without a trailing dot.
    pub fn set_demand(&self, wanted: &BTreeSet<Arc<str>>) {
        self.shared.schedule().demand(wanted, now());
        self.shared.rescheduled.notify_one();
    }

    /// The mesh's `dnsRefreshRate`: the longest wait after a failure.
    pub fn set_refresh_rate(&self, refresh_rate: Duration) {
        self.shared.schedule().set_refresh_rate(refresh_rate);
    }

    /// Asks for every name again now.
    pub fn refresh(&self) {
        self.shared.schedule().expire_all(now());
        self.shared.rescheduled.notify_one();
    }

    /// How every wanted name is doing, in the order of the names.
    pub fn status(&self) -> Vec<NameStatus> {
        self.shared.schedule().status(now())
    }

    /// Ends when the source does: because nobody receives its facts any more, or because it panicked.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.task).await
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Shared {
    schedule: Mutex<Schedule>,
    /// Something may be due earlier than it was.
    rescheduled: Notify,
}

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Resolution {
    shared: Arc<Shared>,
    upstream: Upstream,
    /// Of the files that `client` was made from.
    stamp: [Option<Stamp>; 2],
    client: Client,
    facts: mpsc::Sender<Fact>,
    lookups: JoinSet<(Question, Outcome)>,
}

impl Resolution {
    async fn run(mut self) {
        let mut check: Interval = interval(CONFIGURATION_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.ask_due();
            let wake = self.next_wake();
            tokio::select! {
                () = self.facts.closed() => return,
                () = self.shared.rescheduled.notified() => {}
                () = time::sleep_until(wake.unwrap_or_else(time::Instant::now)), if wake.is_some() => {}
                Some(done) = self.lookups.join_next() => match done {
                    Ok((question, outcome)) => self.conclude(question, outcome).await,
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => return,
                },
                _ = check.tick() => self.follow_configuration(),
            }
        }
    }

    fn ask_due(&mut self) {
        let room = MAX_IN_FLIGHT.saturating_sub(self.lookups.len());
        let due = self.shared.schedule().take_due(now(), room);
        for question in due {
            let client = self.client.clone();
            self.lookups.spawn(async move {
                let outcome = client.ask(&question).await;
                (question, outcome)
            });
        }
    }

    /// `None` while nothing is scheduled, or while only a conclusion makes room for more.
    fn next_wake(&self) -> Option<time::Instant> {
        if self.lookups.len() >= MAX_IN_FLIGHT {
            return None;
        }
        self.shared.schedule().next_wake().map(Into::into)
    }

    async fn conclude(&self, question: Question, outcome: Outcome) {
        if let Outcome::Failed(reason) = &outcome {
            tracing::debug!(host = %question.host, record = question.family.record(), %reason, "not resolved");
        }
        let host = Arc::clone(&question.host);
        let answer = self
            .shared
            .schedule()
            .conclude(question, outcome, now(), random());
        if let Some(answer) = answer {
            // When nobody receives any more, `run` ends.
            let _ = self.facts.send(Fact::Resolved { host, answer }).await;
        }
    }

    /// Other servers may give other answers, so every name is asked for again.
    fn follow_configuration(&mut self) {
        let stamp = self.upstream.stamp();
        if stamp == self.stamp {
            return;
        }
        tracing::info!("the system's resolver configuration changed");
        self.stamp = stamp;
        self.client = self.upstream.connect(MAX_IN_FLIGHT);
        self.shared.schedule().expire_all(now());
    }
}

/// Tokio's clock, which tests can advance.
fn now() -> Instant {
    time::Instant::now().into_std()
}

/// In 0..1, from the seeds that the standard library draws for its hash maps: good enough to spread load.
fn random() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32)
        .expect("the upper half of 64 bits fits 32");
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
