//! The demo's client: a process of its own, in the cgroup of the demo, that connects round and round and reports
//! which server answered. Kernel programs see it as they would see any other program.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What crosses the pipe, one JSON array of these a line: target, answer, connects since the last line.
pub(super) type Row = (SocketAddr, String, u64);

/// How often the client reports.
const REPORT: Duration = Duration::from_millis(200);
/// Between rounds over all targets: some hundred connects per second and target, and a machine that stays usable.
const PAUSE: Duration = Duration::from_millis(2);

/// Connects to every address of standard input, one a line, until standard output is closed.
pub fn run() -> Result<()> {
    let targets = read_targets()?;
    let mut out = io::stdout().lock();
    let mut answers: BTreeMap<(SocketAddr, String), u64> = BTreeMap::new();
    let mut reported = Instant::now();
    loop {
        for target in &targets {
            let answer = ask(*target).unwrap_or_else(|error| format!("error: {error}"));
            *answers.entry((*target, answer)).or_default() += 1;
        }
        if reported.elapsed() >= REPORT {
            let rows: Vec<Row> = std::mem::take(&mut answers)
                .into_iter()
                .map(|((target, answer), connects)| (target, answer, connects))
                .collect();
            let line = serde_json::to_string(&rows).context("writing a report")?;
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
            reported = Instant::now();
        }
        std::thread::sleep(PAUSE);
    }
}

fn read_targets() -> Result<Vec<SocketAddr>> {
    io::stdin()
        .lines()
        .map(|line| {
            let line = line.context("reading the targets")?;
            line.parse()
                .with_context(|| format!("`{line}` is not an address with a port"))
        })
        .collect()
}

fn ask(target: SocketAddr) -> io::Result<String> {
    let mut name = String::new();
    TcpStream::connect(target)?.read_to_string(&mut name)?;
    Ok(name.trim().to_owned())
}
