//! What may be typed after `shunt get`.

use clap::{Args, ValueEnum};

use super::SocketArgs;

/// List what the agent holds
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt get services
  shunt get ep -n payments -o wide
  shunt get objects -o json | jq '.[].name'")]
pub struct GetArgs {
    #[arg(value_enum)]
    pub what: Listing,
    #[arg(short, long, value_enum)]
    pub output: Option<ListFormat>,
    /// Only this namespace [default: all]
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Leave the header of the table out
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub socket: SocketArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// Hosts and ports with their addresses and connects
    #[value(aliases = ["service", "svc"])]
    Services,
    /// Where connects go, with share, health and count
    #[value(aliases = ["endpoint", "ep"])]
    Endpoints,
    /// Who clients are: workloads with their cgroups, and what they may reach
    #[value(aliases = ["workload", "wl"])]
    Workloads,
    /// Connects that policies denied, or would have (--policy-mode=audit), the last first
    #[value(aliases = ["denial"])]
    Denials,
    /// Authorization policies, with how often each has decided
    #[value(aliases = ["policy", "pol"])]
    Policies,
    #[value(name = "sidecar", aliases = ["sidecars", "sc"])]
    Sidecars,
    /// Objects of every kind, with what became of them
    #[value(aliases = ["object", "obj"])]
    Objects,
    #[value(name = "serviceentries", aliases = ["serviceentry", "se"])]
    ServiceEntries,
    #[value(name = "workloadentries", aliases = ["workloadentry", "we"])]
    WorkloadEntries,
    #[value(name = "destinationrules", aliases = ["destinationrule", "dr"])]
    DestinationRules,
    #[value(name = "virtualservices", aliases = ["virtualservice", "vs"])]
    VirtualServices,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A table with every column
    Wide,
    Json,
    Yaml,
}
