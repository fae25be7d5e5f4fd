//! What is wrong with flags that each by itself can be read. Every message names the flag and ends with the remedy.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::api::Diagnostic;
use crate::dataplane::mounts::NoCgroup2;

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("--config-dir {}: this is not a directory; name the one that the file is in", path.display())]
    NotADirectory { path: PathBuf },
    #[error("--cgroup: {}; {}, or name a directory of it", .0, .0.remedy())]
    NoCgroup(NoCgroup2),
    #[error("--cgroup {}: no such directory; make it with mkdir, or name another", path.display())]
    MissingCgroup { path: PathBuf },
    #[error("--max-flows {given}: this is not a power of two; {next} is the next")]
    Flows { given: u32, next: u32 },
    #[error(
        "--vip-range-{family} {range}: {fault}; use a range that nothing else routes, such as the default"
    )]
    VipRange {
        family: &'static str,
        range: IpNet,
        fault: &'static str,
    },
    #[error("--dns-listen {second}: there is one listener for each family; leave one of them out")]
    SecondListener { second: SocketAddr },
    #[error("--dns-listen {at}: clients are sent to one address; name one of this machine")]
    ListenerEverywhere { at: SocketAddr },
    #[error(
        "--dns-upstream {at}: the name server itself listens there; name the server that it is to ask"
    )]
    UpstreamIsOurs { at: SocketAddr },
    #[error("--mesh-config {}: {error}", path.display())]
    MeshConfigUnreadable { path: PathBuf, error: io::Error },
    #[error("--mesh-config {}: it does not parse, or says what Istio refuses; correct what stands above", path.display())]
    MeshConfigBroken {
        path: PathBuf,
        findings: Vec<Diagnostic>,
    },
}

impl SettingsError {
    /// What stands in the file, where a file is at fault.
    pub fn findings(&self) -> &[Diagnostic] {
        match self {
            Self::MeshConfigBroken { findings, .. } => findings,
            _ => &[],
        }
    }
}
