//! Whom to ask, and what one question comes to.
//!
//! Names are asked for as they are: no search domains. Nothing is cached here, or the schedule would be told stale times
//! to live. Truncated answers are fetched again over TCP.

use std::io::BufReader;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, Resolver, TokioResolver};
use tokio::time::timeout;

use crate::sources::file::Stamp;

use super::name::{Family, Outcome};
use super::schedule::Question;

/// How long one question may take, over all servers and attempts.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// How long one server has for one attempt, where `resolv.conf` does not say.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// These servers, and nothing of what the system is configured to do.
    Servers(Vec<SocketAddr>),
    /// The system's servers and its own table of hosts; both files are read again when they change.
    System {
        resolv_conf: PathBuf,
        hosts: PathBuf,
    },
}

impl Upstream {
    /// The servers given, or the system's when there is none.
    pub fn new(servers: &[SocketAddr]) -> Self {
        if servers.is_empty() {
            Self::System {
                resolv_conf: "/etc/resolv.conf".into(),
                hosts: "/etc/hosts".into(),
            }
        } else {
            Self::Servers(servers.to_vec())
        }
    }

    /// Changes when what [`Self::connect`] reads does.
    pub(super) fn stamp(&self) -> [Option<Stamp>; 2] {
        let stamp = |path: &Path| std::fs::metadata(path).ok().as_ref().map(Stamp::of);
        match self {
            Self::Servers(_) => [None, None],
            Self::System { resolv_conf, hosts } => [stamp(resolv_conf), stamp(hosts)],
        }
    }

    /// A client of the servers; `max_active` is how many questions it will be asked at once.
    pub(super) fn connect(&self, max_active: usize) -> Client {
        Client(self.resolver(max_active).map_err(Arc::from))
    }

    fn resolver(&self, max_active: usize) -> Result<TokioResolver, String> {
        let (config, mut options) = match self {
            Self::Servers(servers) => (configuration(servers), ResolverOpts::default()),
            Self::System { resolv_conf, .. } => {
                let at =
                    |error: &dyn std::fmt::Display| format!("{}: {error}", resolv_conf.display());
                let text = std::fs::read(resolv_conf).map_err(|error| at(&error))?;
                parse_resolv_conf(text).map_err(|error| at(&error))?
            }
        };
        if matches!(self, Self::Servers(_)) {
            options.timeout = ATTEMPT_LIMIT;
        }
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        // Of several servers the one that has done best is asked, and another only when it fails.
        options.num_concurrent_reqs = 1;
        options.max_active_requests = max_active;
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let mut resolver = builder.build().map_err(|error| error.to_string())?;
        if let Self::System { hosts, .. } = self {
            resolver.set_hosts(Arc::new(read_hosts(hosts)));
        }
        Ok(resolver)
    }
}

fn configuration(servers: &[SocketAddr]) -> ResolverConfig {
    let name_servers = servers
        .iter()
        .map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
                .into_iter()
                .map(|mut connection| {
                    connection.port = server.port();
                    connection
                })
                .collect();
            NameServerConfig::new(server.ip(), true, connections)
        })
        .collect();
    ResolverConfig::from_parts(None, Vec::new(), name_servers)
}

/// A system without the file has no such table.
fn read_hosts(path: &Path) -> Hosts {
    let mut hosts = Hosts::default();
    if let Ok(file) = std::fs::File::open(path)
        && let Err(error) = hosts.read_hosts_conf(BufReader::new(file))
    {
        tracing::warn!(path = %path.display(), %error, "cannot read the table of hosts");
    }
    hosts
}

/// Asks questions, or says why it cannot.
#[derive(Clone)]
pub(super) struct Client(Result<TokioResolver, Arc<str>>);

impl Client {
    pub(super) async fn ask(&self, question: &Question) -> Outcome {
        let resolver = match &self.0 {
            Ok(resolver) => resolver,
            Err(reason) => return Outcome::Failed(reason.to_string()),
        };
        let mut name = match Name::from_utf8(&*question.host) {
            Ok(name) => name,
            Err(error) => return negative(format!("not a DNS name: {error}"), None),
        };
        name.set_fqdn(true);
        let record_type = match question.family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        match timeout(LOOKUP_LIMIT, resolver.lookup(name, record_type)).await {
            Ok(Ok(lookup)) => positive(&lookup, record_type),
            Ok(Err(error)) => unsuccessful(error),
            Err(_) => Outcome::Failed(format!("no answer within {} s", LOOKUP_LIMIT.as_secs())),
        }
    }
}

/// Good for as long as the shortest-lived record on the way, aliases included.
fn positive(lookup: &Lookup, record_type: RecordType) -> Outcome {
    let records = lookup.answers();
    let addresses: Vec<_> = records
        .iter()
        .filter(|record| record.record_type() == record_type)
        .filter_map(|record| record.data.ip_addr())
        .collect();
    let ttl = records
        .iter()
        .map(|record| Duration::from_secs(u64::from(record.ttl)))
        .min();
    match ttl {
        Some(ttl) if !addresses.is_empty() => Outcome::Addresses { addresses, ttl },
        ttl => negative(NO_RECORD.to_owned(), ttl),
    }
}

const NO_RECORD: &str = "the name has no such record";

fn unsuccessful(error: NetError) -> Outcome {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none
                .negative_ttl
                .map(|ttl| Duration::from_secs(u64::from(ttl)));
            match none.response_code {
                ResponseCode::NXDomain => negative("no such name".to_owned(), ttl),
                ResponseCode::NoError => negative(NO_RECORD.to_owned(), ttl),
                code => Outcome::Failed(format!("the server answered: {code}")),
            }
        }
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Outcome::Failed(format!("the server answered: {code}"))
        }
        error => Outcome::Failed(error.to_string()),
    }
}

fn negative(reason: String, ttl: Option<Duration>) -> Outcome {
    Outcome::Negative { reason, ttl }
}
