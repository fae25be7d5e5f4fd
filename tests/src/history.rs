//! What was valid for a destination, and when, so that each connect can be held against it: its outcome must have been valid at
//! some instant of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::sockets::{Run, nanoseconds};

/// What may become of a connect: an endpoint, or an errno.
pub type Outcome = Result<IpAddr, i32>;

/// What was valid, at the earliest from its start and, at the latest, until the end of the next one's publication.
#[derive(Debug)]
struct Version {
    start: u64,
    /// `None` while it may not be in effect yet.
    end: Option<u64>,
    valid: BTreeSet<Outcome>,
}

/// All that was in effect for a destination, in its order.
#[derive(Debug, Default)]
pub struct History(Vec<Version>);

impl History {
    /// Carries out what makes this valid.
    pub fn publish<T>(&mut self, valid: BTreeSet<Outcome>, publish: impl FnOnce() -> T) -> T {
        self.begin(valid);
        let done = publish();
        self.settle();
        done
    }

    /// This may be in effect from now on.
    pub fn begin(&mut self, valid: BTreeSet<Outcome>) {
        self.0.push(Version {
            start: nanoseconds(),
            end: None,
            valid,
        });
    }

    /// What began last is in effect, and nothing that began before.
    pub fn settle(&mut self) {
        let now = nanoseconds();
        let begun = self.0.iter_mut().rev();
        for version in begun.take_while(|version| version.end.is_none()) {
            version.end = Some(now);
        }
    }

    /// What began last, unless it is known to be in effect.
    pub fn pending(&self) -> Option<&BTreeSet<Outcome>> {
        let last = self.0.last().filter(|version| version.end.is_none());
        last.map(|version| &version.valid)
    }

    /// Whether the outcome was valid at some instant of the connect.
    pub fn allows(&self, run: &Run) -> bool {
        let next = self.0.partition_point(|version| version.start <= run.end);
        let mut before = self.0[..next].iter().rev();
        let mut until = None;
        before.any(|version| {
            // The version after this one was in effect before the connect began.
            if until.is_some_and(|end| end < run.start) {
                return false;
            }
            until = version.end;
            version.valid.contains(&run.reached)
        })
    }

    pub fn versions(&self) -> usize {
        self.0.len()
    }
}
