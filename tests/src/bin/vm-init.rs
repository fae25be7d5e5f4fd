//! The first process of a virtual machine of `cargo xtask vm`: mounts what a node has mounted, runs the programs that
//! `/plan` names, tells on the second serial port how each went, and powers off.
//!
//! Lines of the plan are `module PATH` (loaded), `folder PATH` (worked in) and `run NAME PROGRAM ARGUMENT…`, in order.
//! What is told stands in lines that begin with `vm: `, between what the programs say themselves.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, WaitOptions, setrlimit, wait};
use rustix::system::{RebootCommand, finit_module, reboot};
use tests::netns;

/// The first port is the kernel's console; on a port of its own no kernel message cuts a line in two.
const PORT: &str = "/dev/ttyS1";

/// What a node has: type and place.
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
];
/// In memory as all else, so that no file system of their own is mounted over what was brought along.
const FOLDERS: [&str; 2] = ["/tmp", "/run"];

fn main() -> Result<()> {
    // Anywhere else this would change a machine that is in use.
    if std::process::id() != 1 {
        bail!("this is the first process of a virtual machine: `cargo xtask vm` starts it");
    }
    if let Err(error) = work() {
        eprintln!("vm: failed: {error:#}");
    }
    rustix::fs::sync();
    reboot(RebootCommand::PowerOff)?;
    Ok(())
}

fn work() -> Result<()> {
    for (kind, target) in MOUNTS {
        fs::create_dir_all(target).with_context(|| format!("making {target}"))?;
        mount(kind, target, kind, MountFlags::empty(), c"")
            .with_context(|| format!("mounting {target}"))?;
    }
    for folder in FOLDERS {
        fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    let mut port = OpenOptions::new()
        .write(true)
        .open(PORT)
        .with_context(|| format!("opening {PORT}"))?;
    let result = carry_out(&mut port);
    match &result {
        Ok(()) => writeln!(port, "vm: done")?,
        Err(error) => writeln!(port, "vm: failed: {error:#}")?,
    }
    result
}

fn carry_out(port: &mut File) -> Result<()> {
    // No network but a loopback device that is up.
    netns::isolate().context("bringing the loopback device up")?;
    // As the unit of an agent on a node has it: before Linux 5.11 the memory of maps counts as locked.
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    setrlimit(Resource::Memlock, unlimited).context("lifting the limit of locked memory")?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    writeln!(port, "vm: kernel {}", release.trim())?;
    let plan = fs::read_to_string("/plan").context("reading the plan")?;
    for line in plan.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["module", path] => load_module(path)?,
            ["folder", path] => env::set_current_dir(path).with_context(|| path.to_owned())?,
            ["run", name, program, ref arguments @ ..] => run(name, program, arguments, port)?,
            _ => bail!("the plan says {line:?}"),
        }
    }
    Ok(())
}

fn load_module(path: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening {path}"))?;
    match finit_module(file, c"", 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("loading {path}")),
    }
}

fn run(name: &str, program: &str, arguments: &[&str], port: &mut File) -> Result<()> {
    writeln!(port, "vm: start {name}")?;
    let started = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([("CI", "true"), ("IN_VM", "true")])
        .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/")])
        .stdin(Stdio::null())
        .stdout(port.try_clone()?)
        .stderr(port.try_clone()?)
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let status = wait_for(child.id())?;
    let seconds = started.elapsed().as_secs_f64();
    writeln!(port, "vm: end {name} {status} {seconds:.1}")?;
    Ok(())
}

/// The exit status of a child, or 128 and the signal that ended it. Who is left behind by others is this process's child
/// too, and is waited for on the way.
fn wait_for(child: u32) -> io::Result<i32> {
    loop {
        let Some((ended, status)) = wait(WaitOptions::empty())? else {
            continue;
        };
        if u32::try_from(ended.as_raw_nonzero().get()) == Ok(child) {
            let signalled = status.terminating_signal().map(|signal| 128 + signal);
            return Ok(status.exit_status().or(signalled).unwrap_or(-1));
        }
    }
}
