//! `shunt cleanup`: removes what an agent left behind, and stops it first where that is asked for.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::dataplane::{self, Pinned};

use super::args::CleanupArgs;
use super::exit::Exit;
use super::output;
use super::privilege;

/// Longest wait for an agent to end: it answers a last query, and no more.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at whether it has.
const INTERVAL: Duration = Duration::from_millis(20);

pub(super) fn cleanup(args: &CleanupArgs) -> Result<Exit> {
    privilege::require("cleanup")?;
    let bpf_dir = &args.bpf.bpf_dir;
    if args.stop {
        stop(bpf_dir).context("stopping the agent")?;
    }
    let removed = dataplane::cleanup(bpf_dir).context("cleaning up")?;
    let lines = removed.iter().map(|path| format!("{}\n", path.display()));
    output::print(&lines.collect::<String>())?;
    output::remark(match removed.len() {
        0 => "Nothing was left behind.",
        _ => "Removed the above.",
    });
    Ok(Exit::Success)
}

/// Ends the agent that uses `bpf_dir`, if one does.
fn stop(bpf_dir: &Path) -> Result<()> {
    let user = || Pinned::look(bpf_dir).map(|pinned| pinned.agent);
    let Some(agent) = user()? else {
        return Ok(());
    };
    let pid = i32::try_from(agent).ok().and_then(Pid::from_raw);
    let pid = pid.context("the process that uses the pins is in another PID namespace")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    // It is still the one that was seen, and no other process with its number.
    if user()? != Some(agent) {
        return Ok(());
    }
    pidfd_send_signal(&process, Signal::TERM)?;
    let deadline = Instant::now() + PATIENCE;
    while user()? == Some(agent) {
        if Instant::now() >= deadline {
            bail!(
                "process {agent} has not ended within {} seconds; end it yourself, and try again",
                PATIENCE.as_secs()
            );
        }
        thread::sleep(INTERVAL);
    }
    Ok(())
}
