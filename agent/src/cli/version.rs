//! `shunt version` and `shunt completion`: what the binary knows of itself.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use serde::Serialize;

use agent_common::abi::ABI_VERSION;

use super::args::{Cli, ReportFormat};
use super::exit::Exit;
use super::output;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// Of the layout of the kernel's maps.
    abi_version: u32,
}

pub(super) fn version(format: ReportFormat) -> Result<Exit> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        abi_version: ABI_VERSION,
    };
    output::print(&match format {
        ReportFormat::Text => format!("shunt {}\n", version.version),
        ReportFormat::Json => output::json(&version)?,
    })?;
    Ok(Exit::Success)
}

pub(super) fn completion(shell: Shell) -> Result<Exit> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "shunt", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
