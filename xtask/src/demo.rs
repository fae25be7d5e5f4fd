//! `cargo xtask demo`: `shunt demo`, built with optimisation and started as root.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, privilege, tree};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Flags for `shunt demo`, such as --keep
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build::build_kernel()?;
    build::build_agent(true)?;
    let mut flags = vec![OsString::from("demo")];
    flags.extend(arguments.demo.iter().cloned());
    let shunt = tree::target().join("release/shunt");
    privilege::become_root(&shunt, "loading kernel programs", &flags)
}
