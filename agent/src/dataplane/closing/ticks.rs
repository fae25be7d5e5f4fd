//! What time is it in the ticks that flow records have, and how long is one?

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use crate::dataplane::bpf;

/// Where `jiffies64` starts, in ticks per second before 2^32 (`INITIAL_JIFFIES`, include/linux/jiffies.h).
const START: u128 = 300;

const NANOSECONDS: u128 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Ticks {
    pub now: u64,
    pub length: Duration,
}

impl Ticks {
    pub(in crate::dataplane) fn get() -> io::Result<Self> {
        let tick = nanoseconds(clock_getres(ClockId::MonotonicCoarse)).max(1);
        let uptime = nanoseconds(clock_gettime(ClockId::MonotonicCoarse)) / tick;
        let start = (1 << 32) - START * NANOSECONDS / tick;
        let estimate = u64::try_from(start + uptime).map_err(io::Error::other)?;
        Ok(Self {
            now: corrected(estimate, low_bits()?),
            length: Duration::from_nanos(u64::try_from(tick).map_err(io::Error::other)?),
        })
    }

    /// How long ago `then` was.
    pub(in crate::dataplane) fn since(&self, then: u64) -> Duration {
        let ticks = u32::try_from(self.now.saturating_sub(then)).unwrap_or(u32::MAX);
        self.length.saturating_mul(ticks)
    }
}

fn nanoseconds(time: Timespec) -> u128 {
    let whole = u128::try_from(time.tv_sec).unwrap_or(0);
    whole * NANOSECONDS + u128::try_from(time.tv_nsec).unwrap_or(0)
}

/// The number next to `estimate` that ends in `low`. Ticks that were lost while the kernel started make them differ.
fn corrected(estimate: u64, low: u32) -> u64 {
    let low_estimate = u32::try_from(estimate & u64::from(u32::MAX)).expect("32 bits");
    let off = low.wrapping_sub(low_estimate).cast_signed();
    estimate.saturating_add_signed(off.into())
}

/// Runs a program that returns the ticks, of which the kernel hands out 32 bits.
fn low_bits() -> io::Result<u32> {
    let instructions = [
        0x0000_0076_0000_0085, // r0 = bpf_jiffies64()
        0x0000_0000_0000_0095, // exit
    ];
    let program = bpf::load(bpf::SOCKET_FILTER, 0, &instructions)?;
    bpf::run(program.as_fd(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_corrected_in_both_directions_and_over_the_boundary() {
        let turn = 5 << 32;
        assert_eq!(corrected(turn + 10, 12), turn + 12);
        assert_eq!(corrected(turn + 10, 7), turn + 7);
        assert_eq!(corrected(turn, u32::MAX), turn - 1);
        assert_eq!(corrected(turn - 1, 1), turn + 1);
    }

    #[test]
    fn time_since_is_never_negative() {
        let ticks = Ticks {
            now: 100,
            length: Duration::from_millis(4),
        };
        assert_eq!(ticks.since(75), Duration::from_millis(100));
        assert_eq!(ticks.since(101), Duration::ZERO);
    }
}
