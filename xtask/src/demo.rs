//! `cargo xtask demo`: `shunt demo`, built with optimisation and started as root.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, anyhow, bail};

use crate::{build, privilege, process, tree};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Flags for `shunt demo`, such as --keep
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build::build_kernel()?;
    build::build_agent(true)?;
    let shunt = tree::target().join("release/shunt");
    let mut command = if privilege::is_root() {
        Command::new(shunt)
    } else if privilege::sudo_works("loading kernel programs") {
        let mut sudo = Command::new("sudo");
        sudo.arg(shunt);
        sudo
    } else {
        bail!(
            "loading kernel programs needs root, and sudo does not work here; run this command as root"
        );
    };
    command.arg("demo").args(&arguments.demo);
    eprintln!("$ {}", process::shown(&command));
    // Takes our place, so that signals and the exit status are its own.
    Err(anyhow!(command.exec()).context("cannot start shunt"))
}
