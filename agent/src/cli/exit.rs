//! How a command ends: the exit statuses, and which failure has which.

use std::io;
use std::process::ExitCode;

use super::resolve::SettingsError;
use crate::api::{Diagnostic, Severity};
use crate::observe::ClientError;
use crate::sources::InputError;

/// The statuses that others script against; those from 64 on are sysexits.h's, 79 is istioctl's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Success = 0,
    Failure = 1,
    Usage = 64,
    Unparsable = 65,
    Unreachable = 69,
    NoPermission = 77,
    Findings = 79,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The status of a command that judged files.
    pub(super) fn of_findings(unparsable: bool, findings: &[Diagnostic]) -> Self {
        let has_error = findings.iter().any(|f| f.severity == Severity::Error);
        match (unparsable, has_error) {
            (true, _) => Self::Unparsable,
            (false, true) => Self::Findings,
            (false, false) => Self::Success,
        }
    }

    /// The status of a command that failed.
    pub(super) fn of_failure(failure: &anyhow::Error) -> Self {
        failure
            .chain()
            .find_map(Self::of_cause)
            .unwrap_or(Self::Failure)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return Some(refusal.exit());
        }
        if let Some(settings) = cause.downcast_ref::<SettingsError>() {
            return Some(match settings {
                SettingsError::MeshConfigBroken { .. } => Self::Unparsable,
                _ => Self::Usage,
            });
        }
        if let Some(input) = cause.downcast_ref::<InputError>() {
            return Some(match input {
                InputError::Missing { .. } | InputError::NoFiles { .. } => Self::Usage,
                InputError::Unreadable { .. } => Self::Failure,
            });
        }
        if let Some(client) = cause.downcast_ref::<ClientError>() {
            return match client {
                ClientError::NotRunning { .. } | ClientError::Silent { .. } => {
                    Some(Self::Unreachable)
                }
                ClientError::Denied { .. } => Some(Self::NoPermission),
                _ => None,
            };
        }
        let error = cause.downcast_ref::<io::Error>()?;
        (error.kind() == io::ErrorKind::PermissionDenied).then_some(Self::NoPermission)
    }
}

/// Why a command was not begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Usage(String),
    #[error("`shunt {command}` needs {missing}: run it as root, such as `sudo shunt {command} …`")]
    NoPermission {
        command: &'static str,
        missing: String,
    },
}

impl Refusal {
    const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NoPermission { .. } => Exit::NoPermission,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_innermost_cause_that_is_known_decides() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let failure = Err::<(), _>(denied)
            .context("attaching")
            .context("starting")
            .unwrap_err();
        assert_eq!(Exit::of_failure(&failure), Exit::NoPermission);
        let missing = InputError::Missing { path: "x".into() };
        assert_eq!(Exit::of_failure(&missing.into()), Exit::Usage);
        assert_eq!(Exit::of_failure(&anyhow::anyhow!("no")), Exit::Failure);
    }

    #[test]
    fn a_file_that_does_not_parse_outweighs_findings() {
        assert_eq!(Exit::of_findings(true, &[]), Exit::Unparsable);
        assert_eq!(Exit::of_findings(false, &[]), Exit::Success);
    }
}
