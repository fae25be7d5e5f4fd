//! `cargo xtask vm`: the kernel tests on other kernels than the running one, each booted in QEMU.
//!
//! A machine has no disk and no network: its kernel is Debian's for virtual machines, its files are one initramfs with
//! the tests, and its first process is the program `vm-init` of the tests package.

mod archive;
mod guest;
mod initramfs;
mod install;
mod kernels;
mod machine;
mod report;
mod table;
mod unpacked;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{build, tree};
use archive::Archive;
use guest::Guest;
use kernels::Kernel;
use machine::{Accelerator, Boot};
use report::Report;
use unpacked::Unpacked;

/// In seconds: some three times of what it takes without KVM, on two cores.
const TIME_LIMIT: u64 = 4500;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Versions such as 6.1, whose newest kernel is taken, whole releases, or `newest`
    #[arg(value_name = "KERNEL", default_values = kernels::DEFAULT)]
    kernels: Vec<String>,
    /// After how long a machine is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = TIME_LIMIT)]
    time_limit: u64,
    /// What the test programs are given: part of the names of the tests to run, or flags
    #[arg(last = true)]
    tests: Vec<String>,
}

impl Arguments {
    /// `kernels`, or the default ones where there are none, and part of the names of tests.
    pub(crate) fn of(kernels: &[String], tests: &[String]) -> Self {
        let kernels = if kernels.is_empty() {
            kernels::DEFAULT.map(str::to_owned).into()
        } else {
            kernels.to_vec()
        };
        Self {
            kernels,
            time_limit: TIME_LIMIT,
            tests: tests.to_vec(),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build::build_kernel()?;
    build::build_agent(false)?;
    let guest = Guest::build()?;
    let archive = Archive::open()?;
    install::ensure(&archive)?;
    let known = archive.kernels()?;
    let mut kernels: Vec<&Kernel> = Vec::new();
    for wanted in &arguments.kernels {
        let kernel = kernels::choose(wanted, &known)?;
        if !kernels.contains(&kernel) {
            kernels.push(kernel);
        }
    }
    let fetched: Vec<(&Kernel, Result<Unpacked>)> = kernels
        .into_iter()
        .map(|kernel| (kernel, Unpacked::get(kernel, &archive)))
        .collect();
    let accelerator = accelerator(&fetched)?;
    // Tests wait more than they compute, and most of them for one thread.
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let mut reports = Vec::new();
    for batch in fetched.chunks(at_once) {
        thread::scope(|scope| {
            let machines: Vec<_> = batch
                .iter()
                .map(|(kernel, unpacked)| {
                    scope.spawn(|| report(kernel, unpacked, &guest, arguments, accelerator))
                })
                .collect();
            for ((kernel, _), machine) in batch.iter().zip(machines) {
                let report = machine.join().expect("a machine is run without panicking");
                reports.push((kernel.release.clone(), report));
            }
        });
    }
    conclude(&reports)
}

/// What every machine runs on, found with the first kernel that is here.
fn accelerator(fetched: &[(&Kernel, Result<Unpacked>)]) -> Result<Accelerator> {
    let first = fetched
        .iter()
        .find_map(|(kernel, unpacked)| Some((kernel, unpacked.as_ref().ok()?)));
    let Some((kernel, unpacked)) = first else {
        return Ok(Accelerator::Tcg);
    };
    let found = Accelerator::find(&unpacked.image, &folder(kernel)?)?;
    eprintln!("vm: machines run on {}", found.name());
    Ok(found)
}

/// Of a machine with this kernel, or of why there was none.
fn report(
    kernel: &Kernel,
    unpacked: &Result<Unpacked>,
    guest: &Guest,
    arguments: &Arguments,
    accelerator: Accelerator,
) -> Report {
    let report = match unpacked {
        Ok(unpacked) => boot(kernel, unpacked, guest, arguments, accelerator),
        Err(error) => Ok(Report::of_failure(format!("{error:#}"))),
    };
    report.unwrap_or_else(|error| Report::of_failure(format!("{error:#}")))
}

/// Where the logs of a kernel go.
fn folder(kernel: &Kernel) -> Result<PathBuf> {
    let folder = tree::target().join("vm/runs").join(&kernel.release);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn boot(
    kernel: &Kernel,
    unpacked: &Unpacked,
    guest: &Guest,
    arguments: &Arguments,
    accelerator: Accelerator,
) -> Result<Report> {
    let folder = folder(kernel)?;
    eprintln!("vm: boot Linux {}", kernel.release);
    let initramfs = folder.join("initramfs");
    let mut file = BufWriter::new(File::create(&initramfs)?);
    guest
        .with(unpacked.needed_modules()?, &arguments.tests)
        .write(&mut file)?;
    file.flush()?;
    drop(file);
    let boot = Boot {
        accelerator,
        release: &kernel.release,
        image: &unpacked.image,
        initramfs: &initramfs,
        limit: Duration::from_secs(arguments.time_limit),
        folder: folder.clone(),
    };
    let report = boot.run();
    // Hundreds of megabytes, made anew each time.
    fs::remove_file(&initramfs)?;
    eprintln!("vm: all that was said is in {}", folder.display());
    report
}

fn conclude(reports: &[(String, Report)]) -> Result<()> {
    println!("\n{}", table::of(reports));
    let bad: Vec<&str> = reports
        .iter()
        .filter(|(_, report)| !report.is_good())
        .map(|(release, _)| &**release)
        .collect();
    if !bad.is_empty() {
        bail!("tests failed on Linux {}", bad.join(", "));
    }
    Ok(())
}
