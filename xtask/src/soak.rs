//! `cargo xtask soak`: whether promises are kept over time, by a program of the tests package, built with optimisation and
//! started as root.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, privilege, tree};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long to go on
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    minutes: f64,
    /// Repeat the actions of another run, which printed it
    #[arg(long)]
    seed: Option<u64>,
    /// Tell of each action what it did
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build::build_kernel()?;
    build::build_release("soak")?;
    let mut flags = vec![format!("--minutes={}", arguments.minutes)];
    flags.extend(arguments.seed.map(|seed| format!("--seed={seed}")));
    flags.extend(arguments.verbose.then(|| "--verbose".to_owned()));
    let flags: Vec<OsString> = flags.into_iter().map(OsString::from).collect();
    privilege::become_root(
        &tree::target().join("release/soak"),
        "loading kernel programs",
        &flags,
    )
}
