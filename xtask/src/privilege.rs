//! Being root: loading kernel programs needs it, building does not.

use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};

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
