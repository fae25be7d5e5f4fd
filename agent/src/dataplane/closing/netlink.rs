//! How is the kernel asked for the sockets of a network namespace, and to end one? By a socket of `NETLINK_SOCK_DIAG`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use super::message::{self, Listed, Message, Query};

/// The kernel answers while it is asked; nothing is worth more of a wait than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than the kernel puts into one datagram.
const BUFFER: usize = 1 << 16;
/// How often a list that changed while it was read is read at most.
const READINGS: u32 = 3;

pub(super) struct Diag {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Diag {
    /// One for the network namespace of this thread, whichever thread uses it.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(SOCK_DIAG),
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// Shows every socket of `query` to `visit`, some perhaps more than once.
    pub(super) fn list(&mut self, query: &Query, mut visit: impl FnMut(Listed)) -> io::Result<()> {
        for _ in 0..READINGS {
            self.send(|sequence| message::dump(sequence, query))?;
            if !self.receive(&mut visit)? {
                return Ok(());
            }
        }
        tracing::debug!(?query, "the list of sockets changes as fast as it is read");
        Ok(())
    }

    pub(super) fn destroy(&mut self, protocol: u8, socket: &Listed) -> io::Result<()> {
        self.send(|sequence| message::destroy(sequence, protocol, socket))?;
        self.receive(&mut |_| {}).map(drop)
    }

    /// Asks to end what is not there, which fails with `NotFound` where sockets can be ended.
    pub(super) fn destroy_nothing(&mut self, protocol: u8) -> io::Result<()> {
        self.send(|sequence| message::destroy_nothing(sequence, protocol))?;
        self.receive(&mut |_| {}).map(drop)
    }

    fn send(&mut self, write: impl FnOnce(u32) -> Vec<u8>) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = write(self.sequence);
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &message, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// Reads to the end of the answer. Returns whether it has to be asked for again.
    fn receive(&mut self, visit: &mut impl FnMut(Listed)) -> io::Result<bool> {
        let mut is_partial = false;
        loop {
            let (length, whole) = recv(&self.socket, &mut self.buffer, RecvFlags::TRUNC)?;
            let (messages, is_interrupted) =
                message::read(&self.buffer[..length.min(BUFFER)], self.sequence);
            is_partial |= is_interrupted || whole > BUFFER;
            for message in messages {
                match message {
                    Message::Socket(socket) => visit(socket),
                    Message::End(result) => return result.map(|()| is_partial),
                }
            }
        }
    }
}
