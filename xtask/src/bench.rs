//! `cargo xtask bench`: what shunt costs, measured by a program of the tests package, built with optimisation and started
//! as root.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, privilege, tree};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer rounds: a minute or two instead of ten
    #[arg(long)]
    quick: bool,
    /// Measure this alone; may be repeated
    #[arg(long, value_name = "WHAT", value_parser = ["connects", "runs", "algorithms", "clients", "sockets", "names", "effect", "ejection", "load"])]
    only: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build::build_kernel()?;
    build::build_release("bench")?;
    let quick = arguments.quick.then(|| OsString::from("--quick"));
    let only = arguments.only.iter();
    let only = only.flat_map(|what| [OsString::from("--only"), what.into()]);
    let flags: Vec<OsString> = quick.into_iter().chain(only).collect();
    privilege::become_root(
        &tree::target().join("release/bench"),
        "loading kernel programs",
        &flags,
    )
}
