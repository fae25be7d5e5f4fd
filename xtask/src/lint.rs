//! `cargo xtask lint`: format, lints, documentation, the rules of the tree and the dependencies. Every check runs, whatever the
//! others say.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{build, deny, process};

pub(crate) fn run() -> Result<()> {
    // The agent does not compile without the kernel programs that it embeds.
    build::build_kernel()?;
    let mut failed = Vec::new();
    let dependencies = deny::checks().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        failed.push("dependencies");
        Vec::new()
    });
    for (name, mut command) in checks().into_iter().chain(dependencies) {
        if let Err(error) = process::run(&mut command) {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("not clean: {}", failed.join(", "));
    }
    println!("format, lints, documentation, the rules of the tree and dependencies: all clean");
    Ok(())
}

fn checks() -> [(&'static str, Command); 5] {
    let cargo = |words: &[&str]| {
        let mut cargo = process::cargo();
        cargo.args(words);
        cargo
    };
    let mut documentation = cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    let kernel = "agent-ebpf/Cargo.toml";
    [
        ("format", cargo(&["fmt", "--all", "--check"])),
        (
            "format of the kernel programs",
            cargo(&["fmt", "--manifest-path", kernel, "--check"]),
        ),
        (
            "clippy",
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]),
        ),
        ("documentation", documentation),
        (
            "rules of the tree",
            cargo(&["test", "--quiet", "--package", "tests", "--test", "tidy"]),
        ),
    ]
}
