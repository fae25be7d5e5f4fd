//! The `shunt` binary that was built beside the tests, run as a user runs it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary: programs stand in `target/<profile>` like it, and tests in `deps` below that.
///
/// # Panics
/// If it was not built.
pub fn path() -> PathBuf {
    let program = env::current_exe().expect("a running program has an executable");
    let folders = program.ancestors().skip(1).take(2);
    let mut places = folders.map(|folder| folder.join("shunt"));
    places
        .find(|place| Path::is_file(place))
        .expect("shunt is built: run `cargo build -p agent` first")
}

/// How a command ended, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `None` where a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Stdout as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// The binary, untouched by the variables of whoever runs the tests.
pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(arguments: I) -> Command {
    let mut command = Command::new(path());
    forget_variables(&mut command);
    command.args(arguments);
    command
}

/// Takes the variables away that the binary goes by.
pub fn forget_variables(command: &mut Command) {
    let inherited = env::vars_os().map(|(name, _)| name);
    let is_known = |name: &str| {
        name.starts_with("SHUNT_")
            || ["NOTIFY_SOCKET", "INVOCATION_ID", "KUBERNETES_SERVICE_HOST"].contains(&name)
    };
    for name in inherited.filter(|name| is_known(&name.to_string_lossy())) {
        command.env_remove(name);
    }
}

/// Runs it to its end.
///
/// # Panics
/// If it cannot be started.
pub fn shunt<I: IntoIterator<Item: AsRef<OsStr>>>(arguments: I) -> Ended {
    command(arguments)
        .output()
        .expect("the binary starts")
        .into()
}
