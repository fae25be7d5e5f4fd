//! `cargo xtask fuzz`: what reads bytes from anywhere, tried with bytes that libFuzzer finds.
//!
//! cargo-fuzz wants a nightly compiler for the flags that it passes; the stable one of the tree takes them when it is told to
//! act like one. Without a sanitizer no other standard library is needed. Panics and broken promises are found all the same,
//! and the code that is tried has no `unsafe`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{build, process, tool, tree};

const VERSION: &str = "0.13.2";
/// What is tried first, and what the targets are called.
const CORPUS: &str = "tests/fuzz/corpus";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target is tried
    #[arg(long, default_value_t = 60)]
    seconds: u32,

    /// A binary of `tests/fuzz`; all of them unless given
    target: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // The agent does not compile without the kernel programs that it embeds.
    build::build_kernel()?;
    install()?;
    match &arguments.target {
        Some(target) => try_target(target, arguments.seconds),
        None => targets()?
            .iter()
            .try_for_each(|target| try_target(target, arguments.seconds)),
    }
}

/// Each has its corpus.
fn targets() -> Result<BTreeSet<String>> {
    let folder = tree::root().join(CORPUS);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn install() -> Result<()> {
    if tree::tools().join("bin/cargo-fuzz").exists() {
        return Ok(());
    }
    let mut cargo = tool::install("cargo-fuzz", VERSION);
    process::run_logged(&mut cargo, &tree::tools().join("setup.log"))
}

fn try_target(target: &str, seconds: u32) -> Result<()> {
    // What is found goes there, and the corpus of the tree stays as it is.
    let found = tree::target().join("fuzz/found").join(target);
    fs::create_dir_all(&found)?;
    let mut fuzz = Command::new(tree::tools().join("bin/cargo-fuzz"));
    fuzz.current_dir(tree::root())
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["run", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none"])
        .arg("--target-dir")
        .arg(tree::target().join("fuzz"))
        .arg(target)
        .arg(&found)
        .arg(tree::root().join(CORPUS).join(target))
        .args(["--", &format!("-max_total_time={seconds}")])
        .args(["-max_len=4096", "-timeout=5", "-rss_limit_mb=2048"]);
    process::run(&mut fuzz)
}
