//! The programs that tests talk to: name servers and resolvers of others, a service manager, found or installed.

use std::path::{Path, PathBuf};

use crate::{privilege, process, setup, tree};

/// Each with its Debian package. None of the packages starts a service.
const PROGRAMS: [(&str, &str); 5] = [
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("musl-gcc", "musl-tools"),
    ("systemd-analyze", "systemd"),
];

/// Folders that a user's `PATH` may leave out.
const ALSO: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Installs what is missing where that can be done, and says what is not. Tests that lack a program say so themselves.
pub(super) fn ensure() {
    let missing = missing();
    if missing.is_empty() {
        return;
    }
    let (programs, packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
    let (programs, install) = (programs.join(", "), packages.join(" "));
    if !privilege::is_root() || !Path::new("/usr/bin/apt-get").exists() {
        eprintln!(
            "test: {programs} are missing, and tests that talk to them are skipped: as root, \
             `apt-get install --no-install-recommends {install}`"
        );
        return;
    }
    eprintln!("test: install the Debian packages {install}, which tests talk to");
    let log = tree::target().join("tmp/peers.log");
    for mut command in setup::install_packages(&packages) {
        if let Err(error) = process::run_logged(&mut command, &log) {
            eprintln!("  {error:#}");
        }
    }
}

fn missing() -> Vec<(&'static str, &'static str)> {
    let programs = PROGRAMS.into_iter();
    programs
        .filter(|(program, _)| find(program).is_none())
        .collect()
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(ALSO.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
