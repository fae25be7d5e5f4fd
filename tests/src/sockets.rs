//! What a client process does on request: sockets as any program has them, one system call for each request.

mod churn;
mod connect;
mod datagrams;
mod open;
mod passing;
mod race;
mod ring;
mod servers;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use agent_common::abi::{TCP, UDP};
use serde::{Deserialize, Serialize};

use crate::{cgroup, netns};

pub use churn::{Churn, Churned};
pub use connect::{Way, connect_standard_input};
pub use datagrams::Exchange;
pub use open::{Setting, reset_on_close};
pub use race::{Race, Run, nanoseconds};
pub use servers::Server;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    Udp,
    Mptcp,
}

impl Transport {
    /// As frontends have it.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp | Self::Mptcp => TCP,
            Self::Udp => UDP,
        }
    }
}

/// What the parent asks for. Socket numbers are the parent's choice.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    AddAddresses(Vec<IpAddr>),
    /// Leads an IPv4 address to nobody: what is sent there gets no answer, not even an error.
    Blackhole(Ipv4Addr),
    /// Writes a file below /proc/sys/net, which is that of the client's network namespace.
    Sysctl {
        name: String,
        value: String,
    },
    /// Accepts TCP connections there, and closes the server's half.
    Listen(SocketAddr),
    /// Ends what `Listen` began: connects are refused.
    StopListening(SocketAddr),
    Serve {
        at: SocketAddr,
        server: Server,
    },
    Open {
        socket: u32,
        transport: Transport,
        is_v6: bool,
    },
    Set {
        socket: u32,
        setting: Setting,
    },
    Bind {
        socket: u32,
        at: SocketAddr,
    },
    /// Connects a socket that is open, or makes one and connects that.
    Connect {
        socket: u32,
        transport: Transport,
        to: SocketAddr,
    },
    ConnectBy {
        socket: u32,
        way: Way,
        to: SocketAddr,
    },
    /// Waits until a connect that is under way has ended, and says how.
    Finish(u32),
    /// Connects to `AF_UNSPEC`: to nothing.
    Disconnect(u32),
    Local(u32),
    Peer(u32),
    /// Asks [`Server::Tell`] at the other end of a connection.
    Ask(u32),
    /// Asks [`Server::Tell`] there, by a datagram.
    Exchange {
        socket: u32,
        to: SocketAddr,
    },
    /// What the kernel says of a TCP or MPTCP connection.
    Has {
        socket: u32,
        feature: Feature,
    },
    /// An option of a socket that is a number.
    Option {
        socket: u32,
        option: SocketOption,
    },
    Duplicate {
        socket: u32,
        copy: u32,
    },
    Close(u32),
    /// Makes the Unix socket at which `Receive` waits.
    OpenMailbox(PathBuf),
    /// Passes a socket to the process that has that mailbox, and keeps it.
    Pass {
        socket: u32,
        mailbox: PathBuf,
    },
    Receive(u32),
    JoinCgroup(PathBuf),
    /// Leaves the network namespace for a new one. Sockets stay where they are.
    LeaveNetwork,
    /// Connects that many sockets, one after the other, and counts who was reached.
    Spread {
        transport: Transport,
        to: SocketAddr,
        count: u32,
    },
    /// Connects many sockets by many threads.
    Churn {
        churn: Churn,
        to: SocketAddr,
    },
    /// Connects by many threads, and tells of each connect.
    Race(Race),
}

/// What a connection may or may not make use of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Feature {
    /// MPTCP on the wire, rather than a fallback to TCP.
    Mptcp,
    /// The first data went with the SYN and was accepted.
    DataInSyn,
}

/// What a connection is kept alive by, or given up after.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum SocketOption {
    Keepalive,
    KeepaliveTime,
    KeepaliveInterval,
    KeepaliveProbes,
    UserTimeout,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Address(SocketAddr),
    Told(Told),
    Exchanged(Exchange),
    Has(bool),
    Value(i32),
    Reached(BTreeMap<IpAddr, u32>),
    Churned(Churned),
    Raced(Vec<Run>),
    /// The system call failed so.
    Errno(i32),
    Failed(String),
}

/// How a server sees a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub server: SocketAddr,
    pub client: SocketAddr,
}

/// The sockets of a client process.
#[derive(Default)]
pub struct Sockets {
    open: BTreeMap<u32, OwnedFd>,
    /// Kept open for as long as the client runs.
    servers: Vec<OwnedFd>,
    listening: BTreeMap<SocketAddr, servers::Listening>,
    mailbox: Option<UnixDatagram>,
    addresses: usize,
}

