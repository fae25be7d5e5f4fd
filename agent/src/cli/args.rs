//! What may be typed: every command and flag, with its help. Nothing here acts, and nothing here asks the machine.
#![expect(
    clippy::doc_markdown,
    reason = "the comments on commands and flags are help, which is shown as it stands"
)]

mod agent;
mod assumed;
mod dns;
mod get;
mod parse;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;

use crate::api::Locality;
use crate::observe::Target;

pub use agent::{AgentArgs, Closing, DnsArgs, Exit, LimitArgs};
pub use assumed::AssumedArgs;
pub use dns::{DnsCommand, DnsCommands, LookupArgs, NameCacheArgs};
pub use get::{GetArgs, ListFormat, Listing};
pub use parse::{HostAnswer, HostHealth};

/// Where the agent answers unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/shunt/shunt.sock";
/// Where attachments are pinned unless told otherwise.
pub const DEFAULT_BPF_DIR: &str = "/sys/fs/bpf/shunt";

const EXIT_STATUS: &str = "\
Exit status:
   0  success
   1  failure
  64  usage: a flag or argument is wrong
  65  a file does not parse
  69  no agent answers on the socket
  77  no permission
  79  findings of severity error";

/// Istio's ServiceEntry on a Linux node without a sidecar.
///
/// Kernel programs rewrite outbound connects to the endpoints of ServiceEntry objects, by weight and locality; no proxy
/// is in the way.
#[derive(Debug, Parser)]
#[command(name = "shunt", version, after_help = EXIT_STATUS, propagate_version = false)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(RunArgs),
    Exec(ExecArgs),
    Analyze(AnalyzeArgs),
    Compile(CompileArgs),
    Get(GetArgs),
    Status(StatusArgs),
    Verify(VerifyArgs),
    Explain(ExplainArgs),
    Dns(DnsCommands),
    Check(CheckArgs),
    Cleanup(CleanupArgs),
    Demo(DemoArgs),
    Completion(CompletionArgs),
    Version(VersionArgs),
    #[command(hide = true)]
    EnterCgroup(EnterCgroupArgs),
    #[command(hide = true)]
    Canary(CanaryArgs),
    #[command(hide = true)]
    DemoClient,
}

/// Run the agent until SIGTERM or SIGINT (as root)
///
/// Reads the objects in the directories, keeps the kernel's maps equal to what they say, and follows every change of a
/// file or a DNS answer. Logs go to stderr. systemd is told when the programs are attached.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt run --config-dir /etc/shunt
  shunt run --config-dir /etc/shunt --locality eu-west-1/eu-west-1a --resolver 10.0.0.2
  SHUNT_CONFIG_DIR=/etc/shunt,/run/shunt.d shunt run")]
pub struct RunArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// Run one command under these rules and no others (as root)
///
/// The command starts in a cgroup of its own, which alone the rules apply to, and which is removed afterwards. Returns the
/// command's exit status, 128 + N where signal N ended it. Nothing is pinned, kept or listened on, so that --cgroup,
/// --state-dir, --bpf-dir, --socket, --enter-namespaces and --on-exit have no effect. The limits start smaller than those of `run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt exec --config-dir ./rules -- curl -s http://api.example.com/
  shunt exec --config-dir ./rules --locality eu-west-1 --log-level debug -- bash")]
pub struct ExecArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
    #[command(flatten)]
    pub log: LogArgs,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct LogArgs {
    /// What is logged to stderr: a level, or targets with levels [default: info for run, warn for exec]
    ///
    /// A level is error, warn, info, debug or trace. A filter such as `info,agent::sources=debug` sets it by module.
    #[arg(long, env = "SHUNT_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<String>,
}

/// Check files and say what is wrong, and what is not carried out (no root, no agent)
///
/// Directories stand for the .yaml, .yml and .json files directly in them; `-` is the standard input. All files are judged
/// together, as the agent would.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt analyze /etc/shunt
  shunt analyze rules.yaml -o json | jq '.[] | select(.severity == \"error\")'
  kubectl get serviceentries -A -o yaml | shunt analyze -

