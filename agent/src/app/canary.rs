//! The canary: a process that connects below the agent's cgroups to what nothing but the agent's programs refuses, so that
//! its outcome shows whether they run there.
//!
//! It connects UDP sockets, which sends nothing: where the programs do not run, no packet leaves for an automatic address.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::dataplane::checks::{Check, State};
use crate::dataplane::{Running, running_at_connect};
use crate::observe::{ClientError, CoverageView, Request, Response, ask};

use super::child_cgroup::ChildCgroup;
use super::exec;

const NAME: &str = "coverage";

/// How a connect of the canary ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Connected,
    /// With that error number.
    Failed(i32),
    /// There is no socket of that family here.
    NoSocket,
}

/// The hidden command that the canary starts as: connects, and prints its outcomes as JSON.
pub fn run(destinations: &[SocketAddr]) -> Result<String> {
    let outcomes: Vec<Outcome> = destinations.iter().map(|&to| connect(to)).collect();
    serde_json::to_string(&outcomes).context("writing JSON")
}

fn connect(to: SocketAddr) -> Outcome {
    let any = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let Ok(socket) = UdpSocket::bind(SocketAddr::new(any, 0)) else {
        return Outcome::NoSocket;
    };
    match socket.connect(to).map_err(|error| error.raw_os_error()) {
        Ok(()) => Outcome::Connected,
        Err(errno) => Outcome::Failed(errno.unwrap_or_default()),
    }
}

/// Sends a canary into each of `cgroups`, or else into each that the agent on `socket` is attached to.
pub fn checks(socket: &Path, cgroups: &[PathBuf]) -> Vec<Check> {
    let coverage = match question(socket) {
        Ok(coverage) => coverage,
        Err(error) => return vec![unanswered(&error)],
    };
    if !coverage.ready {
        let detail = "not tried: the agent has not attached its programs yet";
        return vec![Check::new(
            NAME,
            State::Warn,
            detail,
            "wait, as `shunt status --wait` does",
        )];
    }
    let cgroups = if cgroups.is_empty() {
        &coverage.cgroups
    } else {
        cgroups
    };
    let check = |cgroup: &PathBuf| {
        let tried = attempt(socket, cgroup, &coverage.refused);
        tried.map_or_else(
            |error| {
                let detail = format!("{}: not tried: {error:#}", cgroup.display());
                Check::new(NAME, State::Warn, detail, "run as root")
            },
            |sighting| judge(cgroup, &sighting, &coverage.cgroups),
        )
    };
    cgroups.iter().map(check).collect()
}

fn unanswered(error: &ClientError) -> Check {
    if matches!(error, ClientError::NotRunning { .. }) {
        let detail = "not tried: no agent is running";
        return Check::new(NAME, State::Ok, detail, "");
    }
    let detail = format!("not tried: {error}");
    Check::new(
        NAME,
        State::Warn,
        detail,
        "run as root, with the agent's version of shunt",
    )
}

fn question(socket: &Path) -> Result<CoverageView, ClientError> {
    match ask(socket, &Request::Coverage)? {
        Response::Coverage(view) => Ok(view),
        other => Err(ClientError::Mismatch {
            socket: socket.to_owned(),
            reason: format!("{other:?}"),
        }),
    }
}

/// What was seen of one canary.
#[derive(Clone, Debug)]
struct Sighting {
    outcomes: Vec<(SocketAddr, Outcome)>,
    /// Refusals that the agent's programs counted meanwhile.
    refusals: u64,
    /// What runs at the connect hooks of the canary's cgroup.
    running: Vec<Running>,
}

fn attempt(socket: &Path, cgroup: &Path, destinations: &[SocketAddr]) -> Result<Sighting> {
    ensure!(
        !destinations.is_empty(),
        "objects declare every port of the last automatic addresses"
    );
    let own = ChildCgroup::create_in(cgroup, "canary")?;
    let running = running_at_connect(own.path()).context("asking for the programs in effect")?;
    let before = question(socket)?.refusals;
    let outcomes = send(own.path(), destinations)?;
    let after = question(socket)?.refusals;
    ensure!(
        outcomes.iter().any(|outcome| *outcome != Outcome::NoSocket),
        "a process there gets no UDP socket"
    );
    Ok(Sighting {
        outcomes: destinations.iter().copied().zip(outcomes).collect(),
        refusals: after.saturating_sub(before),
        running,
    })
}

