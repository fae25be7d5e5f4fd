//! What a client process does on request: plain sockets of the standard library, as any program has them.
#![expect(
    unsafe_code,
    reason = "SO_LINGER, which the standard library does not offer"
)]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::{cgroup, netns};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    Udp,
}

/// What the parent asks for. Socket numbers are the parent's choice.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    AddAddresses(Vec<IpAddr>),
    /// Accepts TCP connections there, and closes the server's half.
    Listen(SocketAddr),
    /// Makes an unconnected UDP socket of the family of the address.
    OpenUdp {
        socket: u32,
        is_v6: bool,
    },
    /// Connects an open UDP socket, or makes a TCP socket and connects that.
    Connect {
        socket: u32,
        transport: Transport,
        to: SocketAddr,
    },
    Names(u32),
    Close(u32),
    JoinCgroup(PathBuf),
    /// Connects that many sockets, one after the other, and counts who was reached.
    Spread {
        transport: Transport,
        to: SocketAddr,
        count: u32,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Names {
        local: SocketAddr,
        peer: SocketAddr,
    },
    Reached(BTreeMap<IpAddr, u32>),
    /// The system call failed so.
    Errno(i32),
    Failed(String),
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// The sockets of a client process.
#[derive(Default)]
pub struct Sockets {
    open: BTreeMap<u32, Socket>,
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
            Request::Listen(at) => listen(at)?,
            Request::OpenUdp { socket, is_v6 } => {
                self.open.insert(socket, Socket::Udp(open_udp(is_v6)?));
            }
            Request::Connect {
                socket,
                transport: Transport::Udp,
                to,
            } => {
                if let Some(Socket::Udp(udp)) = self.open.get(&socket) {
                    udp.connect(to)?;
                } else {
                    let udp = open_udp(to.is_ipv6())?;
                    udp.connect(to)?;
                    self.open.insert(socket, Socket::Udp(udp));
                }
            }
            Request::Connect {
                socket,
                transport: Transport::Tcp,
                to,
            } => {
                self.open.insert(socket, Socket::Tcp(connect_tcp(to)?));
            }
            Request::Names(socket) => return self.names(socket),
            Request::Close(socket) => {
                self.open.remove(&socket);
            }
            Request::JoinCgroup(path) => cgroup::join(&path)?,
            Request::Spread {
                transport,
                to,
                count,
            } => return spread(transport, to, count),
        }
        Ok(Reply::Done)
    }

    fn names(&self, socket: u32) -> anyhow::Result<Reply> {
        let (local, peer) = match self.open.get(&socket) {
            Some(Socket::Tcp(tcp)) => (tcp.local_addr()?, tcp.peer_addr()?),
            Some(Socket::Udp(udp)) => (udp.local_addr()?, udp.peer_addr()?),
            None => anyhow::bail!("no socket {socket}"),
        };
        Ok(Reply::Names { local, peer })
    }
}

fn listen(at: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(at)?;
    thread::spawn(move || {
        // Closed at once: the client's half stays open, and thousands of connects need few file descriptors.
        listener.incoming().map_while(Result::ok).for_each(drop);
    });
    Ok(())
}

fn open_udp(is_v6: bool) -> io::Result<UdpSocket> {
    let any: IpAddr = if is_v6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    UdpSocket::bind((any, 0))
}

/// A connection that is reset when it is closed, so that its port is free at once.
fn connect_tcp(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    reset_on_close(&stream)?;
    Ok(stream)
}

/// Closes with a reset, so that the port is free at once.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let length = libc::socklen_t::try_from(size_of_val(&linger)).expect("a few bytes");
    // SAFETY: the option is a `linger`, of that length.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn spread(transport: Transport, to: SocketAddr, count: u32) -> anyhow::Result<Reply> {
    let mut reached: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for _ in 0..count {
        let local = match transport {
            Transport::Tcp => connect_tcp(to)?.local_addr()?,
            Transport::Udp => {
                let udp = open_udp(to.is_ipv6())?;
                udp.connect(to)?;
                udp.local_addr()?
            }
        };
        *reached.entry(local.ip().to_canonical()).or_default() += 1;
    }
    Ok(Reply::Reached(reached))
}
