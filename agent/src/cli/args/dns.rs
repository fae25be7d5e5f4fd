//! `shunt dns`: what the name server is asked.

use clap::{Args, Subcommand};

use crate::nameserver::RecordKind;

use super::{ReportFormat, SocketArgs};

/// Say what clients are told of names
#[derive(Args, Debug)]
pub struct DnsCommands {
    #[command(subcommand)]
    pub command: DnsCommand,
}

#[derive(Debug, Subcommand)]
pub enum DnsCommand {
    Lookup(LookupArgs),
    Cache(NameCacheArgs),
}

/// Ask the agent's name server, as a client would
///
/// Says what is answered, for how long it holds, and where it comes from: a host of ours, the cache, or which server.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt dns lookup api.example.com
  shunt dns lookup www.example.com --type AAAA -o json")]
pub struct LookupArgs {
    pub name: String,
    /// Type of the records, such as A, AAAA, HTTPS or TXT
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "A")]
    pub kind: RecordKind,
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
    #[command(flatten)]
    pub socket: SocketArgs,
}

/// List what other servers answered that still holds
#[derive(Args, Debug)]
pub struct NameCacheArgs {
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
    #[command(flatten)]
    pub socket: SocketArgs,
}
