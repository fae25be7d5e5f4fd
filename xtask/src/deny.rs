//! What do dependencies bring along? cargo-deny compares the lock files with `deny.toml`: licences, bans and sources by what is here,
//! advisories by a database that is fetched.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{process, tool, tree};

const VERSION: &str = "0.20.2";

/// Each has a lock file of its own.
const MANIFESTS: [&str; 3] = [
    "Cargo.toml",
    "agent-ebpf/Cargo.toml",
    "tests/fuzz/Cargo.toml",
];

/// What is checked, each with its name.
pub(crate) fn checks() -> Result<Vec<(&'static str, Command)>> {
    let program = install()?;
    let mut kinds = vec![(
        "licences, bans and sources",
        &["licenses", "bans", "sources"][..],
    )];
    match process::run(deny(&program, MANIFESTS[0]).args(["fetch", "db"])) {
        Ok(()) => kinds.push(("advisories", &["advisories"])),
        Err(_) => eprintln!("lint: advisories are skipped: their database cannot be fetched"),
    }
    let checks = kinds.iter().flat_map(|(name, words)| {
        MANIFESTS.map(|manifest| {
            let mut command = deny(&program, manifest);
            command
                .args(["check", "--hide-inclusion-graph"])
                .args(*words);
            (*name, command)
        })
    });
    Ok(checks.collect())
}

fn deny(program: &Path, manifest: &str) -> Command {
    let mut deny = Command::new(program);
    deny.current_dir(tree::root())
        .args(["--locked", "--log-level", "error", "--config", "deny.toml"])
        .args(["--manifest-path", manifest]);
    deny
}

/// It is fast enough without optimisation.
fn install() -> Result<PathBuf> {
    let program = tree::tools().join("bin/cargo-deny");
    if !program.exists() {
        eprintln!("lint: install cargo-deny {VERSION} for this tree, which takes some minutes");
        let mut cargo = tool::install("cargo-deny", VERSION);
        process::run_logged(cargo.arg("--debug"), &tree::tools().join("setup.log"))?;
    }
    Ok(program)
}
