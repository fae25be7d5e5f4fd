//! Datagrams of a socket that names their destination with each.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{self, RecvFlags, SendFlags, sockopt};
use serde::{Deserialize, Serialize};

use super::Told;
use super::servers::QUESTION;

/// Longer than any answer of a server takes: a test that waits for it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// As the server has it.
    pub told: Told,
    /// Where the answer came from, as the socket has it.
    pub from: SocketAddr,
}

/// Asks [`super::Server::Tell`] there, with sendto(2) and recvfrom(2).
pub(super) fn exchange(socket: &OwnedFd, to: SocketAddr) -> anyhow::Result<Exchange> {
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    net::sendto(socket, QUESTION, SendFlags::empty(), &to).map_err(io::Error::from)?;
    let mut answer = [0; 256];
    let (length, _, from) =
        net::recvfrom(socket, &mut answer, RecvFlags::empty()).map_err(io::Error::from)?;
    let from = from.ok_or_else(|| anyhow::anyhow!("the answer has no sender"))?;
    Ok(Exchange {
        told: serde_json::from_slice(&answer[..length])?,
        from: from.try_into()?,
    })
}
