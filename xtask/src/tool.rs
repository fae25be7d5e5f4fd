//! Installing what cargo can build, into a folder of this tree: the user's own tools stay as they are.

use std::process::Command;

use crate::process;

/// Builds `crate_name` of that version with the toolchain of the workspace.
pub(crate) fn install(crate_name: &str, version: &str) -> Command {
    let mut cargo = process::cargo();
    cargo
        .args(["install", crate_name, "--locked", "--version", version])
        .args(["--root", "target/tools"]);
    cargo
}
