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
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Answer;

/// The waits between questions. All are lengthened by up to [`JITTER`].
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

/// IPv4 and IPv6 are asked for apart, so that one failing does not hide the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The type of record that is asked for.
    pub const fn record(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Question {
    pub(super) host: Arc<str>,
    pub(super) family: Family,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// At least one address, in the order of the answer.
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: Duration,
    },
    /// The name has no such address; `reason` says why.
    Negative {
        reason: String,
        ttl: Option<Duration>,
    },
    /// Nothing is known.
    Failed(String),
}

/// How the newest attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Conclusion {
    #[default]
    NotYet,
    Positive,
    Negative(String),
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Asked, and not yet answered.
    Asked,
    At(Instant),
}

#[derive(Clone, Debug)]
struct FamilyState {
    next: Next,
    conclusion: Conclusion,
    /// Those of the last good answer.
    addresses: Vec<IpAddr>,
    /// When the last good answer came.
    answered: Option<Instant>,
    /// Failures since.
    failures: u32,
}

impl FamilyState {
    fn new(now: Instant) -> Self {
        Self {
            next: Next::At(now),
            conclusion: Conclusion::NotYet,
            addresses: Vec::new(),
            answered: None,
            failures: 0,
        }
    }
}

#[derive(Clone, Debug)]
struct NameState {
    v4: FamilyState,
    v6: FamilyState,
}

impl NameState {
    fn family(&self, family: Family) -> &FamilyState {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn family_mut(&mut self, family: Family) -> &mut FamilyState {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// What is to be told, once enough is known: IPv6 alone only when IPv4 is known not to come first.
    fn answer(&self) -> Option<Answer> {
        let is_known = !self.v4.addresses.is_empty()
            || Family::ALL
                .iter()
                .all(|family| self.family(*family).conclusion != Conclusion::NotYet);
        is_known.then(|| Answer {
            addresses: [&self.v4, &self.v6]
                .into_iter()
                .flat_map(|state| state.addresses.iter().copied())
                .collect(),
            failure: self.failure(),
        })
    }

    /// Why the addresses are old or none. A family that fails while it never had an address, beside one that has, is
    /// no failure of the name.
    fn failure(&self) -> Option<String> {
        let has_addresses = Family::ALL
            .iter()
            .any(|family| !self.family(*family).addresses.is_empty());
        let reasons: Vec<String> = Family::ALL
            .iter()
            .filter_map(|family| {
                let state = self.family(*family);
                let reason = match &state.conclusion {
                    Conclusion::Failed(reason) if !has_addresses || !state.addresses.is_empty() => {
                        reason
                    }
                    Conclusion::Negative(reason) if !has_addresses => reason,
                    _ => return None,
                };
                Some(format!("{}: {reason}", family.record()))
            })
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

/// How the questions for one family of a name are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyStatus {
    pub family: Family,
    /// Those of the last good answer.
    pub addresses: Vec<IpAddr>,
    /// How long ago the last good answer came.
    pub age: Option<Duration>,
    /// How long until it is asked again; `None` while an answer is awaited.
    pub next: Option<Duration>,
    /// Failures since the last good answer.
    pub failures: u32,
    /// Why there is no address, or why the newest attempt failed.
    pub reason: Option<String>,
}

/// How a name is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameStatus {
    pub host: Arc<str>,
    pub families: Vec<FamilyStatus>,
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
            let state = NameState {
                v4: FamilyState::new(now),
                v6: FamilyState::new(now),
            };
            self.names.insert(Arc::clone(host), state);
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

impl FamilyState {
    fn take(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Addresses { addresses, .. } => {
                self.addresses = addresses;
                self.conclusion = Conclusion::Positive;
            }
            Outcome::Negative { reason, .. } => {
                self.addresses.clear();
                self.conclusion = Conclusion::Negative(reason);
            }
            Outcome::Failed(reason) => {
                self.failures = self.failures.saturating_add(1);
                self.conclusion = Conclusion::Failed(reason);
                return;
            }
        }
        self.answered = Some(now);
        self.failures = 0;
    }

    fn status(&self, family: Family, now: Instant) -> FamilyStatus {
        FamilyStatus {
            family,
            addresses: self.addresses.clone(),
            age: self.answered.map(|at| now.saturating_duration_since(at)),
            next: match self.next {
                Next::Asked => None,
                Next::At(at) => Some(at.saturating_duration_since(now)),
            },
            failures: self.failures,
            reason: match &self.conclusion {
                Conclusion::NotYet | Conclusion::Positive => None,
                Conclusion::Negative(reason) | Conclusion::Failed(reason) => Some(reason.clone()),
            },
        }
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
