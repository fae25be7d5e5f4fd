//! What agents take: memory, descriptors, pins. None of it may grow while what they are to do stays the same.
//!
//! Memory is that of the agent which runs from the beginning to the end, apart from the pages of maps, which are the kernel's. The
//! heap keeps what it had at the most, and some minutes pass until every thread has had its most. So what is before [`WARM_UP`]
//! does not count, and of the rest medians of the first and the last quarter are compared. They are allowed [`SLACK`], as what there
//! is to do differs, and [`RATE`] for the time between the middles of both. A leak of a megabyte a minute is found in 20 minutes.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::ledger::Ledger;
use crate::site::Door;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
const WARM_UP: Duration = Duration::from_mins(5);
/// What is left of a shorter run tells nothing.
const LEAST: Duration = Duration::from_mins(5);
/// In KiB.
const SLACK: f64 = 8192.0;
/// In KiB a minute.
const RATE: f64 = 256.0;
/// Descriptors that there may be more of: those of commands that are being answered.
const MORE_DESCRIPTORS: f64 = 4.0;

/// What a process had at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    /// In KiB.
    memory: f64,
    descriptors: f64,
}

/// What an agent took from the first to the last quarter of a run.
#[derive(Debug, Default)]
pub(crate) struct Growth(Vec<Sample>);

/// Medians.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) first: f64,
    pub(crate) last: f64,
    pub(crate) allowed: f64,
}

impl Change {
    pub(crate) fn is_too_much(self) -> bool {
        self.last - self.first > self.allowed
    }

    pub(crate) fn percent(self) -> f64 {
        (self.last / self.first - 1.0) * 100.0
    }
}

/// Looks at an agent until the end.
pub(crate) fn watch(ledger: &Ledger, door: &Door) -> Result<Growth> {
    let mut growth = Growth::default();
    let mut next = Instant::now();
    while !ledger.is_over() {
        if let Some(process) = door.up() {
            growth.0.push(Sample::take(process, ledger.elapsed())?);
        }
        next += INTERVAL;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(growth)
}

impl Sample {
    fn take(process: u32, at: Duration) -> Result<Self> {
        let path = format!("/proc/{process}");
        let status = fs::read_to_string(Path::new(&path).join("status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let resident = resident.context("no RssAnon in /proc")?;
        let memory = resident.trim().trim_end_matches("kB").trim().parse()?;
        let descriptors = fs::read_dir(Path::new(&path).join("fd"))?.count();
        Ok(Self {
            at,
            memory,
            descriptors: f64::from(u32::try_from(descriptors)?),
        })
    }
}

impl Growth {
    /// In KiB.
    pub(crate) fn memory(&self) -> Option<Change> {
        let (first, last) = self.quarters()?;
        let between = middle(last)?.saturating_sub(middle(first)?);
        let allowed = SLACK + RATE * between.as_secs_f64() / 60.0;
        change(first, last, allowed, |sample| sample.memory)
    }

    pub(crate) fn descriptors(&self) -> Option<Change> {
        let (first, last) = self.quarters()?;
        change(first, last, MORE_DESCRIPTORS, |sample| sample.descriptors)
    }

    fn quarters(&self) -> Option<(&[Sample], &[Sample])> {
        let warm = self.0.partition_point(|sample| sample.at < WARM_UP);
        let rest = &self.0[warm..];
        let lasted = rest.last()?.at.saturating_sub(rest.first()?.at);
        let quarter = rest.len() / 4;
        let last = &rest[rest.len() - quarter..];
        (lasted >= LEAST).then_some((&rest[..quarter], last))
    }
}

fn middle(samples: &[Sample]) -> Option<Duration> {
    samples.get(samples.len() / 2).map(|sample| sample.at)
}

fn change(
    first: &[Sample],
    last: &[Sample],
    allowed: f64,
    figure: fn(&Sample) -> f64,
) -> Option<Change> {
    Some(Change {
        first: median(first.iter().map(figure))?,
        last: median(last.iter().map(figure))?,
        allowed,
    })
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
