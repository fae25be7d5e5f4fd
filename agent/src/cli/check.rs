//! `shunt check`: what this kernel and machine can do, with the remedies.

use std::io;

use anyhow::Result;
use clap::builder::styling::AnsiColor;
use serde::Serialize;

use crate::app::canary;
use crate::dataplane::checks::{self, Check, State};

use super::args::{CheckArgs, ReportFormat};
use super::exit::Exit;
use super::output::{self, Palette};

/// A check in its stable JSON form.
#[derive(Debug, Serialize)]
struct CheckView<'a> {
    name: &'a str,
    /// `ok`, `warning` or `failure`.
    state: &'static str,
    detail: &'a str,
    /// Empty where nothing need be done.
    remedy: &'a str,
}

impl<'a> From<&'a Check> for CheckView<'a> {
    fn from(check: &'a Check) -> Self {
        Self {
            name: check.name,
            state: match check.state {
                State::Ok => "ok",
                State::Warn => "warning",
                State::Fail => "failure",
            },
            detail: &check.detail,
            remedy: &check.remedy,
        }
    }
}

pub(super) fn check(args: &CheckArgs) -> Result<Exit> {
    let mut checks = checks::machine(&args.cgroup, &args.bpf.bpf_dir);
    let count = |checks: &[Check]| checks.iter().filter(|c| c.state == State::Fail).count();
    let missing = count(&checks);
    checks.extend(canary::checks(&args.socket.socket, &args.cgroup));
    output::print(&match args.output {
        ReportFormat::Text => render(&checks, Palette::for_stream(&io::stdout())),
        ReportFormat::Json => {
            let views: Vec<CheckView<'_>> = checks.iter().map(CheckView::from).collect();
            output::json(&views)?
        }
    })?;
    let failures = count(&checks);
    if failures > 0 {
        let verdict = if missing > 0 {
            "`shunt run` cannot work here"
        } else {
            "The agent does not decide on every connect"
        };
        let of = checks.len();
        output::remark(&format!("{verdict}: {failures} of {of} checks failed."));
        return Ok(Exit::Failure);
    }
    output::remark("`shunt run` can work here.");
    Ok(Exit::Success)
}

fn render(checks: &[Check], palette: Palette) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let lines = checks.iter().map(|check| {
        let mark = match check.state {
            State::Ok => palette.paint(AnsiColor::Green, "√"),
            State::Warn => palette.paint(AnsiColor::Yellow, "‼"),
            State::Fail => palette.paint(AnsiColor::Red, "×"),
        };
        let line = format!("{mark}  {:width$}  {}\n", check.name, check.detail);
        if check.remedy.is_empty() {
            line
        } else {
            format!("{line}   {:width$}  remedy: {}\n", "", check.remedy)
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn every_check_has_its_mark_and_what_fails_its_remedy() {
        let check = |name, state, remedy| Check {
            name,
            state,
            detail: "found".to_owned(),
            remedy: std::borrow::Cow::Borrowed(remedy),
        };
        let checks = [
            check("kernel", State::Ok, ""),
            check("cgroup v2", State::Warn, "mount it"),
            check("lockdown", State::Fail, "lift it"),
        ];
        expect![[r"
            √  kernel     found
            ‼  cgroup v2  found
                          remedy: mount it
            ×  lockdown   found
                          remedy: lift it
        "]]
        .assert_eq(&render(&checks, Palette::PLAIN));
    }
}
