//! Which records are of sockets that are no more? Whoever ended while no program saw it would count as open for ever, and keep
//! its line.
//!
//! A kernel program tells, which alone can look for the socket where it was, in whichever network namespace, and ends the
//! record as any other.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};

use agent_common::abi::SWEPT;
use aya::Ebpf;

use crate::dataplane::bpf;
use crate::dataplane::drift::{Deviation, Drift, Part, Survey};

use super::load::SWEEP;
use super::tables::KernelTables;

/// Lines that one look is at: a few milliseconds, where all are in use.
const LINES: u32 = 16_384;

/// How far the lines have been looked at, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    next: u32,
    is_done: bool,
    in_use: usize,
    ended: u32,
    failure: Option<io::Error>,
}

impl Sweep {
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(super) fn has_found(&self) -> bool {
        self.ended > 0 || self.failure.is_some()
    }

    /// Looks at some more lines. There is nothing to look for where the program is not loaded.
    pub(super) fn go_on(&mut self, ebpf: &Ebpf, tables: &KernelTables) {
        let first = self.next;
        self.next = first.saturating_add(LINES).min(tables.lines());
        self.is_done = self.next == tables.lines();
        if let Some(program) = ebpf.program(SWEEP).and_then(|program| program.fd().ok())
            && let Err(error) = self.look(program.as_fd(), tables, first..self.next)
        {
            self.failure = Some(error);
            self.is_done = true;
        }
    }

    fn look(
        &mut self,
        program: BorrowedFd<'_>,
        tables: &KernelTables,
        lines: Range<u32>,
    ) -> io::Result<()> {
        for first in lines.step_by(SWEPT as usize) {
            let in_use = tables.lines_in_use(first..first + SWEPT);
            self.in_use += in_use;
            if in_use > 0 {
                self.ended += bpf::run(program, first)?;
            }
        }
        Ok(())
    }

    /// Tells what came of it.
    pub(super) fn tell(self, survey: &mut Survey) {
        survey.compared.insert(Part::Flows, self.in_use);
        let ended = self.ended;
        let found = [
            (ended > 0).then(|| (format!("{ended} records of sockets that have ended"), None)),
            self.failure.map(|error| {
                let what = "records of sockets that have ended".to_owned();
                (what, Some(format!("they cannot be looked for: {error}")))
            }),
        ];
        let found = found.into_iter().flatten();
        survey.found.extend(found.map(|(what, failure)| Drift {
            part: Part::Flows,
            deviation: Deviation::Foreign,
            what,
            failure,
        }));
    }
}
