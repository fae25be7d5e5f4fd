//! `shunt exec`: one command in a cgroup of its own, under these rules and no others.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::child_cgroup::ChildCgroup;
use crate::settings::Settings;

use super::agent::{self, Role};

/// Runs `command` and returns its exit status (128 + the signal's number where one ended it, as shells do).
pub fn exec(mut settings: Settings, command: &[OsString]) -> Result<ExitCode> {
    for directory in &settings.config_dirs {
        // An agent waits for a directory to appear; a command would run without the rules that it was to run under.
        ensure!(
            directory.is_dir(),
            "--config-dir {}: there is no such directory",
            directory.display()
        );
    }
    let cgroup = ChildCgroup::create("exec")?;
    settings.cgroups = vec![cgroup.path().to_owned()];
    super::block_on(async {
        let running = agent::start(settings, Role::Private).await?;
        let status = run_command(cgroup.path(), command).await;
        running.stop().await?;
        status
    })
}

/// The hidden command that a child starts as: enters the cgroup, then becomes `command`.
pub fn enter(cgroup: &Path, command: &[OsString]) -> Result<ExitCode> {
    let processes = cgroup.join("cgroup.procs");
    std::fs::write(&processes, "0")
        .with_context(|| format!("entering the cgroup {}", cgroup.display()))?;
    let (program, arguments) = command.split_first().context("no command is given")?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

/// A command that will start in `cgroup`.
pub(super) fn in_cgroup(cgroup: &Path, command: &[OsString]) -> Result<Command> {
    let own = std::env::current_exe().context("finding our own program")?;
    let mut child = Command::new(own);
    child
        .arg("enter-cgroup")
        .arg(cgroup)
        .arg("--")
        .args(command);
    Ok(child)
}

async fn run_command(cgroup: &Path, command: &[OsString]) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    // The terminal sends SIGINT to the child as well; its answer to it is ours.
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut child = in_cgroup(cgroup, command)?
        .spawn()
        .context("starting the command")?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.context("waiting for the command")?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                child.start_kill().context("ending the command")?;
            }
        }
    };
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
