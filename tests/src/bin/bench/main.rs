//! What shunt costs, as a table: `cargo xtask bench` builds and runs this.
//!
//! Ratios are to the same work without shunt, in rounds of one run; absolute figures differ between machines. Nothing
//! leaves the worker's network namespace, and everything that is made is removed at the end.

mod algorithms;
mod clients;
mod connects;
mod effect;
mod ejection;
mod kernel;
mod load;
mod names;
mod runs;
mod services;
mod setting;
mod sockets;
mod statistics;
mod table;
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use tests::interrupt;

use setting::{Effort, Setting};
use table::Table;

#[derive(Parser)]
struct Arguments {
    /// Fewer rounds: a minute or two instead of ten
    #[arg(long)]
    quick: bool,
    /// Measure this alone; may be repeated
    #[arg(long, value_enum, value_name = "WHAT")]
    only: Vec<Section>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// A part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// What a client waits
    Connects,
    /// What the programs themselves take
    Runs,
    /// What picking an endpoint takes, by algorithm
    Algorithms,
    /// What knowing the client takes, with many workloads and under `REGISTRY_ONLY`
    Clients,
    /// Datagrams, connection states, and what is left after many sockets
    Sockets,
    /// The name server beside another
    Names,
    /// From a saved file to its effect
    Effect,
    /// Connects that fail until an endpoint is ejected, and how long that takes
    Ejection,
    /// How long many services take to load
    Load,
}

/// What this program starts itself as.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Worker,
    #[command(hide = true)]
    Load { count: u32, endpoints: u32 },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.part {
        Some(Part::Worker) => worker::run(),
        Some(Part::Load { count, endpoints }) => load::run(count, endpoints),
        None => {
            let effort = if arguments.quick {
                Effort::Quick
            } else {
                Effort::Full
            };
            measure(effort, &arguments.only)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(effort: Effort, only: &[Section]) -> Result<()> {
    interrupt::listen()?;
    let is_wanted = |section| only.is_empty() || only.contains(&section);
    let mut table = Table::default();
    if is_wanted(Section::Connects) {
        connects::measure(&mut Setting::new()?, effort, &mut table)?;
    }
    if is_wanted(Section::Runs) {
        runs::measure(&mut Setting::new()?, effort, &mut table)?;
    }
    if is_wanted(Section::Algorithms) {
        algorithms::measure(&mut Setting::new()?, effort, &mut table)?;
    }
    if is_wanted(Section::Clients) {
        clients::measure(&mut Setting::new()?, effort, &mut table)?;
    }
    if is_wanted(Section::Sockets) {
        sockets::measure(effort, &mut table)?;
    }
    if is_wanted(Section::Names) {
        names::measure(effort, &mut table)?;
    }
    if is_wanted(Section::Effect) {
        effect::measure(effort, &mut table)?;
    }
    if is_wanted(Section::Ejection) {
        ejection::measure(effort, &mut table)?;
    }
    if is_wanted(Section::Load) {
        load::measure(effort, &mut table)?;
    }
    println!("{}\n", machine());
    print!("{table}");
    Ok(())
}

/// What the figures were taken on.
fn machine() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "Linux {}, {cpus} CPUs, shunt {}",
        release.trim(),
        env!("CARGO_PKG_VERSION")
    )
}