Exits with 79 when there are findings of severity error, with 65 when a file does not parse.")]
pub struct AnalyzeArgs {
    #[command(flatten)]
    pub offline: OfflineArgs,
    /// Format of the findings on stdout
    #[arg(short, long, value_enum, default_value_t = AnalyzeFormat::Log)]
    pub output: AnalyzeFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AnalyzeFormat {
    /// One line a finding, as `istioctl analyze` writes them, and a hint
    Log,
    /// An array of {code, severity, message, hint, kind, namespace, name, field, file, line}
    Json,
}

/// Show what the kernel would hold for these files (no root, no agent)
///
/// Services with their frontends, endpoints and shares of new connections. Names are not looked up: give the answers by
/// --resolve. Findings go to stderr, and into the JSON.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt compile /etc/shunt --locality eu-west-1/eu-west-1a
  shunt compile rules.yaml --resolve api.example.com=192.0.2.1,192.0.2.2 -o json

Exits as `analyze` does, and prints in every case.")]
pub struct CompileArgs {
    #[command(flatten)]
    pub offline: OfflineArgs,
    #[command(flatten)]
    pub assumed: AssumedArgs,
    #[arg(short, long, value_enum, default_value_t = CompileFormat::Text)]
    pub output: CompileFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompileFormat {
    /// A table for each service
    Text,
    /// {"services": […], "diagnostics": […]}
    Json,
}

/// The files to judge, and the node to judge them for.
#[derive(Args, Debug)]
pub struct OfflineArgs {
    /// Files or directories of YAML or JSON; `-` is the standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// What is particular to a node and its mesh.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeArgs {
    /// Istio's MeshConfig, as YAML [default: Istio's defaults]
    #[arg(long, env = "SHUNT_MESH_CONFIG", value_name = "FILE")]
    pub mesh_config: Option<PathBuf>,
    /// The node's locality, which endpoints are preferred by [default: unknown, so that none is preferred]
    #[arg(long, env = "SHUNT_LOCALITY", value_name = "REGION[/ZONE[/SUBZONE]]", value_parser = parse::locality)]
    pub locality: Option<Locality>,
    /// The node's network; endpoints of another with gateways in the mesh config are out of reach [default: none]
    #[arg(long, env = "SHUNT_NETWORK", value_name = "NAME")]
    pub network: Option<String>,
    /// Addresses that may be reached also where outboundTrafficPolicy is REGISTRY_ONLY, beside loopback, link-local addresses,
    /// the node's own and its name servers; repeatable
    #[arg(
        long,
        env = "SHUNT_INTERNAL_CIDR",
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = parse::cidr
    )]
    pub internal_cidr: Vec<IpNet>,
    /// Whether what policies deny is denied, or let through and told of, to see what would be denied
    #[arg(
        long,
        env = "SHUNT_POLICY_MODE",
        value_name = "MODE",
        value_enum,
        default_value_t = PolicyMode::Enforce
    )]
    pub policy_mode: PolicyMode,
}

/// Of `--policy-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PolicyMode {
    #[default]
    Enforce,
    Audit,
}

/// Say how the agent is
///
/// Exits with 1 where the programs are not attached, with 69 where no agent answers; then it says whether programs of one that
/// has ended are still attached.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt status
  shunt status --wait=30 && systemctl start app")]
pub struct StatusArgs {
    /// Wait until the agent is ready, at most this many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60",
        value_parser = parse::seconds
    )]
    pub wait: Option<Duration>,
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
    #[command(flatten)]
    pub socket: SocketArgs,
    #[command(flatten)]
    pub bpf: BpfDirArgs,
}

/// Have the agent compare the kernel's maps and programs with what they should be, and repair what differs (as root)
///
/// The agent does so by itself every minute, and looks at its programs every two seconds. Needs root or the agent's user. Exits
/// with 1 where something differed, whether or not it is repaired, with 69 where no agent answers.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt verify
  shunt verify -o json | jq '.found[]'")]
pub struct VerifyArgs {
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
    #[command(flatten)]
    pub socket: SocketArgs,
}