impl Sockets {
    pub fn answer(&mut self, request: Request) -> Reply {
        self.carry_out(request).unwrap_or_else(|error| {
            match error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error)
            {
                Some(errno) => Reply::Errno(errno),
                None => Reply::Failed(format!("{error:#}")),
            }
        })
    }

    fn carry_out(&mut self, request: Request) -> anyhow::Result<Reply> {
        match request {
            Request::AddAddresses(addresses) => {
                for address in addresses {
                    self.addresses += 1;
                    netns::add_address(address, self.addresses)?;
                }
            }
            Request::Sysctl { name, value } => {
                std::fs::write(format!("/proc/sys/net/{name}"), value)?;
            }
            Request::Blackhole(address) => netns::lead_to_nobody(address)?,
            Request::Listen(at) => {
                self.listening.insert(at, servers::close_each(at)?);
            }
            Request::StopListening(at) => {
                let server = self.listening.remove(&at);
                server
                    .ok_or_else(|| anyhow::anyhow!("nobody listens at {at}"))?
                    .stop()?;
            }
            Request::Serve { at, server } => self.servers.extend(servers::start(server, at)?),
            Request::Open {
                socket,
                transport,
                is_v6,
            } => {
                self.open.insert(socket, open::open(transport, is_v6)?);
            }
            Request::Set { socket, setting } => open::set(self.socket(socket)?, &setting)?,
            Request::Bind { socket, at } => open::bind(self.socket(socket)?, at)?,
            Request::Connect {
                socket,
                transport,
                to,
            } => self.connect(socket, transport, to)?,
            Request::ConnectBy { socket, way, to } => {
                connect::by(way, self.socket(socket)?, to)?;
            }
            Request::Finish(socket) => connect::finish(self.socket(socket)?)?,
            Request::Disconnect(socket) => connect::disconnect(self.socket(socket)?)?,
            Request::Local(socket) => {
                return Ok(Reply::Address(connect::local(self.socket(socket)?)?));
            }
            Request::Peer(socket) => {
                return Ok(Reply::Address(connect::peer(self.socket(socket)?)?));
            }
            Request::Ask(socket) => return Ok(Reply::Told(servers::ask(self.socket(socket)?)?)),
            Request::Exchange { socket, to } => {
                let exchange = datagrams::exchange(self.socket(socket)?, to)?;
                return Ok(Reply::Exchanged(exchange));
            }
            Request::Has { socket, feature } => {
                return Ok(Reply::Has(open::has(self.socket(socket)?, feature)?));
            }
            Request::Option { socket, option } => {
                return Ok(Reply::Value(open::option(self.socket(socket)?, option)?));
            }
            Request::Duplicate { socket, copy } => {
                let duplicate = self.socket(socket)?.try_clone()?;
                self.open.insert(copy, duplicate);
            }
            Request::Close(socket) => {
                self.open.remove(&socket);
            }
            Request::OpenMailbox(path) => self.mailbox = Some(UnixDatagram::bind(path)?),
            Request::Pass { socket, mailbox } => passing::pass(self.socket(socket)?, &mailbox)?,
            Request::Receive(socket) => {
                let mailbox = self.mailbox.as_ref();
                let mailbox = mailbox.ok_or_else(|| anyhow::anyhow!("no mailbox is open"))?;
                self.open.insert(socket, passing::receive(mailbox)?);
            }
            Request::JoinCgroup(path) => cgroup::join(&path)?,
            Request::LeaveNetwork => netns::isolate()?,
            Request::Spread {
                transport,
                to,
                count,
            } => return spread(transport, to, count),
            Request::Churn { churn, to } => {
                return Ok(Reply::Churned(churn::churn(churn, to)?));
            }
            Request::Race(race) => return Ok(Reply::Raced(race::race(&race)?)),
        }
        Ok(Reply::Done)
    }

    fn socket(&self, number: u32) -> anyhow::Result<&OwnedFd> {
        self.open
            .get(&number)
            .ok_or_else(|| anyhow::anyhow!("no socket {number}"))
    }

    fn connect(&mut self, number: u32, transport: Transport, to: SocketAddr) -> io::Result<()> {
        if let Some(socket) = self.open.get(&number) {
            return connect::by(Way::Call, socket, to);
        }
        let socket = open::open(transport, to.is_ipv6())?;
        connect::by(Way::Call, &socket, to)?;
        self.open.insert(number, socket);
        Ok(())
    }
}

fn spread(transport: Transport, to: SocketAddr, count: u32) -> anyhow::Result<Reply> {
    let mut reached: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for _ in 0..count {
        let socket = open::open(transport, to.is_ipv6())?;
        connect::by(Way::Call, &socket, to)?;
        let local = connect::local(&socket)?;
        *reached.entry(local.ip().to_canonical()).or_default() += 1;
    }
    Ok(Reply::Reached(reached))
}
