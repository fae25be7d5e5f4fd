//! `cargo xtask bench`: what shunt costs, measured by a program of the tests package, built with optimisation and started
//! as root.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, privilege, process, tree};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer rounds: half a minute instead of minutes
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build::build_kernel()?;
    process::run(process::cargo().args([
        "build",
        "--release",
        "--package",
        "tests",
        "--bin",
        "bench",
        "--bin",
        "client",
    ]))?;
    let flags: Vec<OsString> = arguments
        .quick
        .then(|| "--quick".into())
        .into_iter()
        .collect();
    privilege::become_root(
        &tree::target().join("release/bench"),
        "loading kernel programs",
        &flags,
    )
}
