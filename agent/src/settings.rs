//! What an agent goes by: what flags and environment have come to.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::api::MeshConfig;
use crate::dataplane::Limits;
use crate::model::{Node, VipRanges};

/// Everything that `run` and `exec` go by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config_dirs: Vec<PathBuf>,
    pub mesh: MeshConfig,
    pub cgroups: Vec<PathBuf>,
    pub node: Node,
    /// Empty: those of the system.
    pub resolvers: Vec<SocketAddr>,
    pub state_dir: PathBuf,
    pub bpf_dir: PathBuf,
    pub socket: PathBuf,
    pub vip_ranges: VipRanges,
    pub name_server: NameServerSettings,
    pub limits: Limits,
    /// Load the object with traces and show them (`--bpf-log`).
    pub bpf_log: bool,
    /// Follow the states of TCP connections (`--sock-ops`).
    pub sock_ops: bool,
    pub close_removed: CloseRemoved,
    /// Keep the rights to close sockets in other network namespaces (`--enter-namespaces`).
    pub enter_namespaces: bool,
    pub on_exit: OnExit,
}

/// What becomes of the programs when the agent ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// They go on with what is in force, and the next agent goes on from there.
    Keep,
    #[default]
    Detach,
}

/// Which sockets are closed when the endpoint that they are connected to is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseRemoved {
    /// Connected UDP sockets, which nothing else would ever tell.
    #[default]
    Udp,
    All,
    None,
}

/// How names are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServerSettings {
    /// Send what clients ask other servers to ours.
    pub capture: bool,
    /// At most one of each family. Empty: loopback.
    pub listen: Vec<SocketAddr>,
    /// Empty: the server that the client asked.
    pub upstreams: Vec<SocketAddr>,
}

impl Default for NameServerSettings {
    fn default() -> Self {
        Self {
            capture: true,
            listen: Vec::new(),
            upstreams: Vec::new(),
        }
    }
}
