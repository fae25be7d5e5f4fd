//! `cargo xtask test`: every test, those of the kernel programs as root, and one summary.

pub(crate) mod peers;
pub(crate) mod tally;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::{build, privilege, process, vm};
use tally::Tally;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Then run the kernel tests on other kernels too, as `cargo xtask vm` does
    #[arg(long, value_name = "KERNEL", num_args = 0..)]
    vm: Option<Vec<String>>,
    /// What `cargo test` is given after its own `--`: part of the names of the tests to run, or flags
    #[arg(last = true)]
    tests: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    peers::ensure();
    build::build_kernel()?;
    // The tests start the binary itself, which `cargo test` does not build.
    build::build_agent(false)?;
    process::run(process::cargo().args(["test", "--workspace", "--no-run"]))?;

    let mut tally = Tally::default();
    let mut passed = true;
    for mut cargo in invocations() {
        cargo.arg("--").args(&arguments.tests);
        passed &= run_counted(&mut cargo, &mut tally)?;
    }
    conclude(&tally, passed)?;
    match &arguments.vm {
        Some(kernels) => vm::run(&vm::Arguments::of(kernels, &arguments.tests)),
        None => Ok(()),
    }
}

/// Everything at once where we are root or cannot become it; else the package that needs root apart, through sudo.
fn invocations() -> Vec<Command> {
    let test = |selection: &[&str]| {
        let mut cargo = process::cargo();
        cargo.args(["test", "--no-fail-fast"]).args(selection);
        cargo
    };
    if privilege::is_root() || !privilege::sudo_works("testing the kernel programs") {
        return vec![test(&["--workspace"])];
    }
    let mut as_root = test(&["--package", "tests"]);
    as_root.args(["--config", "target.'cfg(unix)'.runner = ['sudo', '-E']"]);
    vec![test(&["--workspace", "--exclude", "tests"]), as_root]
}

/// Runs `command`, shows what it says as it comes, and counts. Returns whether it succeeded.
fn run_counted(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    eprintln!("$ {}", process::shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("stdout is a pipe")?;
    let stderr = child.stderr.take().context("stderr is a pipe")?;
    let tally = Mutex::new(tally);
    thread::scope(|scope| {
        scope.spawn(|| pass_on(stderr, std::io::stderr(), &tally));
        pass_on(stdout, std::io::stdout(), &tally);
    });
    Ok(child.wait()?.success())
}

fn pass_on(from: impl Read, mut to: impl Write, tally: &Mutex<&mut Tally>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        // If nobody reads along, the count is still wanted.
        writeln!(to, "{line}").ok();
        tally.lock().expect("counting does not panic").count(&line);
    }
}

fn conclude(tally: &Tally, passed: bool) -> Result<()> {
    println!("\n{tally}");
    if !passed || tally.failed() > 0 {
        bail!("tests failed");
    }
    if tally.passed() + tally.skipped() == 0 {
        bail!("no test has such a name");
    }
    if is_ci() && tally.skipped() > 0 {
        bail!("tests were skipped, which counts as failure where CI is set");
    }
    Ok(())
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
