//! `cargo xtask setup`: what the kernel programs are built with, found or installed.
//!
//! The kernel programs need `core` built for the BPF target, which only a nightly compiler, or one that is told to act
//! like one, does; and bpf-linker, which must know the LLVM of that compiler. Two compilers will do: a pinned nightly
//! of rustup's, and Debian's own. What is present is used; else what can be installed is installed.

mod install;
mod machine;

use std::process::Command;

use anyhow::{Result, bail};

use crate::{process, tree};
use machine::Machine;

pub(crate) use install::packages as install_packages;
pub(crate) use machine::Toolchain;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only say what would be installed
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.dry_run {
        return show_plan();
    }
    let toolchain = ensure()?;
    println!("compiler  {}", toolchain.rustc().display());
    println!("linker    {}", toolchain.linker().display());
    println!("Everything that the kernel programs are built with is here.");
    Ok(())
}

/// Returns what the kernel programs are built with, after installing what is missing of it.
pub(crate) fn ensure() -> Result<Toolchain> {
    let mut machine = Machine::probe();
    loop {
        if let Some(toolchain) = machine.toolchain() {
            return Ok(toolchain);
        }
        let Some(step) = machine.next_step() else {
            bail!("{}", machine.advice());
        };
        eprintln!("setup: {step}");
        match install::perform(&step, &machine) {
            Ok(()) => {
                let before = machine.missing();
                machine.probe_again();
                if machine.missing() == before {
                    eprintln!("setup: that went well, yet what was missing still is");
                    machine.rule_out(&step);
                }
            }
            Err(error) => {
                eprintln!("setup: {error:#}");
                machine.rule_out(&step);
            }
        }
    }
}

fn show_plan() -> Result<()> {
    let mut machine = Machine::probe();
    let mut steps = 0;
    while machine.toolchain().is_none() {
        let Some(step) = machine.next_step() else {
            bail!("{}", machine.advice());
        };
        println!("would {step}:");
        for command in install::commands(&step, &machine) {
            println!("  {}", process::shown(&command));
        }
        machine.assume_done(&step);
        steps += 1;
    }
    if steps == 0 {
        println!("Nothing is missing.");
    }
    Ok(())
}

impl Toolchain {
    /// The cargo that builds for the kernel, at work in `agent-ebpf`.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(self.sysroot().join("bin/cargo"));
        process::forget_toolchain(&mut cargo)
            .current_dir(tree::root().join("agent-ebpf"))
            .env("RUSTC", self.rustc())
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", self.linker());
        if self.linker_borrows_llvm() {
            cargo.env("LD_LIBRARY_PATH", self.sysroot().join("lib"));
        }
        cargo
    }
}
