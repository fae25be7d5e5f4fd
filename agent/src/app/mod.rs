//! The running agent: wires sources, registry, compiler, dataplane and control socket together.

pub mod agent;
pub mod canary;
mod child_cgroup;
mod clients;
mod clock;
pub mod closing;
mod control;
mod core;
pub mod demo;
mod denials;
mod descriptors;
mod drift;
pub mod exec;
mod health;
mod heap;
mod hits;
mod kept;
mod lessons;
mod names;
pub mod netns;
pub mod ports;
mod probes;
mod rights;
mod startup;
mod supervisor;
mod vip_file;

use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::{OnExit, Settings};

use self::agent::Role;

/// `shunt run`: the agent, until SIGTERM or SIGINT. Must be called while the process has one thread.
pub fn run(settings: Settings) -> Result<ExitCode> {
    rights::give_up(&settings)?;
    block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let end = match settings.on_exit {
            OnExit::Keep => "ending; the programs stay",
            OnExit::Detach => "detaching and ending",
        };
        let start = agent::start(settings, Role::Node);
        let mut running = tokio::select! {
            running = start => running?,
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
        };
        supervisor::watch(running.pulses())?;
        tokio::select! {
            ended = running.ended() => match ended {
                Ok(()) => return Ok(ExitCode::SUCCESS),
                Err(why) => supervisor::abandon(&why),
            },
            _ = terminate.recv() => tracing::info!("SIGTERM: {end}"),
            _ = interrupt.recv() => tracing::info!("SIGINT: {end}"),
        }
        running.stop().await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    descriptors::ensure_enough()?;
    heap::share();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(future)
}
