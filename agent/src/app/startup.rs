//! When a starting agent may publish, and when it may attach: not before it knows what it would redirect, and not later
//! than is bearable when some source stays silent.

use std::time::{Duration, Instant};

/// Longest wait for sources that have not told everything yet.
const SOURCES: Duration = Duration::from_secs(10);
/// Longest wait, after the first publication, for names that have no answer yet.
const NAMES: Duration = Duration::from_secs(2);

/// How far the start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Startup {
    /// Sources have not told everything.
    Collecting { until: Instant },
    /// The maps are filled; names are being resolved.
    Resolving { until: Instant },
    /// Attached.
    Done,
}

impl Startup {
    pub(super) fn new(now: Instant) -> Self {
        Self::Collecting {
            until: now + SOURCES,
        }
    }

    /// When the wait ends at the latest.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Collecting { until } | Self::Resolving { until } => Some(until),
            Self::Done => None,
        }
    }

    /// Whether what is known may be published.
    pub(super) fn may_publish(self, is_synced: bool, now: Instant) -> bool {
        match self {
            Self::Collecting { until } => is_synced || now >= until,
            Self::Resolving { .. } | Self::Done => true,
        }
    }

    /// After a publication.
    pub(super) fn published(&mut self, now: Instant) {
        if let Self::Collecting { .. } = self {
            *self = Self::Resolving { until: now + NAMES };
        }
    }

    /// Whether it is time to attach. Whether all names are answered is asked for only while that matters.
    pub(super) fn may_attach(
        self,
        all_names_answered: impl FnOnce() -> bool,
        now: Instant,
    ) -> bool {
        match self {
            Self::Resolving { until } => now >= until || all_names_answered(),
            Self::Collecting { .. } | Self::Done => false,
        }
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
        let startup = Startup::new(now);
        assert!(!startup.may_publish(false, now));
        assert!(startup.may_publish(true, now));
    }

    #[test]
    fn a_silent_source_delays_the_start_for_a_bounded_time() {
        let now = Instant::now();
        let startup = Startup::new(now);
        assert!(startup.may_publish(false, now + SOURCES));
    }

    #[test]
    fn attaching_follows_the_first_publication_and_waits_for_names_for_a_bounded_time() {
        let now = Instant::now();
        let mut startup = Startup::new(now);
        assert!(!startup.may_attach(|| true, now));
        startup.published(now);
        assert!(!startup.may_attach(|| false, now));
        assert!(startup.may_attach(|| true, now));
        assert!(startup.may_attach(|| false, now + NAMES));
        startup.attached();
        assert!(!startup.may_attach(|| true, now + NAMES));
        assert_eq!(startup.deadline(), None);
    }
}
