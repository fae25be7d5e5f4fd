//! `cargo xtask build`: the kernel programs, then the binary that holds them.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::{self, Toolchain};
use crate::{process, tree};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build `shunt` with optimisation, into target/release
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build_kernel()?;
    build_agent(arguments.release)?;
    let folder = if arguments.release {
        "release"
    } else {
        "debug"
    };
    println!("built target/{folder}/shunt");
    Ok(())
}

/// The two forms of the kernel programs.
#[derive(Clone, Copy)]
enum Object {
    Normal,
    /// With a trace of each decision, for `shunt run --bpf-log`.
    Trace,
}

impl Object {
    /// Each has a target folder of its own, so that building one does not undo the other.
    fn target(self) -> PathBuf {
        tree::target().join(match self {
            Self::Normal => "bpf",
            Self::Trace => "bpf-trace",
        })
    }
}

/// Builds the kernel programs in both forms, which the agent's build embeds.
pub(crate) fn build_kernel() -> Result<()> {
    let toolchain = setup::ensure()?;
    for object in [Object::Normal, Object::Trace] {
        build_object(&toolchain, object)?;
    }
    Ok(())
}

fn build_object(toolchain: &Toolchain, object: Object) -> Result<()> {
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--release", "--target", "bpfel-unknown-none"])
        .args(["-Z", "build-std=core"])
        .env("CARGO_TARGET_DIR", object.target())
        // BTF, which the kernel wants for maps and which names their types, is made from the debug information.
        .env(
            "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
            "-C debuginfo=2 -C link-arg=--btf",
        );
    if matches!(object, Object::Trace) {
        cargo.args(["--features", "trace"]);
    }
    process::run(&mut cargo)
}

/// Builds `shunt`; the kernel programs must be there.
pub(crate) fn build_agent(release: bool) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--package", "agent"]);
    if release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)
}
