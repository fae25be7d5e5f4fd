//! What time is it? All that has an end goes by the kernel's monotonic clock, which nobody sets, and which is the same for every
//! agent until the machine ends.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::model::UnixTime;

/// The time of day as of the start, and counted on from there: nothing ends early or late because somebody set the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// The time of day at which the monotonic clock was at zero.
    zero: UnixTime,
}

impl Clock {
    pub(super) fn new() -> Self {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self::at(UnixTime(since.as_secs()))
    }

    fn at(start: UnixTime) -> Self {
        Self {
            zero: UnixTime(start.0.saturating_sub(monotonic().as_secs())),
        }
    }

    pub(super) fn now(self) -> UnixTime {
        self.zero.after(monotonic())
    }

    /// What the monotonic clock shows at that time, in seconds.
    pub(super) fn to_monotonic(self, time: UnixTime) -> u64 {
        time.since(self.zero).as_secs()
    }

    pub(super) fn of_monotonic(self, seconds: u64) -> UnixTime {
        self.zero.after(Duration::from_secs(seconds))
    }
}

/// What the kernel's monotonic clock shows.
pub(super) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).expect("the monotonic clock is never negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_ends_when_it_should_for_an_agent_whose_time_of_day_is_another() {
        let before = Clock::at(UnixTime(1_000_000));
        let end = before.now().after(Duration::from_mins(5));
        let kept = before.to_monotonic(end);
        for start in [UnixTime(0), UnixTime(900_000), UnixTime(2_000_000)] {
            let clock = Clock::at(start);
            let left = clock.of_monotonic(kept).since(clock.now());
            assert!((299..=300).contains(&left.as_secs()), "{left:?} are left");
        }
    }
}
