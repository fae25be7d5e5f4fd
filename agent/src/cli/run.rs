//! `shunt run`, `shunt exec` and `shunt demo`: the commands that load programs into the kernel.

use std::io;
use std::process::ExitCode;

use anyhow::Result;

use crate::api::{Diagnostic, Severity};
use crate::app;
use crate::app::demo::DemoOptions;
use crate::dataplane::Limits;
use crate::settings::Settings;

use super::args::{AgentArgs, DemoArgs, ExecArgs, LogArgs, RunArgs};
use super::findings;
use super::output::{self, Palette};
use super::{logging, privilege};

pub(super) fn run(args: RunArgs) -> Result<ExitCode> {
    logging::start(&args.log, "info", args.agent.bpf_log)?;
    let settings = resolve(args.agent, Limits::default())?;
    privilege::require("run")?;
    app::run(settings)
}

pub(super) fn exec(args: ExecArgs) -> Result<ExitCode> {
    logging::start(&args.log, "warn", args.agent.bpf_log)?;
    let settings = resolve(args.agent, Limits::small())?;
    privilege::require("exec")?;
    app::exec::exec(settings, &args.command)
}

pub(super) fn demo(args: &DemoArgs) -> Result<ExitCode> {
    logging::start(&LogArgs { log_level: None }, "warn", false)?;
    privilege::require("demo")?;
    app::demo::demo(DemoOptions { keep: args.keep })
}

fn resolve(args: AgentArgs, limits: Limits) -> Result<Settings> {
    let (settings, findings) = Settings::resolve(args, limits)?;
    log_findings(&findings);
    Ok(settings)
}

/// The mesh config is read once: what is wrong with it is said once.
fn log_findings(found: &[Diagnostic]) {
    for finding in found {
        let text = findings::render(std::slice::from_ref(finding), Palette::PLAIN);
        match finding.severity {
            Severity::Error => tracing::error!("{}", text.trim_end()),
            Severity::Warning => tracing::warn!("{}", text.trim_end()),
            Severity::Info => tracing::info!("{}", text.trim_end()),
        }
    }
}

/// What stands in a file that a failed command names, for `shunt: error` to point at.
pub(super) fn remark_findings(found: &[Diagnostic]) {
    if !found.is_empty() {
        let text = findings::render(found, Palette::for_stream(&io::stderr()));
        output::remark(text.trim_end());
    }
}
