//! A virtual machine: how QEMU is started, what is watched, and when it is ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::report::Report;
use crate::process;

pub(super) const QEMU: &str = "qemu-system-x86_64";

const MEMORY_MIB: &str = "4096";

/// What the kernel says where it has no file system to start from, which is as far as [`Accelerator::find`] lets it come.
const NOTHING_TO_START: &str = "Unable to mount root fs";

/// Long enough for that wherever virtualization works.
const PROBE: Duration = Duration::from_secs(10);

/// How the guest's instructions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// KVM where a kernel comes up with it: in some machines that are virtual themselves the device is there, and a guest
    /// hangs.
    pub(super) fn find(image: &Path, folder: &Path) -> Result<Self> {
        if File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Tcg);
        }
        let console = folder.join("kvm.log");
        let mut machine = Machine::start(
            qemu(Self::Kvm, image, &console)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        let started = Instant::now();
        loop {
            let has_ended = machine.0.try_wait()?.is_some();
            let said = read(&console);
            if said.contains(NOTHING_TO_START) {
                return Ok(Self::Kvm);
            }
            if has_ended || started.elapsed() > PROBE {
                return Ok(Self::Tcg);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    /// The processor, and more that the kernel is told.
    const fn processor(self) -> (&'static str, &'static str) {
        match self {
            Self::Kvm => ("max", ""),
            // Kernels copy and clear memory byte by byte where a processor is quick at that: emulators are not. The third
            // feature that says so has no name in older QEMU, but in all kernels that look at it.
            Self::Tcg => ("max,-erms,-fsrm", " clearcpuid=fsrs"),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG: this machine has no working KVM, so that it takes longer",
        }
    }
}

/// What is booted.
pub(super) struct Boot<'a> {
    pub accelerator: Accelerator,
    pub release: &'a str,
    pub image: &'a Path,
    pub initramfs: &'a Path,
    pub limit: Duration,
    /// Where the logs go.
    pub folder: PathBuf,
}

impl Boot<'_> {
    /// Runs the machine to its end, or to the limit.
    pub(super) fn run(&self) -> Result<Report> {
        let console = self.folder.join("console.log");
        let mut log = File::create(self.folder.join("tests.log"))?;
        let mut command = qemu(self.accelerator, self.image, &console);
        command
            .arg("-initrd")
            .arg(self.initramfs)
            .args(["-serial", "stdio"])
            .stdout(Stdio::piped());
        let started = Instant::now();
        let mut machine = Machine::start(&mut command)?;
        let port = machine.0.stdout.take().context("stdout is a pipe")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(port).split(b'\n').map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut report = Report::default();
        let killed = loop {
            match lines.recv_timeout(self.limit.saturating_sub(started.elapsed())) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line);
                    let line = line.trim_end_matches('\r');
                    writeln!(log, "{line}")?;
                    report.take(line);
                    self.tell(line, &report, started.elapsed());
                }
                Err(RecvTimeoutError::Timeout) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
            }
        };
        drop(machine);
        report.end(started.elapsed(), killed, &read(&console));
        Ok(report)
    }

    /// One line for each result.
    fn tell(&self, line: &str, report: &Report, elapsed: Duration) {
        if let Some(result) = line.strip_prefix("test result: ") {
            let counts = result.split("; 0 ignored").next().unwrap_or(result);
            let program = report.running().unwrap_or_default();
            let (seconds, release) = (elapsed.as_secs(), self.release);
            eprintln!("  {seconds:>4} s  {release}  {program}: {counts}");
        }
    }
}

fn read(console: &Path) -> String {
    let said = fs::read(console).unwrap_or_default();
    String::from_utf8_lossy(&said).into_owned()
}

/// A machine whose first port is the file `console`. When it panics or is done it ends.
fn qemu(accelerator: Accelerator, image: &Path, console: &Path) -> Command {
    let (processor, more) = accelerator.processor();
    // It ends with us, also where we are killed.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", QEMU])
        .args(["-accel", accelerator.flag(), "-cpu", processor])
        .args(["-smp", "2", "-m", MEMORY_MIB])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none"])
        .arg("-kernel")
        .arg(image)
        // A lockup is one after two minutes: a machine that emulates beside others is slow.
        .arg("-append")
        .arg(format!(
            "console=ttyS0 panic=-1 softlockup_panic=1 watchdog_thresh=60 mitigations=off{more}"
        ))
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .stdin(Stdio::null());
    qemu
}

/// A QEMU of ours, which ends with this.
struct Machine(Child);

impl Machine {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", process::shown(command)))?;
        Ok(Self(child))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
