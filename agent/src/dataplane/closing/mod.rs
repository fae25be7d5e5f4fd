//! How do sockets end that were redirected, when no program does it? By `sock_diag`: each is looked for in every network
//! namespace and destroyed by its cookie, so that no other is hit. Its owner reads `ECONNABORTED`.

mod limits;
mod message;
mod namespaces;
mod netlink;
mod removed;
mod ticks;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_common::abi::{Address, Flow, Port, TCP, UDP};

use super::address;

use message::{Listed, Query, family};
use namespaces::Namespace;
use netlink::Diag;

pub use limits::CloseRule;
pub(super) use limits::expired;
pub use namespaces::can_enter;
pub use removed::Leftover;
pub(super) use removed::removed;
pub(super) use ticks::Ticks;

/// Of `enum tcp_state`, `include/net/tcp_states.h`. A UDP socket is "established" while it is connected.
const ESTABLISHED: u32 = 1 << 1;
/// Connections that are not over: neither waiting out their end, nor listening.
const TCP_STATES: u32 = ESTABLISHED | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// A connected socket that is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub cookie: u64,
    /// `agent_common::abi::{TCP, UDP}`.
    pub protocol: u8,
    /// Where it is connected.
    pub remote: (Address, Port),
    /// When it was connected, in ticks: a later connect of the same socket is another.
    pub since: u64,
    /// Only where no data has been sent or received for so long; of TCP alone.
    pub idle: Option<Duration>,
}

impl Target {
    fn of(flow: &Flow) -> Self {
        Self {
            cookie: flow.cookie,
            protocol: flow.protocol,
            remote: (flow.rewritten, flow.rewritten_port),
            since: flow.sent,
            idle: None,
        }
    }

    /// Where it is connected, as people write it.
    fn endpoint(&self) -> (IpAddr, u16) {
        let (address, port) = self.remote;
        (address::to_ip(address), port.get())
    }
}

/// What became of the targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By cookie.
    pub closed: BTreeSet<u64>,
    /// Whether this kernel can end no sockets (`CONFIG_INET_DIAG_DESTROY`), or not list them.
    pub is_impossible: bool,
    /// Whether some were not met, and may be in network namespaces that we have no right to enter.
    pub is_out_of_reach: bool,
}

/// Ends every target that is found in the network namespaces of the processes below `cgroups`. Blocks; `stop` ends it
/// early. What fails in one namespace is logged and leaves the others.
pub fn close(targets: &[Target], cgroups: &[PathBuf], stop: &AtomicBool) -> Outcome {
    let mut search = Search::new(targets);
    let found = namespaces::all(cgroups);
    let mut is_partial = found.is_partial;
    for namespace in found.namespaces {
        if search.left.is_empty() || search.outcome.is_impossible {
            break;
        }
        match namespace.run(|| search.look(&namespace, stop)) {
            Ok(()) => {}
            Err(error) if is_impossible(&error) => search.outcome.is_impossible = true,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => is_partial = true,
            Err(error) => tracing::warn!(%namespace, %error, "sockets stay open"),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    search.outcome.is_out_of_reach = is_partial && !search.left.is_empty();
    search.outcome
}

/// Whether this kernel can end sockets of either protocol.
pub fn is_possible() -> io::Result<bool> {
    let mut diag = Diag::open()?;
    for protocol in [TCP, UDP] {
        // Without the module that lists sockets, ending one fails as where there is none.
        let listed = diag.list(&query(protocol, libc::AF_INET, 0..=0), drop);
        let destroyed = listed.and_then(|()| match diag.destroy_nothing(protocol) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        });
        match destroyed {
            Err(error) if is_impossible(&error) => return Ok(false),
            other => other?,
        }
    }
    Ok(true)
}

/// What the kernel says where it cannot do what is asked: end a socket, or list those of a protocol.
fn is_impossible(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOENT))
}

fn query(protocol: u8, of: i32, ports: RangeInclusive<u16>) -> Query {
    Query {
        family: family(of),
        protocol,
        states: if protocol == UDP {
            ESTABLISHED
        } else {
            TCP_STATES
        },
        ports,
    }
}

struct Search {
    /// Those that have not been met yet, by protocol and cookie.
    left: BTreeMap<(u8, u64), Target>,
    outcome: Outcome,
}

impl Search {
    fn new(targets: &[Target]) -> Self {
        let by_cookie = |target: &Target| ((target.protocol, target.cookie), *target);
        Self {
            left: targets.iter().map(by_cookie).collect(),
            outcome: Outcome::default(),
        }
    }

    /// Ends the targets that are in the network namespace of this thread.
    fn look(&mut self, namespace: &Namespace, stop: &AtomicBool) -> io::Result<()> {
        let mut diag = Diag::open()?;
        for protocol in [TCP, UDP] {
            let met = self.meet(&mut diag, protocol)?;
            for socket in met {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                match diag.destroy(protocol, &socket) {
                    Ok(()) => {
                        self.outcome.closed.insert(socket.cookie());
                    }
                    // It has ended, or shares all but its cookie with another.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) if is_impossible(&error) => return Err(error),
                    Err(error) => {
                        tracing::warn!(%namespace, %error, cookie = socket.cookie(), "a socket stays open");
                    }
                }
            }
        }
        Ok(())
    }

    /// Lists the targets that are here and due. A v4-mapped peer may be that of a socket of either family.
    fn meet(&mut self, diag: &mut Diag, protocol: u8) -> io::Result<Vec<Listed>> {
        let wanted = || self.left.range((protocol, 0)..=(protocol, u64::MAX));
        let ports = || wanted().map(|(_, target)| target.remote.1.get());
        let (Some(first), Some(last)) = (ports().min(), ports().max()) else {
            return Ok(Vec::new());
        };
        let has_v4 = wanted().any(|(_, target)| target.remote.0.is_v4());
        let mut met = Vec::new();
        for of in [libc::AF_INET, libc::AF_INET6] {
            if of == libc::AF_INET && !has_v4 {
                continue;
            }
            diag.list(&query(protocol, of, first..=last), |socket| {
                let key = (protocol, socket.cookie());
                if let Some(target) = self.left.get(&key)
                    && target.remote == socket.remote()
                {
                    let is_due = target.idle.is_none_or(|least| socket.idle >= Some(least));
                    // Nobody would tell the owner of an MPTCP socket that its subflow is gone.
                    if is_due && !socket.is_mptcp {
                        met.push(socket);
                    }
                    self.left.remove(&key);
                }
            })?;
        }
        Ok(met)
    }
}
