//! What is known of one name: the last good addresses of each family, and how the newest attempts ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Answer;

/// IPv4 and IPv6 are asked for apart, so that one failing does not hide the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The type of record that is asked for.
    pub const fn record(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }
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
pub(super) enum Next {
    /// Asked, and not yet answered.
    Asked,
    At(Instant),
}

#[derive(Clone, Debug)]
pub(super) struct FamilyState {
    pub(super) next: Next,
    conclusion: Conclusion,
    /// Those of the last good answer.
    addresses: Vec<IpAddr>,
    /// When the last good answer came.
    answered: Option<Instant>,
    /// Failures since.
    pub(super) failures: u32,
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

    pub(super) fn take(&mut self, outcome: Outcome, now: Instant) {
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

    pub(super) fn status(&self, family: Family, now: Instant) -> FamilyStatus {
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

#[derive(Clone, Debug)]
pub(super) struct NameState {
    v4: FamilyState,
    v6: FamilyState,
}

impl NameState {
    /// Of which nothing is known, and all is due.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            v4: FamilyState::new(now),
            v6: FamilyState::new(now),
        }
    }

    pub(super) fn family(&self, family: Family) -> &FamilyState {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(super) fn family_mut(&mut self, family: Family) -> &mut FamilyState {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// What is to be told, once enough is known: IPv6 alone only when IPv4 is known not to come first.
    pub(super) fn answer(&self) -> Option<Answer> {
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
