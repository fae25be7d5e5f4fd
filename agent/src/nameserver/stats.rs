//! What the name server has done since it started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counted as it happens.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) datagrams: AtomicU64,
    pub(super) streams: AtomicU64,
    pub(super) own: AtomicU64,
    pub(super) cached: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) forwarded: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) lessons: AtomicU64,
    pub(super) late: AtomicU64,
    answers: AtomicU64,
    answered: AtomicU64,
    slowest: AtomicU64,
}

/// A moment's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Questions over UDP and over TCP.
    pub datagrams: u64,
    pub streams: u64,
    /// Answered from hosts of ours.
    pub own: u64,
    /// Answered with what a server said before, while it held and after.
    pub cached: u64,
    pub stale: u64,
    /// Questions that were put to other servers, and those of them that failed.
    pub forwarded: u64,
    pub failures: u64,
    /// Questions that no server answered, and those for which there was no room.
    pub unanswered: u64,
    pub refused: u64,
    /// Questions that were none.
    pub malformed: u64,
    /// Names that the agent was told of before the client, and those of them for which the client did not wait.
    pub lessons: u64,
    pub late: u64,
    /// Microseconds that other servers took, on average and at most.
    pub mean_wait: u64,
    pub longest_wait: u64,
}

pub(super) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// Another server has answered.
    pub(super) fn answered_after(&self, wait: Duration) {
        let wait = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        bump(&self.answers);
        self.answered.fetch_add(wait, Ordering::Relaxed);
        self.slowest.fetch_max(wait, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            datagrams: of(&self.datagrams),
            streams: of(&self.streams),
            own: of(&self.own),
            cached: of(&self.cached),
            stale: of(&self.stale),
            forwarded: of(&self.forwarded),
            failures: of(&self.failures),
            unanswered: of(&self.unanswered),
            refused: of(&self.refused),
            malformed: of(&self.malformed),
            lessons: of(&self.lessons),
            late: of(&self.late),
            mean_wait: of(&self.answered)
                .checked_div(of(&self.answers))
                .unwrap_or(0),
            longest_wait: of(&self.slowest),
        }
    }
}
