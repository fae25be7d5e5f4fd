//! Why the kernel did not take the programs, in its own words and with the likely cause.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use crate::dataplane::neighbours::{self, Neighbour};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "the kernel did not take the object: {}{}",
        chain(error),
        likely(error)
    )]
    Object { error: Box<EbpfError> },
    #[error(
        "the kernel did not take the program {name}: {}{}",
        chain(error),
        likely(error)
    )]
    Program {
        name: &'static str,
        error: Box<ProgramError>,
    },
    #[error("the object has no {name}: it was built from other sources")]
    Incomplete { name: &'static str },
    #[error("cannot use a map: {0}")]
    Map(#[from] MapError),
    #[error("cannot make {name}: {}{}", chain(error), likely(error))]
    Unmade { name: String, error: Box<MapError> },
    #[error("cannot map {name} into memory: {error}")]
    Mapping {
        name: &'static str,
        error: io::Error,
    },
    #[error(
        "cannot read what another agent has left, which stays in effect: {}; try again, or end it by `shunt cleanup`",
        chain(&**.0)
    )]
    Unreadable(Box<dyn Error + Send + Sync>),
    #[error("cannot find out what the kernel can do: {error}{}", likely(error))]
    Untried { error: io::Error },
    #[error("cannot count the CPUs: {0}")]
    Cpus(io::Error),
    #[error("the limit of flows is {0}, which is not a power of two")]
    Flows(u32),
    #[error("cannot use {} for pins: {error}", path.display())]
    PinDirectory { path: PathBuf, error: io::Error },
    #[error("{} is in use by another agent, process {pid}", path.display())]
    InUse { path: PathBuf, pid: String },
    #[error(
        "this kernel has no compare-and-swap for BPF, which traces and sock_ops need: use Linux 5.12 or later, or leave out --bpf-log and --sock-ops"
    )]
    NoCompareAndSwap,
    #[error("cannot wait for events: {0}")]
    Events(io::Error),
    #[error("cannot start the traces: {0}")]
    Trace(String),
}

impl LoadError {
    pub(super) fn unreadable(error: io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("cannot go on from what has been counted: {0}")]
    Counts(#[from] MapError),
    #[error("cannot open the cgroup {}: {error}", path.display())]
    Open { path: PathBuf, error: io::Error },
    #[error("cannot attach {program} to {}: {error}{}", path.display(), attach_cause(error))]
    Attach {
        program: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error(
        "cannot attach {program} to {}: the {neighbour} tolerates no other beside or below it: {}",
        path.display(),
        neighbour.remedy()
    )]
    Exclusive {
        program: &'static str,
        path: PathBuf,
        neighbour: Box<Neighbour>,
    },
    #[error("cannot remove the pin {}: {error}", path.display())]
    Unpin { path: PathBuf, error: io::Error },
    #[error("cannot pin the attachment of {program} as {}: {reason}", path.display())]
    Pin {
        program: &'static str,
        path: PathBuf,
        reason: String,
    },
}

impl AttachError {
    pub(super) fn pin(program: &'static str, path: &Path, error: &dyn Error) -> Self {
        Self::Pin {
            program,
            path: path.to_owned(),
            reason: chain(error),
        }
    }

    /// Why the kernel did not attach `program` to `path`: who is in the way, where somebody is.
    pub(super) fn refused(program: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        let exclusive = match error.raw_os_error() {
            Some(libc::EPERM) => neighbours::of(&path).map(|found| found.exclusive),
            _ => Ok(Vec::new()),
        };
        match exclusive.unwrap_or_default().into_iter().next() {
            Some(neighbour) => Self::Exclusive {
                program,
                path,
                neighbour: Box::new(neighbour),
            },
            None => Self::Attach {
                program,
                path,
                error,
            },
        }
    }
}

/// An error and its sources. Variants that print their source have it once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = error.source();
    }
    text
}

/// The likely cause, from the error number of the system call.
fn likely(error: &(dyn Error + 'static)) -> &'static str {
    let Some(number) = error_number(error) else {
        return "";
    };
    match number {
        libc::EPERM | libc::EACCES if is_locked_down() => {
            "; likely cause: kernel lockdown in confidentiality mode forbids reading kernel memory with BPF"
        }
        libc::EPERM if !has_memlock_accounting_by_cgroup() => {
            "; likely cause: the locked-memory limit (before Linux 5.11): run under `ulimit -l unlimited`, or LimitMEMLOCK=infinity"
        }
        libc::EPERM => {
            "; likely cause: missing capability: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
        }
        libc::ENOMEM => "; likely cause: not enough memory for the maps: lower the limits",
        libc::E2BIG => "; likely cause: a limit that is larger than the kernel takes",
        libc::EINVAL | libc::EACCES => {
            "; likely cause: an old kernel (Linux 5.10 is needed), unless the verifier says otherwise above"
        }
        _ => "",
    }
}

fn attach_cause(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBADF) => {
            "; likely cause: this is no cgroup v2 directory (`shunt check` tells where cgroup v2 is mounted)"
        }
        Some(libc::EPERM) => {
            "; likely cause: a program was attached without BPF_F_ALLOW_MULTI to a cgroup above those that can be seen here, or CAP_NET_ADMIN is missing"
        }
        Some(libc::E2BIG) => "; likely cause: 64 programs are attached there already",
        _ => "",
    }
}

pub(super) fn error_number(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
}

fn is_locked_down() -> bool {
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|modes| modes.contains("[confidentiality]"))
}

/// Since Linux 5.11 the memory of maps is charged to the cgroup, and the limit of locked memory does not count.
fn has_memlock_accounting_by_cgroup() -> bool {
    aya::util::KernelVersion::current()
        .is_ok_and(|version| version >= aya::util::KernelVersion::new(5, 11, 0))
}
