//! Ports that serve in UDP and TCP alike.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// How many ports are tried for one that is free in both.
const ATTEMPTS: usize = 32;

/// Both on one port, and where that is. Where the system picks the port, it is that of UDP, which another process may hold in
/// TCP.
pub fn bind(at: SocketAddr) -> io::Result<(SocketAddr, UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let udp = UdpSocket::bind(at)?;
        let chosen = udp.local_addr()?;
        match TcpListener::bind(chosen) {
            Ok(tcp) => return Ok((chosen, udp, tcp)),
            Err(error) if at.port() != 0 => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}
