//! Logs: to stderr, filtered as told. Records of crates that use `log`, such as the kernel programs' traces, come in too.

use std::io;

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use super::args::LogArgs;
use super::exit::Refusal;
use super::output::Palette;

/// What the records of the kernel programs' traces are called, and their level.
const TRACES: &str = "shunt_ebpf=debug";

/// The libraries of the name server log every query, and whatever comes that is none.
const QUIET: &str = "hickory_server=error,hickory_net=error,hickory_proto=error";

/// Starts logging; `default` is the filter where none was given, and `with_traces` lets those of the kernel programs
/// through all the same. Must be called once.
pub(super) fn start(args: &LogArgs, default: &str, with_traces: bool) -> Result<()> {
    let directives = args.log_level.as_deref().unwrap_or(default);
    let mut filter = filter(directives)?;
    if !directives.contains("hickory") {
        for directive in QUIET.split(',') {
            filter = filter.add_directive(directive.parse()?);
        }
    }
    if with_traces {
        filter = filter.add_directive(TRACES.parse()?);
    }
    // With its default features this crate installs the bridge of `log` as well.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(Palette::for_stream(&io::stderr()).is_on())
        .try_init()
        .map_err(|error| anyhow::anyhow!("starting the logs: {error}"))
}

fn filter(directives: &str) -> Result<EnvFilter, Refusal> {
    EnvFilter::try_new(directives).map_err(|error| {
        Refusal::Usage(format!(
            "--log-level {directives}: {error}; write a level such as debug, or a filter such as info,agent::sources=debug"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_a_filter_by_module_are_understood() {
        assert!(filter("debug").is_ok());
        assert!(filter("info,agent::sources=debug").is_ok());
        let error = filter("info=loud=x").unwrap_err().to_string();
        assert!(error.starts_with("--log-level info=loud=x: "), "{error}");
    }
}
