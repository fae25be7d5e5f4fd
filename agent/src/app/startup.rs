//! When a starting agent may publish, when it may touch the maps, and when it may attach: not before it knows what it would
//! redirect, and not later than is bearable when some source stays silent.
//!
//! An agent that goes on from what another has left changes nothing of it before every source has told everything, however long
//! that takes: what is in force is better than half of what should be.

use std::time::{Duration, Instant};

/// Longest wait for sources that have not told everything yet.
const SOURCES: Duration = Duration::from_secs(10);
/// Longest wait, after the first publication, for names that have no answer yet.
const NAMES: Duration = Duration::from_secs(2);
/// The same where what another agent has left is in force: whoever connects has its answers.
const NAMES_KNOWN_BEFORE: Duration = Duration::from_secs(10);

/// How far the start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Startup {
    /// Sources have not told everything. Without an end, as another agent's maps are in force.
    Collecting { until: Option<Instant> },
    /// Names are being resolved. Unless another agent's maps are in force, ours are filled.
    Resolving { until: Instant, is_applied: bool },
    /// Attached.
    Done,
}

impl Startup {
    /// `has_predecessor` where another agent's programs decide until ours do.
    pub(super) fn new(now: Instant, has_predecessor: bool) -> Self {
        Self::Collecting {
            until: (!has_predecessor).then(|| now + SOURCES),
        }
    }

    /// When the wait ends at the latest.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Collecting { until } => until,
            Self::Resolving { until, .. } => Some(until),
            Self::Done => None,
        }
    }

    /// Whether what is known may be published.
    pub(super) fn may_publish(self, is_synced: bool, now: Instant) -> bool {
        match self {
            Self::Collecting { until } => is_synced || until.is_some_and(|until| now >= until),
            Self::Resolving { .. } | Self::Done => true,
        }
    }

    /// After a publication.
    pub(super) fn published(&mut self, now: Instant, has_applied: bool) {
        match self {
            Self::Collecting { until } => {
                let patience = match until {
                    Some(_) => NAMES,
                    None => NAMES_KNOWN_BEFORE,
                };
                *self = Self::Resolving {
                    until: now + patience,
                    is_applied: has_applied,
                };
            }
            Self::Resolving { is_applied, .. } => *is_applied |= has_applied,
            Self::Done => {}
        }
    }

    /// Whether a publication may change the maps. Whether all names are answered is asked for only while that matters.
    pub(super) fn may_apply(self, all_names_answered: impl FnOnce() -> bool, now: Instant) -> bool {
        match self {
            Self::Collecting { until } => until.is_some() || all_names_answered(),
            Self::Resolving { until, is_applied } => {
                is_applied || now >= until || all_names_answered()
            }
            Self::Done => true,
        }
    }

    /// Whether it is time to attach. Whether all names are answered is asked for only while that matters.
    pub(super) fn may_attach(
        self,
        all_names_answered: impl FnOnce() -> bool,
        now: Instant,
    ) -> bool {
        match self {
            Self::Resolving { until, is_applied } => {
                is_applied && (now >= until || all_names_answered())
            }
            Self::Collecting { .. } | Self::Done => false,
        }
    }

    /// Whether the programs are attached.
    pub(super) fn is_done(self) -> bool {
        self == Self::Done
    }

    pub(super) fn attached(&mut self) {
        *self = Self::Done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_published_before_every_source_has_told_everything() {
        let now = Instant::now();
        let startup = Startup::new(now, false);
        assert!(!startup.may_publish(false, now));
        assert!(startup.may_publish(true, now));
    }

    #[test]
    fn a_silent_source_delays_the_start_for_a_bounded_time() {
        let now = Instant::now();
        let startup = Startup::new(now, false);
        assert!(startup.may_publish(false, now + SOURCES));
    }

    #[test]
    fn attaching_follows_the_first_publication_and_waits_for_names_for_a_bounded_time() {
        let now = Instant::now();
        let mut startup = Startup::new(now, false);
        assert!(!startup.may_attach(|| true, now));
        startup.published(now, true);
        assert!(!startup.may_attach(|| false, now));
        assert!(startup.may_apply(|| false, now));
        assert!(startup.may_attach(|| true, now));
        assert!(startup.may_attach(|| false, now + NAMES));
        startup.attached();
        assert!(!startup.may_attach(|| true, now + NAMES));
        assert_eq!(startup.deadline(), None);
    }

    #[test]
    fn what_is_in_force_stays_untouched_until_all_sources_have_told_and_names_had_their_time() {
        let now = Instant::now();
        let mut startup = Startup::new(now, true);
        assert!(!startup.may_publish(false, now + 100 * SOURCES));
        assert_eq!(startup.deadline(), None);
        assert!(startup.may_publish(true, now));
        assert!(!startup.may_apply(|| false, now));
        assert!(startup.may_apply(|| true, now));
        startup.published(now, false);
        assert!(!startup.may_apply(|| false, now + NAMES));
        assert!(startup.may_apply(|| true, now));
        let late = now + NAMES_KNOWN_BEFORE;
        assert!(startup.may_apply(|| false, late));
        assert!(!startup.may_attach(|| true, late));
        startup.published(late, true);
        assert!(startup.may_attach(|| false, late));
        startup.attached();
        assert!(startup.may_apply(|| false, now));
    }
}
