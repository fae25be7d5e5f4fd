//! The process that connects: client and server in one thread on one CPU, in a network namespace of its own, so that a
//! measurement has no wake-up in it. It moves between cgroups, and does what it is told, one JSON line each.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketType, sockopt};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};
use tests::{cgroup, netns};

use crate::services;
use crate::statistics::quantile;

/// Where the worker's server listens, in its namespace.
pub(crate) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080);

/// Connects that come before those that count.
const WARM_UP: u32 = 200;

/// What is connected to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Target {
    Server,
    /// One of so many services, drawn anew each time.
    AnyOf(u32),
    /// This service.
    Number(u32),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Connect and close `count` times in `cgroup`.
    Connect {
        cgroup: PathBuf,
        to: Target,
        count: u32,
    },
    /// Send so many datagrams from one socket that is not connected, and get each back.
    Exchange {
        cgroup: PathBuf,
        to: Target,
        count: u32,
    },
    /// Ask one socket so often for its peer.
    PeerName {
        cgroup: PathBuf,
        to: Target,
        count: u32,
    },
}

/// In microseconds, for one connect or call; `cycle` is from `socket()` to the end of `close()`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    pub p50: f64,
    pub p99: f64,
    pub(crate) cycle: f64,
}

/// The parent's side. The worker ends on drop.
pub(crate) struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Worker {
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The terminal's Ctrl-C is the parent's to handle.
            .process_group(0)
            .spawn()
            .context("starting the worker")?;
        let orders = child.stdin.take();
        let replies = child.stdout.take().context("the worker has no output")?;
        Ok(Self {
            child,
            orders,
            replies: BufReader::new(replies),
        })
    }

    pub(crate) fn order(&mut self, order: &Order) -> Result<Times> {
        let to = self.orders.as_mut().context("the worker is gone")?;
        writeln!(to, "{}", serde_json::to_string(order)?)?;
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the worker said {line:?}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.orders.take();
        if let Err(error) = self.child.wait() {
            eprintln!("waiting for the worker: {error}");
        }
    }
}

/// The worker's side.
pub(crate) fn run() -> Result<()> {
    netns::isolate()?;
    let mut cpu = CpuSet::new();
    cpu.set(0);
    sched_setaffinity(None, &cpu)?;
    let server = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    // At every address, as services may have many endpoints.
    let anywhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER.port());
    net::bind(&server, &anywhere)?;
    net::listen(&server, 128)?;
    let echo = net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    net::bind(&echo, &SERVER)?;
    let mut random = 1;
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let times = carry_out(&server, &echo, &serde_json::from_str(&line?)?, &mut random)?;
        writeln!(output, "{}", serde_json::to_string(&times)?)?;
        output.flush()?;
    }
    Ok(())
}

fn carry_out(server: &OwnedFd, echo: &OwnedFd, order: &Order, random: &mut u32) -> Result<Times> {
    match order {
        Order::Connect { cgroup, to, count } => {
            cgroup::join(cgroup)?;
            repeat(*count, || connect(server, to.next(random)))
        }
        Order::Exchange { cgroup, to, count } => {
            cgroup::join(cgroup)?;
            let client = net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            repeat(*count, || exchange(echo, &client, to.next(random)))
        }
        Order::PeerName { cgroup, to, count } => {
            cgroup::join(cgroup)?;
            let client = client()?;
            net::connect(&client, &to.next(random))?;
            let _accepted = net::accept(server)?;
            let start = Instant::now();
            for _ in 0..*count {
                net::getpeername(&client)?;
            }
            let each = microseconds(start.elapsed()) / f64::from(*count);
            Ok(Times {
                p50: each,
                p99: each,
                cycle: each,
            })
        }
    }
}

impl Target {
    fn next(self, random: &mut u32) -> SocketAddrV4 {
        match self {
            Self::Server => SERVER,
            Self::Number(number) => services::vip(number),
            Self::AnyOf(count) => {
                // Numerical Recipes' generator; its high bits are good enough to leave the order of memory.
                *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let number = (u64::from(*random) * u64::from(count)) >> 32;
                services::vip(u32::try_from(number).expect("it is below `count`"))
            }
        }
    }
}

/// Does the same many times; each returns what counts of it.
fn repeat(count: u32, mut once: impl FnMut() -> Result<Duration>) -> Result<Times> {
    for _ in 0..WARM_UP {
        once()?;
    }
    let mut waits = Vec::with_capacity(count as usize);
    let start = Instant::now();
    for _ in 0..count {
        waits.push(microseconds(once()?));
    }
    let cycle = microseconds(start.elapsed()) / f64::from(count);
    Ok(Times {
        p50: quantile(&mut waits, 0.5),
        p99: quantile(&mut waits, 0.99),
        cycle,
    })
}

/// One datagram there and back. Returns what `sendto()` and `recvfrom()` of the client took.
fn exchange(server: &OwnedFd, client: &OwnedFd, to: SocketAddrV4) -> Result<Duration> {
    let mut byte = [0];
    let start = Instant::now();
    net::sendto(client, &byte, SendFlags::empty(), &to)
        .with_context(|| format!("sending to {to}"))?;
    let sent = start.elapsed();
    let (.., from) = net::recvfrom(server, &mut byte, RecvFlags::empty())?;
    let from = from.context("the datagram has no sender")?;
    net::sendto(server, &byte, SendFlags::empty(), &from)?;
    let start = Instant::now();
    let (.., from) = net::recvfrom(client, &mut byte, RecvFlags::empty())?;
    let received = start.elapsed();
    ensure!(
        from == Some(to.into()),
        "the answer of {to} came from {from:?}"
    );
    Ok(sent + received)
}

/// One connection, reset when closed so that its port is free at once. Returns what `connect()` took.
fn connect(server: &OwnedFd, to: SocketAddrV4) -> Result<Duration> {
    let client = client()?;
    let start = Instant::now();
    net::connect(&client, &to).with_context(|| format!("connecting to {to}"))?;
    let took = start.elapsed();
    let accepted = net::accept(server)?;
    drop(client);
    drop(accepted);
    Ok(took)
}

fn client() -> Result<OwnedFd> {
    let client = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
    Ok(client)
}

pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