fn send(cgroup: &Path, destinations: &[SocketAddr]) -> Result<Vec<Outcome>> {
    let own = std::env::current_exe().context("finding our own program")?;
    let mut command = vec![own.into_os_string(), "canary".into()];
    command.extend(destinations.iter().map(|to| to.to_string().into()));
    let mut canary: Command = exec::in_cgroup(cgroup, &command)?.into_std();
    let ended = canary
        .stdin(Stdio::null())
        .output()
        .context("starting a process there")?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        bail!("a process there failed: {}", said.trim_end());
    }
    serde_json::from_slice(&ended.stdout).context("reading what a process there printed")
}

/// `attached` are the cgroups that the agent is attached to.
fn judge(cgroup: &Path, seen: &Sighting, attached: &[PathBuf]) -> Check {
    let place = cgroup.display();
    let tried = seen
        .outcomes
        .iter()
        .filter(|(_, o)| *o != Outcome::NoSocket);
    // EPERM where the kernel cannot say why (before Linux 6.1).
    let is_refusal =
        |outcome: &Outcome| matches!(outcome, Outcome::Failed(libc::ECONNREFUSED | libc::EPERM));
    let passed = tried.clone().find(|(_, outcome)| !is_refusal(outcome));
    let running = describe(&seen.running);
    let because = if seen.running.iter().any(|hook| !hook.has_ours()) {
        "no program of shunt is in effect there".to_owned()
    } else if let Some((to, outcome)) = passed {
        let outcome = match outcome {
            Outcome::Failed(errno) => io::Error::from_raw_os_error(*errno).to_string(),
            _ => "it succeeded".to_owned(),
        };
        format!("a connect to {to} was not refused by the programs in effect there: {outcome}")
    } else if seen.refusals < tried.count() as u64 {
        "somebody else refused a connect that the programs of the agent did not see".to_owned()
    } else {
        let detail = format!("{place}: covered: connects from it are decided by shunt ({running})");
        return Check::new(NAME, State::Ok, detail, "");
    };
    let remedy = if attached.iter().any(|path| cgroup.starts_with(path)) {
        "restart the agent, which attaches anew; where that does not help, look at who else runs there, and at cgroup v1"
    } else {
        "start the agent with a --cgroup that this one is in"
    };
    let detail = format!("{place}: not covered because {because} ({running})");
    Check::new(NAME, State::Fail, detail, remedy)
}

fn describe(running: &[Running]) -> String {
    let mut text = String::new();
    for Running { hook, programs } in running {
        let programs = match programs.as_slice() {
            [] => "nothing".to_owned(),
            programs => programs.join(", then "),
        };
        let separator = if text.is_empty() { "" } else { "; " };
        write!(text, "{separator}{hook} runs {programs}").expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(programs: &[&str], outcome: Outcome, refusals: u64) -> Sighting {
        let running = |hook| Running {
            hook,
            programs: programs.iter().map(ToString::to_string).collect(),
        };
        let to = "240.240.255.255:1".parse().expect("an address");
        Sighting {
            outcomes: vec![(to, outcome)],
            refusals,
            running: vec![running("connect4")],
        }
    }

    fn judged(seen: &Sighting) -> Check {
        judge(Path::new("/cg/a"), seen, &["/cg".into()])
    }

    #[test]
    fn a_refusal_that_was_counted_proves_coverage_whatever_its_error_number() {
        for errno in [libc::ECONNREFUSED, libc::EPERM] {
            let seen = sighting(&["other", "shunt_connect4"], Outcome::Failed(errno), 1);
            let check = judged(&seen);
            assert_eq!(check.state, State::Ok, "{check:?}");
            assert!(
                check
                    .detail
                    .contains("connect4 runs other, then shunt_connect4")
            );
        }
    }

    #[test]
    fn what_is_not_covered_says_why() {
        let refused = Outcome::Failed(libc::ECONNREFUSED);
        for (seen, why) in [
            (sighting(&["other"], refused, 1), "no program of shunt"),
            (
                sighting(&["shunt_connect4"], Outcome::Connected, 0),
                "it succeeded",
            ),
            (sighting(&["shunt_connect4"], refused, 0), "somebody else"),
        ] {
            let check = judged(&seen);
            assert_eq!(check.state, State::Fail, "{check:?}");
            assert!(check.detail.contains(why), "{check:?}");
            assert!(check.remedy.contains("restart"), "{check:?}");
        }
        let elsewhere = judge(
            Path::new("/other"),
            &sighting(&[], refused, 0),
            &["/cg".into()],
        );
        assert!(elsewhere.remedy.contains("--cgroup"), "{elsewhere:?}");
    }
}
