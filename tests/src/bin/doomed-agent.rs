//! An agent that is killed: attaches to the cgroup of its second argument, pinned under its first, and aborts. With `restless`
//! as a third it goes on from what was left there, and then never stops changing what is in force, until it is killed.

use std::io::Write;
use std::path::PathBuf;
use std::process;

use agent::dataplane::{Dataplane, LoadOptions};
use anyhow::{Context, Result, ensure};
use tests::{lab, programs};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let bpf_dir = arguments.next().context("which directory for pins?")?;
    let cgroup = arguments.next().context("which cgroup?")?;
    let is_restless = arguments.next().is_some();
    let mut dataplane = Dataplane::load(&LoadOptions {
        limits: lab::limits(),
        bpf_dir: Some(bpf_dir),
        ..LoadOptions::default()
    })?;
    dataplane.apply(&programs::doomed(0));
    dataplane.attach(&[cgroup])?;
    if !is_restless {
        process::abort();
    }
    writeln!(std::io::stdout(), "attached")?;
    for turn in 1.. {
        let applied = dataplane.apply(&programs::doomed(turn));
        ensure!(applied.diagnostics.is_empty(), "{:?}", applied.diagnostics);
    }
    Ok(())
}
