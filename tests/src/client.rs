//! The parent's side of a client process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::programs::{self, at};
use crate::sockets::{
    Churn, Churned, Exchange, Feature, Race, Reply, Request, Run, Setting, SocketOption, Told,
    Transport, Way,
};

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

impl Outcome {
    /// The number of a socket that was to be connected.
    pub fn socket(&self) -> u32 {
        match self {
            Self::Connected { socket, .. } => *socket,
            Self::Failed(errno) => panic!("the connect failed: {errno}"),
        }
    }
}

impl Client {
    /// Starts `program` (the binary `client` of this package) in `cgroup`.
    pub fn start(program: impl AsRef<OsStr>, cgroup: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(cgroup)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The terminal's Ctrl-C is the parent's to handle.
            .process_group(0)
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

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn ask(&mut self, request: &Request) -> Result<Reply> {
        self.send(request)?;
        self.reply()
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        let to = self.requests.as_mut().context("the client is gone")?;
        Ok(writeln!(to, "{}", serde_json::to_string(request)?)?)
    }

    fn reply(&mut self) -> Result<Reply> {
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

    /// Connects a socket that is open, perhaps not for the first time.
    pub fn connect_socket(
        &mut self,
        socket: u32,
        transport: Transport,
        to: SocketAddr,
    ) -> Result<Outcome> {
        let request = Request::Connect {
            socket,
            transport,
            to,
        };
        self.outcome(socket, &request)
    }

    pub fn connect_by(&mut self, way: Way, socket: u32, to: &str) -> Result<Outcome> {
        let to = at(to);
        self.outcome(socket, &Request::ConnectBy { socket, way, to })
    }

    /// Connects a socket that is open with connect(2).
    pub fn reconnect(&mut self, socket: u32, to: &str) -> Result<Outcome> {
        self.connect_by(Way::Call, socket, to)
    }

    fn outcome(&mut self, socket: u32, request: &Request) -> Result<Outcome> {
        match self.ask(request)? {
            Reply::Errno(errno) => Ok(Outcome::Failed(errno)),
            Reply::Done => Ok(Outcome::Connected {
                socket,
                local: self.local(socket)?,
                peer: self.peer(socket)?,
            }),
            other => bail!("{request:?}: {other:?}"),
        }
    }

    /// Connects a socket that has a [`Setting::SendTimeout`], and stops and continues the process once it waits. Of
    /// system calls of such sockets, that interrupts them without a handler; see signal(7).
    pub fn interrupt_connect(&mut self, socket: u32, to: &str) -> Result<Reply> {
        let (way, to) = (Way::Call, at(to));
        self.send(&Request::ConnectBy { socket, way, to })?;
        self.wait_until("syscall", |text| {
            text.starts_with(&format!("{} ", libc::SYS_connect))
        })?;
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::STOP)?;
        self.wait_until("status", |text| text.contains("State:\tT"))?;
        kill_process(process, Signal::CONT)?;
        self.reply()
    }

    /// Waits until a file of the process in /proc is so.
    fn wait_until(&self, file: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let text = fs::read_to_string(&path)?;
            if holds(&text) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{path} stays {text:?}");
            thread::yield_now();
        }
    }

    pub fn option(&mut self, socket: u32, option: SocketOption) -> Result<i32> {
        match self.ask(&Request::Option { socket, option })? {
            Reply::Value(value) => Ok(value),
            other => bail!("getsockopt: {other:?}"),
        }
    }

    pub fn local(&mut self, socket: u32) -> Result<SocketAddr> {
        match self.ask(&Request::Local(socket))? {
            Reply::Address(address) => Ok(address),
            other => bail!("getsockname: {other:?}"),
        }
    }

    pub fn peer(&mut self, socket: u32) -> Result<SocketAddr> {
        match self.ask(&Request::Peer(socket))? {
            Reply::Address(address) => Ok(address),
            other => bail!("getpeername: {other:?}"),
        }
    }

    /// What getpeername(2) fails with.
    pub fn peer_error(&mut self, socket: u32) -> Result<i32> {
        match self.ask(&Request::Peer(socket))? {
            Reply::Errno(errno) => Ok(errno),
            other => bail!("getpeername: {other:?}"),
        }
    }

