//! `cargo xtask bench`: what shunt costs, as ratios to the same work without it in the same run.
//!
//! Callers, server and kernel programs share one CPU, or waking another would hide everything else. Everything happens in
//! a network namespace with nothing but a loopback, so that no connect can leave.

mod caller;
mod connects;
mod effect;
mod empty;
mod load;
mod report;

use std::process::ExitCode;

use anyhow::{Context, Result};
use tests::netns;

use report::Report;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Rounds of each comparison; the median of their ratios counts.
    rounds: usize,
    /// Connects of one batch in a round.
    batch: u32,
    /// Saves of a file.
    saves: usize,
}

const FULL: Effort = Effort {
    rounds: 25,
    batch: 4_000,
    saves: 21,
};
const QUICK: Effort = Effort {
    rounds: 5,
    batch: 1_000,
    saves: 5,
};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["caller", cgroup] => caller::serve(cgroup).map(|()| ExitCode::SUCCESS),
        [] => bench(FULL),
        ["--quick"] => bench(QUICK),
        _ => {
            eprintln!("usage: bench [--quick]");
            Ok(ExitCode::from(64))
        }
    }
}

fn bench(effort: Effort) -> Result<ExitCode> {
    netns::isolate().context("making a network namespace: run this as root")?;
    let mut report = Report::default();
    // The large tables first: they need both CPUs, which the connects give up.
    load::measure(&mut report)?;
    effect::measure(effort, &mut report)?;
    connects::measure(effort, &mut report)?;
    report.print();
    Ok(ExitCode::SUCCESS)
}