/// Say step by step what happens to a connect, and which object and line decides
///
/// Asks the running agent, or with --config-dir judges files offline.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  shunt explain api.example.com:443
  shunt explain 240.240.0.17:80 --count 1000
  shunt explain api.example.com:443 --from shop/checkout
  shunt explain api.example.com --config-dir ./rules --resolve api.example.com=192.0.2.1")]
pub struct ExplainArgs {
    /// What a client connects to: HOST, HOST:PORT or ADDR:PORT (IPv6 in brackets)
    #[arg(value_name = "HOST[:PORT]|ADDR:PORT")]
    pub target: Target,
    /// Who connects: NAMESPACE/NAME of a LocalWorkload, the path of a cgroup, or the number of a process [default: a client
    /// that no LocalWorkload claims]
    #[arg(long, value_name = "WORKLOAD|CGROUP|PID")]
    pub from: Option<String>,
    /// Ask for a UDP client [default: TCP for an address, what the ports are for a host]
    #[arg(long)]
    pub udp: bool,
    /// Draw this many connects and show how they spread
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = parse::draws())]
    pub count: u32,
    /// Judge these files or directories instead of asking the agent; repeatable
    #[arg(long, value_name = "DIR")]
    pub config_dir: Vec<PathBuf>,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub assumed: AssumedArgs,
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
    #[command(flatten)]
    pub socket: SocketArgs,
}

/// Say what this kernel and this machine can do, and the remedy for what they cannot
///
/// Where an agent runs, it also proves that connects are decided by it: a process in a temporary cgroup below each cgroup
/// connects a UDP socket, which sends nothing, to an automatic address with a port that nothing declares. Changes nothing
/// else, and leaves nothing. Exits with 1 where something that `run` needs is missing, or a cgroup is not covered.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// A cgroup that `run` would be given; repeatable [default: where cgroup v2 is mounted; for the proof, where the agent is attached]
    #[arg(long, env = "SHUNT_CGROUP", value_name = "DIR", value_delimiter = ',')]
    pub cgroup: Vec<PathBuf>,
    #[command(flatten)]
    pub bpf: BpfDirArgs,
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
    #[command(flatten)]
    pub socket: SocketArgs,
}

/// Detach and remove what an agent left behind that was killed, or kept its programs (as root)
///
/// Removes the pinned attachments and maps and the empty cgroups of shunt, and prints each. Refuses while an agent runs, unless
/// it is to stop that one first.
#[derive(Args, Debug)]
pub struct CleanupArgs {
    /// Stop the agent that runs, by SIGTERM, and wait until it has ended; stop its service first where something starts it again
    #[arg(long)]
    pub stop: bool,
    #[command(flatten)]
    pub bpf: BpfDirArgs,
}

/// Show it at work, on loopback, in a network namespace of its own (as root, about 30 seconds)
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Run on after the last step, until interrupted
    #[arg(long)]
    pub keep: bool,
}

/// Print the completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  source <(shunt completion bash)
  shunt completion fish > ~/.config/fish/completions/shunt.fish")]
pub struct CompletionArgs {
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Print the version
#[derive(Args, Debug)]
pub struct VersionArgs {
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// How the agent is reached.
#[derive(Args, Debug)]
pub struct SocketArgs {
    /// The agent's control socket
    #[arg(long, env = "SHUNT_SOCKET", value_name = "SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

#[derive(Args, Debug)]
pub struct BpfDirArgs {
    /// Where the attachments are pinned, on a BPF file system
    #[arg(long, env = "SHUNT_BPF_DIR", value_name = "DIR", default_value = DEFAULT_BPF_DIR)]
    pub bpf_dir: PathBuf,
}

/// What a child starts as: enters the cgroup, then becomes the command.
#[derive(Args, Debug)]
pub struct EnterCgroupArgs {
    pub cgroup: PathBuf,
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// What a child starts as that shows where connects are decided: says how each of its own went.
#[derive(Args, Debug)]
pub struct CanaryArgs {
    pub destinations: Vec<SocketAddr>,
}

#[cfg(test)]
mod tests;