    /// The error that is pending at a socket, which is told once.
    pub fn pending_error(&mut self, socket: u32) -> Result<Option<i32>> {
        match self.ask(&Request::Finish(socket))? {
            Reply::Done => Ok(None),
            Reply::Errno(errno) => Ok(Some(errno)),
            other => bail!("SO_ERROR: {other:?}"),
        }
    }

    /// The connection of a socket as [`crate::sockets::Server::Tell`] at its other end sees it.
    pub fn told(&mut self, socket: u32) -> Result<Told> {
        match self.ask(&Request::Ask(socket))? {
            Reply::Told(told) => Ok(told),
            other => bail!("asking the server: {other:?}"),
        }
    }

    /// Asks [`crate::sockets::Server::Tell`] there by a datagram of an unconnected socket; the errno where that cannot be sent.
    pub fn exchange(&mut self, socket: u32, to: &str) -> Result<Result<Exchange, i32>> {
        let to = at(to);
        match self.ask(&Request::Exchange { socket, to })? {
            Reply::Exchanged(exchange) => Ok(Ok(exchange)),
            Reply::Errno(errno) => Ok(Err(errno)),
            other => bail!("asking {to}: {other:?}"),
        }
    }

    /// Who answers a datagram to `to`. The answer must seem to come from there.
    pub fn reach(&mut self, socket: u32, to: &str) -> Result<SocketAddr> {
        match self.exchange(socket, to)? {
            Ok(Exchange { from, told }) => {
                ensure!(from == at(to), "{from} answers {to}");
                Ok(told.server)
            }
            Err(errno) => bail!("{to} cannot be sent to: {errno}"),
        }
    }

    /// Closes the socket.
    pub fn close(&mut self, socket: u32) -> Result<()> {
        self.order(&Request::Close(socket))
    }

    /// Holds a socket that asked for `asked` against where it should be: connected to `endpoint`, with `asked` as its peer
    /// and its own address as what the server sees.
    pub fn expect_connected(&mut self, socket: u32, asked: &str, endpoint: &str) -> Result<()> {
        let (peer, local) = (self.peer(socket)?, self.local(socket)?);
        let told = self.told(socket)?;
        ensure!(
            peer == at(asked) && told.server == at(endpoint) && told.client == canonical(local),
            "asked for {asked} and should reach {endpoint}, but getpeername gives {peer}, getsockname {local}, \
             and the server says {told:?}"
        );
        Ok(())
    }

    pub fn open(&mut self, transport: Transport, is_v6: bool) -> Result<u32> {
        let socket = self.next_socket();
        self.order(&Request::Open {
            socket,
            transport,
            is_v6,
        })?;
        Ok(socket)
    }

    pub fn open_udp(&mut self, is_v6: bool) -> Result<u32> {
        self.open(Transport::Udp, is_v6)
    }

    pub fn bind(&mut self, socket: u32, at: &str) -> Result<()> {
        let at = programs::at(at);
        self.order(&Request::Bind { socket, at })
    }

    pub fn duplicate(&mut self, socket: u32) -> Result<u32> {
        let copy = self.next_socket();
        self.order(&Request::Duplicate { socket, copy })?;
        Ok(copy)
    }

    pub fn set(&mut self, socket: u32, setting: Setting) -> Result<()> {
        self.order(&Request::Set { socket, setting })
    }

    pub fn has(&mut self, socket: u32, feature: Feature) -> Result<bool> {
        match self.ask(&Request::Has { socket, feature })? {
            Reply::Has(has) => Ok(has),
            other => bail!("{feature:?}: {other:?}"),
        }
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

    pub fn race(&mut self, race: Race) -> Result<Vec<Run>> {
        match self.ask(&Request::Race(race))? {
            Reply::Raced(runs) => Ok(runs),
            other => bail!("{other:?}"),
        }
    }

    /// Returns when all threads have ended, and all their sockets.
    pub fn churn(&mut self, churn: Churn, to: SocketAddr) -> Result<Churned> {
        match self.ask(&Request::Churn { churn, to })? {
            Reply::Churned(churned) => Ok(churned),
            other => bail!("{churn:?}: {other:?}"),
        }
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process as the kernel does when memory is short.
    pub fn kill(mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }

    /// A number that no socket has had.
    pub fn next_socket(&mut self) -> u32 {
        self.sockets += 1;
        self.sockets
    }
}

/// The IPv4 address that a v4-mapped one stands for.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
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
