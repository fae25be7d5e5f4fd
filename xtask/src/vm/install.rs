//! QEMU, found or installed.

use std::process::Command;

use anyhow::{Result, bail};

use super::archive::Archive;
use super::machine::QEMU;
use crate::{privilege, process, setup, tree};

const PACKAGE: &str = "qemu-system-x86";

/// Makes sure that QEMU is there.
pub(super) fn ensure(archive: &Archive) -> Result<()> {
    if is_here() {
        return Ok(());
    }
    if !privilege::is_root() {
        bail!("{QEMU} is missing: as root, `apt-get install --no-install-recommends {PACKAGE}`");
    }
    eprintln!("vm: install the Debian package {PACKAGE}, which boots the kernels (about 100 MB)");
    let log = tree::target().join("vm/install.log");
    for mut command in setup::install_packages(&[PACKAGE]) {
        if let Err(error) = process::run_logged(&mut command, &log) {
            eprintln!("  {error:#}");
        }
    }
    // Where other packages of QEMU's were taken from the backports, only those of the same version go with them.
    if !is_here() {
        eprintln!("vm: install it from the backports instead");
        archive.install_from_backports(PACKAGE)?;
    }
    if !is_here() {
        bail!("{QEMU} is still missing after {PACKAGE} was installed");
    }
    Ok(())
}

fn is_here() -> bool {
    process::output(Command::new(QEMU).arg("--version")).is_some()
}
