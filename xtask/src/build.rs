//! `cargo xtask build`: the kernel programs, then the binary that holds them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

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

/// The forms of the kernel programs: the target folder that each is embedded from, and what it is built with. The one that
/// stays where the compiler puts it comes last.
const FORMS: [(&str, &[&str]); 3] = [
    // For `shunt run --bpf-log`: traces each decision.
    ("bpf-trace", &["--features", "trace"]),
    // For kernels before Linux 5.12.
    ("bpf-5.10", &["--no-default-features"]),
    ("bpf", &[]),
];

/// Builds the kernel programs in every form, which the agent's build embeds.
pub(crate) fn build_kernel() -> Result<()> {
    let toolchain = setup::ensure()?;
    // All are built in one place, so that `core` is built once.
    for (folder, features) in FORMS {
        build_object(&toolchain, features)?;
        if folder != "bpf" {
            let copy = object(folder);
            fs::create_dir_all(copy.parent().expect("it is in a folder"))?;
            copy_if_different(&object("bpf"), &copy)?;
        }
    }
    Ok(())
}

/// Where an object is in a target folder of that name.
fn object(target: &str) -> PathBuf {
    tree::target()
        .join(target)
        .join("bpfel-unknown-none/release/shunt-ebpf")
}

/// A file that says the same keeps its time, and the agent is not built again.
fn copy_if_different(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}

fn build_object(toolchain: &Toolchain, features: &[&str]) -> Result<()> {
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--release", "--target", "bpfel-unknown-none"])
        .args(["-Z", "build-std=core"])
        .args(features)
        .env("CARGO_TARGET_DIR", tree::target().join("bpf"))
        // BTF, which the kernel wants for maps and which names their types, is made from the debug information.
        // Memory is copied and cleared in place: functions for it are loops, and where a program has functions, older
        // verifiers take every number for one that matters and do not come to an end.
        .env(
            "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
            "-C debuginfo=2 -C link-arg=--btf -C link-arg=--disable-expand-memcpy-in-order",
        );
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

/// Builds a program of the tests package with optimisation, and beside it what it starts; the kernel programs must be there.
pub(crate) fn build_release(program: &str) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args([
        "build",
        "--release",
        "--package",
        "tests",
        "--package",
        "agent",
    ]);
    for binary in [program, "client", "shunt"] {
        cargo.args(["--bin", binary]);
    }
    process::run(&mut cargo)
}
