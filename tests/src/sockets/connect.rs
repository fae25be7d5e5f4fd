//! How a program connects a socket, and what the socket says of itself then.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{self, SendFlags, sockopt};
use serde::{Deserialize, Serialize};

use super::{ring, servers};

/// A way to connect a socket.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Way {
    /// connect(2).
    Call,
    /// The same, by another thread.
    Thread,
    /// The same, by another program that inherits the socket.
    Exec,
    /// `IORING_OP_CONNECT`.
    Ring,
    /// sendto(2) with `MSG_FASTOPEN`: the first question to the server goes with the SYN.
    FastOpen,
}

pub(super) fn by(way: Way, socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    match way {
        Way::Call => Ok(net::connect(socket, &to)?),
        Way::Thread => thread::scope(|scope| {
            scope
                .spawn(|| net::connect(socket, &to))
                .join()
                .expect("connecting does not panic")
        })
        .map_err(io::Error::from),
        Way::Exec => exec(socket, to),
        Way::Ring => ring::connect(socket, to),
        Way::FastOpen => {
            let flags = u32::try_from(libc::MSG_FASTOPEN).expect("a flag is positive");
            let flags = SendFlags::from_bits_retain(flags);
            net::sendto(socket, servers::QUESTION, flags, &to)?;
            Ok(())
        }
    }
}

/// Starts this program once more, with the socket as its standard input; see [`connect_standard_input`].
fn exec(socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    let status = Command::new(env::current_exe()?)
        .args(["connect", &to.to_string()])
        .stdin(Stdio::from(socket.try_clone()?))
        .status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::Error::other(status.to_string())),
    }
}

/// Connects what this program was given as its standard input, and returns 0 or the error's number: its exit status.
pub fn connect_standard_input(to: SocketAddr) -> i32 {
    net::connect(io::stdin(), &to).map_or_else(rustix::io::Errno::raw_os_error, |()| 0)
}

/// Waits until a connect that is under way has ended.
pub(super) fn finish(socket: &OwnedFd) -> io::Result<()> {
    poll(&mut [PollFd::new(socket, PollFlags::OUT)], None)?;
    Ok(sockopt::socket_error(socket)??)
}

pub(super) fn disconnect(socket: &OwnedFd) -> io::Result<()> {
    Ok(net::connect_unspec(socket)?)
}

pub(super) fn local(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(net::getsockname(socket)?.try_into()?)
}

pub(super) fn peer(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let peer = net::getpeername(socket)?;
    let peer = peer.ok_or_else(|| io::Error::other("the peer has no address"))?;
    Ok(peer.try_into()?)
}
