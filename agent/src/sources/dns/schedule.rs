//! Which question is to be asked when, and what the answers to a name are now.
//!
//! Time and randomness are arguments; it knows of no socket and no task.
//!
//! - An answer is good for its time to live, within a floor and a ceiling.
//! - "No such name" and "no such record" are answers: what the name had goes away, and they are good for their own time
//!   to live. So does Envoy, whose resolver takes both for an empty success.
//! - A failure (time-out, SERVFAIL, REFUSED, no server) says nothing about the name: the last good answer stays. It is
//!   tried again after [`Timing::retry_first`], then after twice as long each time, up to the mesh's `dnsRefreshRate`.
//!   Envoy waits the whole `dnsRefreshRate` at once, which makes a minute of an outage of a second.
//! - Every wait is lengthened by up to a tenth at random, so that names that came together drift apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Answer;

use super::name::{Family, NameState, NameStatus, Next, Outcome};

/// The waits between questions. All are lengthened by up to `JITTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// An answer is asked for again no sooner.
    pub ttl_floor: Duration,
    /// An answer is asked for again no later.
    pub ttl_ceiling: Duration,
    /// The first wait after a failure.
    pub retry_first: Duration,
    /// The longest wait after a failure, and the life of a negative answer that does not state its own.
    pub refresh_rate: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ttl_floor: Duration::from_secs(1),
            ttl_ceiling: Duration::from_mins(5),
            retry_first: Duration::from_secs(1),
            refresh_rate: Duration::from_mins(1),
        }
    }
}

/// The largest part of a wait that is added to it at random.
const JITTER: f64 = 0.1;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Question {
    pub(super) host: Arc<str>,
    pub(super) family: Family,
}

/// The names that are wanted, and when to ask for each.
#[derive(Debug)]
pub(super) struct Schedule {
    timing: Timing,
    names: BTreeMap<Arc<str>, NameState>,
    /// The same instants as in `names`.
    queue: BTreeSet<(Instant, Question)>,
}

impl Schedule {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            names: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }

    /// Takes effect with the next outcome of each name.
    pub(super) fn set_refresh_rate(&mut self, refresh_rate: Duration) {
        self.timing.refresh_rate = refresh_rate;
    }

    /// Names that are new are due at once; what is known of names that are no longer wanted is forgotten.
    pub(super) fn demand(&mut self, wanted: &BTreeSet<Arc<str>>, now: Instant) {
        self.names.retain(|host, _| wanted.contains(host));
        self.queue
            .retain(|(_, question)| wanted.contains(&question.host));
        for host in wanted {
            if self.names.contains_key(host) {
                continue;
            }
            self.names.insert(Arc::clone(host), NameState::new(now));
            for family in Family::ALL {
                let host = Arc::clone(host);
                self.queue.insert((now, Question { host, family }));
            }
        }
    }

    /// Makes every question due that is not being asked.
    pub(super) fn expire_all(&mut self, now: Instant) {
        let queue = std::mem::take(&mut self.queue);
        for (_, question) in queue {
            if let Some(state) = self.names.get_mut(&question.host) {
                state.family_mut(question.family).next = Next::At(now);
            }
            self.queue.insert((now, question));
        }
    }

    /// The questions to ask now, at most `room`, the longest due first. Each is to be concluded.
    pub(super) fn take_due(&mut self, now: Instant, room: usize) -> Vec<Question> {
        let mut due = Vec::new();
        while due.len() < room
            && self.queue.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, question)) = self.queue.pop_first()
        {
            if let Some(state) = self.names.get_mut(&question.host) {
                state.family_mut(question.family).next = Next::Asked;
            }
            due.push(question);
        }
        due
    }

    /// When the next question is due.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the outcome of a question, and returns what is to be told of the name. `random` is in 0..1.
    pub(super) fn conclude(
        &mut self,
        question: Question,
        outcome: Outcome,
        now: Instant,
        random: f64,
    ) -> Option<Answer> {
        let timing = self.timing;
        let name = self.names.get_mut(&question.host)?;
        let state = name.family_mut(question.family);
        if state.next != Next::Asked {
            // The name went and came back meanwhile, and has been answered by the newer question.
            return None;
        }
        let wait = timing.wait_after(&outcome, state.failures);
        state.take(outcome, now);
        let at = now + wait.mul_f64(1.0 + JITTER * random.clamp(0.0, 1.0));
        state.next = Next::At(at);
        let answer = name.answer();
        self.queue.insert((at, question));
        answer
    }

    /// How every name is doing, in the order of the names.
    pub(super) fn status(&self, now: Instant) -> Vec<NameStatus> {
        self.names
            .iter()
            .map(|(host, name)| NameStatus {
                host: Arc::clone(host),
                families: Family::ALL
                    .into_iter()
                    .map(|family| name.family(family).status(family, now))
                    .collect(),
            })
            .collect()
    }
}

impl Timing {
    /// The wait after `outcome`, without jitter; `failures` came before it in a row.
    fn wait_after(&self, outcome: &Outcome, failures: u32) -> Duration {
        let within = |ttl: Duration| ttl.min(self.ttl_ceiling).max(self.ttl_floor);
        match outcome {
            Outcome::Addresses { ttl, .. } => within(*ttl),
            Outcome::Negative { ttl, .. } => within(ttl.unwrap_or(self.refresh_rate)),
            Outcome::Failed(_) => {
                let doubled = 2_u32.saturating_pow(failures);
                self.retry_first
                    .saturating_mul(doubled)
                    .min(self.refresh_rate)
                    .max(RETRY_FLOOR)
            }
        }
    }
}

/// Keeps a tiny `dnsRefreshRate` from hammering servers that are down.
const RETRY_FLOOR: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
