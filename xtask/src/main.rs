//! `cargo xtask`: the project's own commands. Each subcommand is one module; this file only names them.

mod bench;
mod build;
mod demo;
mod deny;
mod fuzz;
mod lint;
mod privilege;
mod process;
mod setup;
mod soak;
mod test;
mod tool;
mod tree;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of the shunt project.
///
/// Every command first makes sure that what it needs is there (see `setup`), so on a fresh machine any of them may come
/// first.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version = None)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find, or install, what the kernel programs are built with
    Setup(setup::Arguments),
    /// Build the kernel programs and the `shunt` binary
    Build(build::Arguments),
    /// Run all tests; those of the kernel programs as root
    Test(test::Arguments),
    /// Run the kernel tests on other kernels, each booted in QEMU
    Vm(vm::Arguments),
    /// Check format, lints, documentation, the rules of the source tree and what dependencies bring along
    Lint,
    /// Build and start `shunt demo`: real connects spread over endpoints, in under 30 seconds
    Demo(demo::Arguments),
    /// Try what reads bytes from anywhere with those that a fuzzer finds
    Fuzz(fuzz::Arguments),
    /// Measure what shunt costs, as ratios to the same work without it
    Bench(bench::Arguments),
    /// Let everything happen to shunt at random for as long as one likes, and see that no connect is lost
    Soak(soak::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Vm(arguments) => vm::run(&arguments),
        Command::Lint => lint::run(),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
