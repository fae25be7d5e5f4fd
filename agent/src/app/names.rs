//! The name server of an agent: where it listens, what it reads and tells, and how clients come to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use agent_common::abi::DEFAULT_SCOPE;
use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};

use crate::dataplane::{Dataplane, LISTENERS, Listeners};
use crate::nameserver::{Asked, Ended, Lesson, NameServer, Setup, Sockets};
use crate::observe::State;
use crate::settings::NameServerSettings;

use super::agent::Role;
use super::control::lock;
use super::ports::bind;
use super::supervisor::Pulse;

/// As of Istio's agent.
const PORT: u16 = 15053;
/// How many ports are tried for one that is free at both addresses.
const PORT_ATTEMPTS: usize = 32;
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Starts the name server. Clients come to it once the programs are attached, if capture is on.
pub(super) fn start(
    settings: &NameServerSettings,
    role: Role,
    state: watch::Receiver<Arc<State>>,
    lessons: mpsc::Sender<Lesson>,
    dataplane: &Mutex<Dataplane>,
    pulse: Arc<Pulse>,
) -> Result<(NameServer, Ended)> {
    let own = bind_own(settings, role)?;
    let count = if settings.capture { LISTENERS } else { 1 };
    let (sockets, listeners) =
        bind_others(own, count).context("opening the name server's ports")?;
    let (heart, origins) = {
        let mut dataplane = lock(dataplane);
        let heart = settings
            .capture
            .then(|| dataplane.capture_names(&listeners));
        (heart, dataplane.origins())
    };
    let of_listener = origins.clone();
    let (server, ended) = NameServer::start(Setup {
        listeners: sockets,
        names: Arc::new(move |number| state.borrow().compiled.names_of(number)),
        lessons,
        origin: Arc::new(move |listener| {
            let (server, names) = of_listener.of(listener)?;
            Some(Asked { server, names })
        }),
        upstreams: settings.upstreams.clone(),
        resolv_conf: PathBuf::from(RESOLV_CONF),
        beat: Box::new(move || {
            pulse.beat();
            if let Some(heart) = &heart {
                heart.beat();
            }
        }),
    })
    .context("starting the name server")?;
    if settings.capture {
        // Whatever else clients ask, for these there is a listener.
        for server in server.system_servers() {
            if let Err(error) = origins.claim(server.ip(), DEFAULT_SCOPE) {
                tracing::warn!(%server, %error, "no listener of the name server stands for it");
            }
        }
    }
    Ok((server, ended))
}

/// A listener's sockets, and their address.
type Bound = (SocketAddr, UdpSocket, TcpListener);

/// The listeners for those who ask the name server itself: one of each family, of which IPv6 may be missing where nobody
/// named it.
fn bind_own(settings: &NameServerSettings, role: Role) -> Result<Vec<Bound>> {
    let port = match role {
        Role::Node => PORT,
        Role::Private => 0,
    };
    let loopback = |ip: IpAddr| SocketAddr::new(ip, port);
    let mut bound = Vec::new();
    if settings.listen.is_empty() {
        bound.push(bind_named(loopback(Ipv4Addr::LOCALHOST.into()))?);
        match bind(loopback(Ipv6Addr::LOCALHOST.into())) {
            Ok(v6) => bound.push(v6),
            Err(error) if is_without_family(&error) => {
                tracing::info!(
                    "there is no IPv6 here: IPv6 name servers are not asked in their place"
                );
            }
            Err(error) => return Err(refused(loopback(Ipv6Addr::LOCALHOST.into()), error)),
        }
    }
    for at in &settings.listen {
        bound.push(bind_named(*at)?);
    }
    Ok(bound)
}

fn is_without_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn bind_named(at: SocketAddr) -> Result<Bound> {
    bind(at).map_err(|error| refused(at, error))
}

fn refused(at: SocketAddr, error: io::Error) -> anyhow::Error {
    let missing = match error.kind() {
        io::ErrorKind::PermissionDenied => " without CAP_NET_BIND_SERVICE",
        _ => "",
    };
    anyhow::Error::new(error).context(format!(
        "the name server cannot listen on {at}{missing}; name another address or port by --dns-listen"
    ))
}

/// The listeners that stand for other name servers, beside our own: `count` in all.
fn bind_others(own: Vec<Bound>, count: usize) -> io::Result<(Vec<Sockets>, Listeners)> {
    let addresses: Vec<IpAddr> = own.iter().map(|(at, ..)| at.ip()).collect();
    let v4 = addresses.iter().find_map(|ip| match ip {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().find_map(|ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(*v6),
    });
    let mut ports = [0; LISTENERS];
    ports[0] = own.first().map_or(0, |(at, ..)| at.port());
    let mut sockets = vec![grouped(own)];
    for port in ports.iter_mut().take(count).skip(1) {
        let bound = bind_alike(&addresses)?;
        *port = bound.first().map_or(0, |(at, ..)| at.port());
        sockets.push(grouped(bound));
    }
    let everywhere = addresses.iter().all(|ip| !ip.is_loopback());
    let listeners = Listeners {
        v4,
        v6,
        ports,
        everywhere,
    };
    Ok((sockets, listeners))
}

/// One port that is free at each of the addresses.
fn bind_alike(addresses: &[IpAddr]) -> io::Result<Vec<Bound>> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_ATTEMPTS {
        let mut bound: Vec<Bound> = Vec::new();
        let all = addresses.iter().try_for_each(|ip| {
            let port = bound.first().map_or(0, |(at, ..)| at.port());
            bound.push(bind(SocketAddr::new(*ip, port))?);
            Ok(())
        });
        match all {
            Ok(()) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn grouped(bound: Vec<Bound>) -> Sockets {
    let mut sockets = Sockets::default();
    for (_, udp, tcp) in bound {
        sockets.udp.push(udp);
        sockets.tcp.push(tcp);
    }
    sockets
}
