//! Which servers are asked for what is not ours: those that the user named, or the one that the client asked, with the
//! system's behind it if it is one of them.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::system_conf::parse_resolv_conf;

const DNS_PORT: u16 = 53;
/// How long a server that failed is asked after the others.
const DISTRUST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Upstreams {
    named: Vec<SocketAddr>,
    resolv_conf: PathBuf,
    system: RwLock<System>,
    failed: Mutex<HashMap<SocketAddr, Instant>>,
}

/// What the system's configuration says.
#[derive(Debug, Default)]
struct System {
    servers: Vec<SocketAddr>,
    search: Arc<[Arc<str>]>,
    modified: Option<SystemTime>,
}

impl Upstreams {
    pub(super) fn new(named: Vec<SocketAddr>, resolv_conf: PathBuf) -> Self {
        let upstreams = Self {
            named,
            resolv_conf,
            system: RwLock::default(),
            failed: Mutex::default(),
        };
        upstreams.follow();
        upstreams
    }

    /// Reads the system's configuration again if it has changed.
    pub(super) fn follow(&self) {
        let modified = fs::metadata(&self.resolv_conf).and_then(|data| data.modified());
        let modified = modified.ok();
        let known = self.system.read().map(|system| system.modified);
        if known.is_ok_and(|known| known == modified && known.is_some()) {
            return;
        }
        let read = fs::read(&self.resolv_conf).map_err(|error| error.to_string());
        match read.and_then(|text| parse_resolv_conf(text).map_err(|error| error.to_string())) {
            Ok((config, _)) => {
                let servers = config.name_servers().iter();
                let search = config.search().iter();
                let system = System {
                    servers: servers.map(|s| SocketAddr::new(s.ip, DNS_PORT)).collect(),
                    search: search.map(super::question::normal).collect(),
                    modified,
                };
                *self.system.write().unwrap_or_else(PoisonError::into_inner) = system;
            }
            // What it said before stays in force.
            Err(error) => {
                tracing::debug!(file = %self.resolv_conf.display(), %error, "no configuration of the system's resolver");
            }
        }
    }

    /// The servers of the system's configuration.
    pub(super) fn system(&self) -> Vec<SocketAddr> {
        let system = self.system.read().unwrap_or_else(PoisonError::into_inner);
        system.servers.clone()
    }

    pub(super) fn search(&self) -> Arc<[Arc<str>]> {
        let system = self.system.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&system.search)
    }

    /// The servers that may answer a client that asked `asked`, in the order of their names: what tells caches apart.
    pub(super) fn of(&self, asked: Option<SocketAddr>) -> Arc<[SocketAddr]> {
        if !self.named.is_empty() {
            return self.named.clone().into();
        }
        let system = self.system();
        match asked {
            Some(asked) if !system.contains(&asked) => [asked].into(),
            Some(asked) => {
                let others = system.into_iter().filter(|server| *server != asked);
                [asked].into_iter().chain(others).collect()
            }
            None => system.into(),
        }
    }

    /// The same servers, those that failed lately at the end.
    pub(super) fn by_trust(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut servers = servers.to_vec();
        servers.sort_by_key(|server| {
            failed
                .get(server)
                .is_some_and(|when| when.elapsed() < DISTRUST)
        });
        servers
    }

    pub(super) fn failed(&self, server: SocketAddr) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, when| when.elapsed() < DISTRUST);
        failed.insert(server, Instant::now());
    }

    pub(super) fn answered(&self, server: SocketAddr) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.remove(&server);
    }
}
