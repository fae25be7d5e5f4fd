//! The flags of `run` and `exec`. Each is an environment variable as well; lists are comma-separated there.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use ipnet::{Ipv4Net, Ipv6Net};

use super::{BpfDirArgs, NodeArgs, SocketArgs, Switch, parse};

#[derive(Args, Debug)]
pub struct AgentArgs {
    /// Directory of YAML or JSON objects, followed as it changes; repeatable
    #[arg(
        long,
        env = "SHUNT_CONFIG_DIR",
        value_name = "DIR",
        required = true,
        value_delimiter = ','
    )]
    pub config_dir: Vec<PathBuf>,
    #[command(flatten)]
    pub node: NodeArgs,
    /// Cgroup v2 directory whose processes the rules apply to; repeatable [default: where cgroup v2 is mounted: all]
    #[arg(long, env = "SHUNT_CGROUP", value_name = "DIR", value_delimiter = ',')]
    pub cgroup: Vec<PathBuf>,
    /// DNS server to ask, port 53 unless given; repeatable [default: those of the system]
    #[arg(
        long,
        env = "SHUNT_RESOLVER",
        value_name = "IP[:PORT]",
        value_delimiter = ',',
        value_parser = parse::resolver
    )]
    pub resolver: Vec<SocketAddr>,
    /// Where automatic addresses, what files held when they were good, what clients were told of names, and who is ejected, are
    /// kept from one run to the next
    #[arg(
        long,
        env = "SHUNT_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/shunt"
    )]
    pub state_dir: PathBuf,
    #[command(flatten)]
    pub bpf: BpfDirArgs,
    #[command(flatten)]
    pub socket: SocketArgs,
    /// Where automatic IPv4 addresses are taken from [default: 240.240.0.0/16, as Istio]
    #[arg(long, env = "SHUNT_VIP_RANGE_V4", value_name = "CIDR")]
    pub vip_range_v4: Option<Ipv4Net>,
    /// Where automatic IPv6 addresses are taken from [default: 2001:2::/48, as Istio]
    #[arg(long, env = "SHUNT_VIP_RANGE_V6", value_name = "CIDR")]
    pub vip_range_v6: Option<Ipv6Net>,
    #[command(flatten)]
    pub dns: DnsArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Which sockets are closed when the endpoint that they are connected to is removed, so that clients connect anew: those of
    /// UDP, which would never notice, TCP connections too, or none (needs a kernel with CONFIG_INET_DIAG_DESTROY)
    #[arg(
        long,
        env = "SHUNT_CLOSE_REMOVED",
        value_name = "SOCKETS",
        value_enum,
        default_value_t = Closing::Udp
    )]
    pub close_removed: Closing,
    /// Close sockets in other network namespaces too, such as those of containers: keeps CAP_SYS_ADMIN and CAP_SYS_PTRACE, which
    /// are given up otherwise
    #[arg(long, env = "SHUNT_ENTER_NAMESPACES", value_parser = FalseyValueParser::new())]
    pub enter_namespaces: bool,
    /// What becomes of the kernel programs when the agent ends: they decide on as they do then, until another goes on from there
    /// or `shunt cleanup` ends them, or they are detached. When it is killed they are kept in any case [default: keep under
    /// systemd and in Kubernetes, or else detach]
    #[arg(long, env = "SHUNT_ON_EXIT", value_name = "WAY", value_enum)]
    pub on_exit: Option<Exit>,
    /// Count a TCP connection as open until it ends, rather than until its socket is closed: attaches a sock_ops program, for
    /// which every TCP socket in the cgroups pays (needs Linux 5.12)
    #[arg(long, env = "SHUNT_SOCK_OPS", value_parser = FalseyValueParser::new())]
    pub sock_ops: bool,
    /// Load the kernel programs with traces, and log every decision on a connect (slow; to debug the kernel side)
    #[arg(long, env = "SHUNT_BPF_LOG", value_parser = FalseyValueParser::new())]
    pub bpf_log: bool,
}

/// Of `--close-removed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Closing {
    Udp,
    All,
    None,
}

/// Of `--on-exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Exit {
    Keep,
    Detach,
}

/// The name server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Names")]
pub struct DnsArgs {
    /// Whether clients reach the name server whatever server they ask: connects and datagrams to port 53 are sent to it while
    /// it is alive, and nothing is to be configured in any program
    #[arg(
        long,
        env = "SHUNT_DNS_CAPTURE",
        value_name = "SWITCH",
        value_enum,
        default_value_t = Switch::On
    )]
    pub dns_capture: Switch,
    /// Where the name server listens, UDP and TCP; repeatable, one of each family. Other than loopback it serves, and is
    /// captured for, other network namespaces too [default: port 15053 of 127.0.0.1 and ::1; a free port for exec]
    #[arg(
        long,
        env = "SHUNT_DNS_LISTEN",
        value_name = "IP[:PORT]",
        value_delimiter = ',',
        value_parser = parse::listener
    )]
    pub dns_listen: Vec<SocketAddr>,
    /// DNS server that names of others are asked at, port 53 unless given; repeatable [default: the one that the client asked]
    #[arg(
        long,
        env = "SHUNT_DNS_UPSTREAM",
        value_name = "IP[:PORT]",
        value_delimiter = ',',
        value_parser = parse::resolver
    )]
    pub dns_upstream: Vec<SocketAddr>,
}

/// Capacities of the kernel's maps.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Destinations: addresses with ports [default: 262144 for run, 16384 for exec]
    #[arg(long, env = "SHUNT_MAX_FRONTENDS", value_name = "N", value_parser = parse::limit())]
    pub max_frontends: Option<u32>,
    /// CIDR addresses [default: 16384 for run, 1024 for exec]
    #[arg(long, env = "SHUNT_MAX_PREFIXES", value_name = "N", value_parser = parse::limit())]
    pub max_prefixes: Option<u32>,
    /// Cells for services and their endpoints: one each, and room for changes [default: 524288 for run, 32768 for exec]
    #[arg(long, env = "SHUNT_MAX_CELLS", value_name = "N", value_parser = parse::limit())]
    pub max_cells: Option<u32>,
    /// Services with counters: hosts with ports [default: 131072 for run, 4096 for exec]
    #[arg(long, env = "SHUNT_MAX_SERVICES", value_name = "N", value_parser = parse::limit())]
    pub max_services: Option<u32>,
    /// Endpoints with counters [default: 262144 for run, 16384 for exec]
    #[arg(long, env = "SHUNT_MAX_ENDPOINTS", value_name = "N", value_parser = parse::limit())]
    pub max_endpoints: Option<u32>,
    /// Redirected sockets that are remembered at once; a power of two from 1024 on [default: 65536 for run, 4096 for exec].
    /// While sockets are open that agents with two other numbers have redirected, a third waits
    #[arg(long, env = "SHUNT_MAX_FLOWS", value_name = "N", value_parser = parse::flows())]
    pub max_flows: Option<u32>,
    /// Further destinations of unconnected UDP sockets that talk to many, two for each [default: 16384 for run, 1024 for exec]
    #[arg(long, env = "SHUNT_MAX_REPLIES", value_name = "N", value_parser = parse::limit())]
    pub max_replies: Option<u32>,
}
