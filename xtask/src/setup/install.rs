//! Installing one thing, and telling how it goes.

use std::process::Command;

use anyhow::Result;

use super::machine::{LINKER_ON_LLVM, LINKER_ON_RUSTC, LLVM_PREFIX, Machine, NIGHTLY, Step};
use crate::{process, tool, tree};

/// Does `step`.
pub(super) fn perform(step: &Step, machine: &Machine) -> Result<()> {
    let log = tree::tools().join("setup.log");
    for mut command in commands(step, machine) {
        let is_update = command.get_args().any(|word| word == "update");
        match process::run_logged(&mut command, &log) {
            // One source of packages out of many that does not answer need not be the one that has them.
            Err(error) if is_update => eprintln!("  {error:#}; going on with what is known"),
            result => result?,
        }
    }
    Ok(())
}

/// What `step` comes down to.
pub(super) fn commands(step: &Step, machine: &Machine) -> Vec<Command> {
    match step {
        Step::Packages(names) => packages(names).into(),
        Step::Nightly => {
            let mut rustup = Command::new("rustup");
            process::forget_toolchain(&mut rustup)
                .args(["toolchain", "install", NIGHTLY, "--no-self-update"])
                .args(["--profile", "minimal", "--component", "rust-src"]);
            vec![rustup]
        }
        Step::LinkerOnLlvm => {
            let mut install = tool::install("bpf-linker", LINKER_ON_LLVM);
            install
                .args(["--no-default-features", "--features", "llvm-22"])
                // Without these, an older LLVM that comes first in PATH would be taken.
                .env("LLVM_PREFIX", LLVM_PREFIX)
                .env("LLVM_SYS_221_PREFIX", LLVM_PREFIX);
            vec![install]
        }
        Step::LinkerOnRustc => {
            let mut install = tool::install("bpf-linker", LINKER_ON_RUSTC);
            if let Some(sysroot) = machine.compiler_sysroot() {
                install.env("LD_LIBRARY_PATH", sysroot.join("lib"));
            }
            vec![install]
        }
    }
}

/// Installs Debian packages.
pub(crate) fn packages(names: &[&str]) -> [Command; 2] {
    let mut update = apt_get();
    update.arg("update");
    let mut install = apt_get();
    // What the user has installed is not removed for us: rustup's own Debian package is in the way, say.
    install
        .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
        .args(names);
    [update, install]
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "Acquire::Retries=3"]);
    apt_get
}
