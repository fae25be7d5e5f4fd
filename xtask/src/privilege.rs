//! Being root: loading kernel programs needs it, building does not.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, anyhow, bail};

use crate::process;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether commands can be run through sudo; asks for the password where somebody is there to type it.
pub(crate) fn sudo_works(why: &str) -> bool {
    let quiet = |command: &mut Command| {
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if quiet(Command::new("sudo").args(["--non-interactive", "true"])) {
        return true;
    }
    if !io::stdin().is_terminal() {
        return false;
    }
    eprintln!("{why} needs root; sudo may ask for your password");
    Command::new("sudo")
        .arg("--validate")
        .status()
        .is_ok_and(|status| status.success())
}

/// Lets `program` take our place as root, so that signals and the exit status are its own. Returns only on failure.
pub(crate) fn become_root(program: &Path, why: &str, arguments: &[OsString]) -> Result<()> {
    let mut command = if is_root() {
        Command::new(program)
    } else if sudo_works(why) {
        let mut sudo = Command::new("sudo");
        sudo.arg(program);
        sudo
    } else {
        bail!("{why} needs root, and sudo does not work here; run this command as root");
    };
    command.args(arguments);
    eprintln!("$ {}", process::shown(&command));
    Err(anyhow!(command.exec()).context(format!("cannot start {}", program.display())))
}
