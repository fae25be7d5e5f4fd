//! A process that connects on request: inside the cgroup that shunt is attached to, or outside of it for comparison.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tests::{cgroup, sockets};

/// Visits the addresses from `first` on, `spread` of them, in an order that no prefetcher follows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) first: Ipv4Addr,
    pub(crate) spread: u32,
    pub(crate) port: u16,
    pub(crate) connects: u32,
}

/// A prime, so that multiples of it visit every address of a spread before one comes again.
const STRIDE: u32 = 7_919;

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Connect(Batch),
    /// Connects once and reads who answers.
    Ask(SocketAddr),
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Took(Took),
    Answer(String),
}

/// What a batch took, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Took {
    /// Of the connect calls alone.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// From making a socket to having closed it, on average.
    pub(crate) each: f64,
}

/// The process's side: answers requests until there are no more.
pub(crate) fn serve(group: &str) -> Result<()> {
    if !group.is_empty() {
        cgroup::join(Path::new(group))?;
    }
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let reply = match serde_json::from_str(&line?)? {
            Request::Connect(batch) => Reply::Took(connect_all(batch)?),
            Request::Ask(to) => Reply::Answer(ask(to).unwrap_or_else(|error| error.to_string())),
        };
        writeln!(out, "{}", serde_json::to_string(&reply)?)?;
        out.flush()?;
    }
    Ok(())
}

fn ask(to: SocketAddr) -> io::Result<String> {
    let mut answer = String::new();
    TcpStream::connect(to)?.read_to_string(&mut answer)?;
    Ok(answer)
}

fn connect_all(batch: Batch) -> Result<Took> {
    let mut times = Vec::with_capacity(batch.connects as usize);
    let start = Instant::now();
    for i in 0..batch.connects {
        let offset = i.wrapping_mul(STRIDE) % batch.spread;
        let to = SocketAddr::new((u32::from(batch.first) + offset).to_be_bytes().into(), batch.port);
        let before = Instant::now();
        let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        times.push(before.elapsed());
        sockets::reset_on_close(&stream)?;
    }
    let each = start.elapsed() / batch.connects;
    times.sort_unstable();
    let at = |percent: usize| nanoseconds(times[(times.len() - 1) * percent / 100]);
    Ok(Took {
        p50: at(50),
        p99: at(99),
        each: nanoseconds(each),
    })
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// The bench's side of a caller. The process ends when this is dropped.
pub(crate) struct Caller {
    process: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Caller {
    /// `None` stays where the bench is.
    pub(crate) fn start(group: Option<&Path>) -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut process = Command::new(own)
            .arg("caller")
            .arg(group.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a caller")?;
        let requests = process.stdin.take().context("piped above")?;
        let replies = BufReader::new(process.stdout.take().context("piped above")?);
        Ok(Self {
            process,
            requests,
            replies,
        })
    }

    pub(crate) fn connect(&mut self, batch: Batch) -> Result<Took> {
        match self.request(&Request::Connect(batch))? {
            Reply::Took(took) => Ok(took),
            Reply::Answer(answer) => anyhow::bail!("unexpected answer {answer}"),
        }
    }

    pub(crate) fn ask(&mut self, to: SocketAddr) -> Result<String> {
        match self.request(&Request::Ask(to))? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Took(_) => anyhow::bail!("unexpected reply"),
        }
    }

    fn request(&mut self, request: &Request) -> Result<Reply> {
        writeln!(self.requests, "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        serde_json::from_str(&line).context("the caller has ended")
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
