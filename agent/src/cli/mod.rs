//! The command line. It only parses, asks and prints; `resolve` says what is meant, `app` and `observe` do it.

pub mod args;

mod analyze;
mod check;
mod cleanup;
mod client;
mod compile;
mod dns;
mod exit;
mod explain;
mod findings;
mod get;
mod logging;
mod offline;
mod output;
mod privilege;
mod resolve;
mod run;
mod status;
mod verify;
mod version;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use self::resolve::SettingsError;
use crate::app;

use self::args::{Cli, Command};
use self::exit::Exit;

/// Carries out the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return show(&message).into(),
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            let settings = failure
                .chain()
                .find_map(|cause| cause.downcast_ref::<SettingsError>());
            run::remark_findings(settings.map_or(&[], SettingsError::findings));
            output::remark(&format!("shunt: {failure:#}"));
            Exit::of_failure(&failure).into()
        }
    }
}

/// Help and version go to stdout and are no failure; clap's own status for the rest is 2, which says nothing.
fn show(message: &clap::Error) -> Exit {
    // A closed stream is the only cause, and then nobody reads.
    let _ = message.print();
    if message.use_stderr() {
        Exit::Usage
    } else {
        Exit::Success
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    let exit = match command {
        Command::Run(args) => return run::run(args),
        Command::Exec(args) => return run::exec(args),
        Command::Demo(args) => return run::demo(&args),
        Command::EnterCgroup(args) => return app::exec::enter(&args.cgroup, &args.command),
        Command::Canary(args) => {
            output::print(&app::canary::run(&args.destinations)?)?;
            Exit::Success
        }
        Command::DemoClient => {
            app::demo::client::run()?;
            Exit::Success
        }
        Command::Analyze(args) => analyze::analyze(&args)?,
        Command::Compile(args) => compile::compile(&args)?,
        Command::Get(args) => get::get(&args)?,
        Command::Status(args) => status::status(&args)?,
        Command::Verify(args) => verify::verify(&args)?,
        Command::Dns(args) => dns::dns(&args.command)?,
        Command::Explain(args) => explain::explain(&args)?,
        Command::Check(args) => check::check(&args)?,
        Command::Cleanup(args) => cleanup::cleanup(&args)?,
        Command::Completion(args) => version::completion(args.shell)?,
        Command::Version(args) => version::version(args.output)?,
    };
    Ok(exit.into())
}
