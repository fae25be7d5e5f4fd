//! The parent's side of a client process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::sockets::{Reply, Request, Transport};

/// A process in a cgroup and a network namespace of its own. It ends on drop.
pub struct Client {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    sockets: u32,
}

/// How a socket's connect went, and what the socket says of itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Connected {
        socket: u32,
        local: SocketAddr,
        peer: SocketAddr,
    },
    Failed(i32),
}

impl Client {
    /// Starts `program` (the binary `client` of this package) in `cgroup`.
    pub fn start(program: impl AsRef<OsStr>, cgroup: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(cgroup)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the client")?;
        let requests = child.stdin.take();
        let replies = child.stdout.take().context("the client has no output")?;
        Ok(Self {
            child,
            requests,
            replies: BufReader::new(replies),
            sockets: 0,
        })
    }

    pub fn ask(&mut self, request: &Request) -> Result<Reply> {
        let to = self.requests.as_mut().context("the client is gone")?;
        writeln!(to, "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the client said {line:?}"))
    }

    /// A request that is expected to work.
    pub fn order(&mut self, request: &Request) -> Result<()> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            other => bail!("{request:?}: {other:?}"),
        }
    }

    pub fn connect(&mut self, transport: Transport, to: SocketAddr) -> Result<Outcome> {
        let socket = self.next_socket();
        self.connect_socket(socket, transport, to)
    }

    /// Connects a UDP socket that is open, perhaps not for the first time.
    pub fn connect_socket(
        &mut self,
        socket: u32,
        transport: Transport,
        to: SocketAddr,
    ) -> Result<Outcome> {
        match self.ask(&Request::Connect {
            socket,
            transport,
            to,
        })? {
            Reply::Errno(errno) => Ok(Outcome::Failed(errno)),
            Reply::Done => match self.ask(&Request::Names(socket))? {
                Reply::Names { local, peer } => Ok(Outcome::Connected {
                    socket,
                    local,
                    peer,
                }),
                other => bail!("names: {other:?}"),
            },
            other => bail!("connect: {other:?}"),
        }
    }

    pub fn open_udp(&mut self, is_v6: bool) -> Result<u32> {
        let socket = self.next_socket();
        self.order(&Request::OpenUdp { socket, is_v6 })?;
        Ok(socket)
    }

    pub fn spread(
        &mut self,
        transport: Transport,
        to: SocketAddr,
        count: u32,
    ) -> Result<BTreeMap<IpAddr, u32>> {
        match self.ask(&Request::Spread {
            transport,
            to,
            count,
        })? {
            Reply::Reached(reached) => Ok(reached),
            other => bail!("spread: {other:?}"),
        }
    }

    fn next_socket(&mut self) -> u32 {
        self.sockets += 1;
        self.sockets
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.requests.take();
        if let Err(error) = self.child.wait() {
            eprintln!("waiting for the client: {error}");
        }
    }
}
