//! Where it is measured: a cgroup with the programs, one without, and a process that goes back and forth.

use std::path::PathBuf;

use agent::dataplane::{Dataplane, LoadOptions};
use anyhow::Result;
use tests::cgroup::TemporaryCgroup;
use tests::interrupt;

use crate::worker::{Order, Times, Worker};

/// How long to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Quick,
    Full,
}

impl Effort {
    /// Rounds in which what is compared takes turns.
    pub(crate) fn rounds(self) -> usize {
        match self {
            Self::Quick => 7,
            Self::Full => 25,
        }
    }

    /// Connects of one turn.
    pub(crate) fn connects(self) -> u32 {
        match self {
            Self::Quick => 2_000,
            Self::Full => 5_000,
        }
    }

    pub(crate) fn repetitions(self) -> usize {
        match self {
            Self::Quick => 1,
            Self::Full => 5,
        }
    }
}

pub(crate) struct Setting {
    // Dropped in this order: cgroups last, once nobody is in them.
    pub(crate) worker: Worker,
    pub(crate) dataplane: Dataplane,
    pub(crate) ours: TemporaryCgroup,
    pub(crate) direct: TemporaryCgroup,
}

impl Setting {
    pub(crate) fn new() -> Result<Self> {
        Self::with(&LoadOptions::default())
    }

    pub(crate) fn with(options: &LoadOptions) -> Result<Self> {
        let (ours, direct) = (TemporaryCgroup::new()?, TemporaryCgroup::new()?);
        let mut dataplane = Dataplane::load(options)?;
        dataplane.attach(&[ours.path().to_owned()])?;
        Ok(Self {
            worker: Worker::start()?,
            dataplane,
            ours,
            direct,
        })
    }

    /// Carries the orders out in rounds, in which they take turns. What each took, by round and order.
    pub(crate) fn rounds(&mut self, orders: &[Order], effort: Effort) -> Result<Vec<Vec<Times>>> {
        (0..effort.rounds())
            .map(|round| {
                let mut times = vec![None; orders.len()];
                for step in 0..orders.len() {
                    interrupt::check()?;
                    // Each round starts with another, so that none always follows the same.
                    let index = (round + step) % orders.len();
                    times[index] = Some(self.worker.order(&orders[index])?);
                }
                Ok(times.into_iter().flatten().collect())
            })
            .collect()
    }

    pub(crate) fn cgroup(&self, is_ours: bool) -> PathBuf {
        let cgroup = if is_ours { &self.ours } else { &self.direct };
        cgroup.path().to_owned()
    }
}
