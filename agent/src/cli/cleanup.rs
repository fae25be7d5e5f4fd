//! `shunt cleanup`: removes what a killed agent left behind.

use anyhow::{Context, Result};

use crate::dataplane;

use super::args::CleanupArgs;
use super::exit::Exit;
use super::output;
use super::privilege;

pub(super) fn cleanup(args: &CleanupArgs) -> Result<Exit> {
    privilege::require("cleanup")?;
    let removed = dataplane::cleanup(&args.bpf.bpf_dir).context("cleaning up")?;
    let lines = removed.iter().map(|path| format!("{}\n", path.display()));
    output::print(&lines.collect::<String>())?;
    output::remark(match removed.len() {
        0 => "Nothing was left behind.",
        _ => "Removed the above.",
    });
    Ok(Exit::Success)
}
