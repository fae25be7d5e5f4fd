//! Connects through a VIP against direct ones, and what each kernel program takes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use agent::compile::Program;
use agent::dataplane::{Dataplane, Limits, LoadOptions};
use agent_common::abi::TCP;
use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use tests::cgroup::TemporaryCgroup;
use tests::programs::{balance, frontend};

use crate::Effort;
use crate::caller::{Batch, Caller};
use crate::empty::EmptyProgram;
use crate::report::{Report, median};

const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The VIP of the first service; the others follow it.
const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const VIP_PORT: u16 = 80;
/// Services over which "spread" connects go.
const SPREAD: u32 = 10_000;
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Everything that connects need.
struct Bench {
    inside: Caller,
    outside: Caller,
    dataplane: Dataplane,
    cgroup: TemporaryCgroup,
    port: u16,
    effort: Effort,
}

pub(crate) fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    eprintln!("connects, on one CPU");
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).context("staying on one CPU")?;
    let port = start_server()?;
    let cgroup = TemporaryCgroup::new()?;
    // Before the data plane moves this process to a cgroup of its own, whose connects are exempt.
    let (inside, outside) = (Caller::start(Some(cgroup.path()))?, Caller::start(None)?);
    let mut dataplane = Dataplane::load(&LoadOptions {
        limits: Limits::default(),
        bpf_dir: None,
        trace: false,
    })?;
    dataplane.attach(&[cgroup.path().to_owned()])?;
    let mut bench = Bench {
        inside,
        outside,
        dataplane,
        cgroup,
        port,
        effort,
    };
    for services in [1, 1_000, 50_000] {
        bench.dataplane.apply(&program(services, port));
        bench.compare(&format!("{services} services, one of them dialled"), bench.vip(1), report)?;
    }
    bench.compare(&format!("50000 services, {SPREAD} of them dialled"), bench.vip(SPREAD), report)?;
    bench.compare("a destination that is not ours", bench.direct(), report)?;
    bench.time_programs(report)
}

/// A thread that accepts and drops what it accepted.
fn start_server() -> Result<u16> {
    let listener = TcpListener::bind((SERVER, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
        }
    });
    Ok(port)
}

/// `services` services, each with one endpoint: the server.
fn program(services: u32, port: u16) -> Program {
    let mut program = Program::default();
    for i in 0..services {
        let vip = Ipv4Addr::from(u32::from(FIRST_VIP) + i);
        let at = frontend(SocketAddr::new(vip.into(), VIP_PORT), TCP);
        let endpoint = SocketAddr::new(SERVER.into(), port);
        balance(&mut program, &format!("service-{i}.test"), at, &[(endpoint, 1)]);
    }
    program
}

impl Bench {
    fn vip(&self, spread: u32) -> Batch {
        Batch {
            first: FIRST_VIP,
            spread,
            port: VIP_PORT,
            connects: self.effort.batch.max(spread),
        }
    }

    fn direct(&self) -> Batch {
        Batch {
            first: SERVER,
            spread: 1,
            port: self.port,
            connects: self.effort.batch,
        }
    }

    /// Batches inside and outside by turns; each round gives one ratio.
    fn compare(&mut self, what: &str, batch: Batch, report: &mut Report) -> Result<()> {
        let direct = Batch {
            connects: batch.connects,
            ..self.direct()
        };
        let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
        let mut base = Vec::new();
        for _ in 0..self.effort.rounds {
            let without = self.outside.connect(direct)?;
            let with = self.inside.connect(batch)?;
            ratios[0].push(with.p50 / without.p50);
            ratios[1].push(with.p99 / without.p99);
            ratios[2].push(without.each / with.each);
            base.push(without.p50);
        }
        let [p50, p99, rate] = ratios.map(median);
        let base = median(base) / 1e3;
        report.row(
            format!("connect, {what}: p50 / p99 / connects per second, against direct ({base:.1} µs)"),
            format!("{p50:.2} / {p99:.2} / {rate:.2}"),
            "1.04 / 1.10 / –",
        );
        Ok(())
    }

    fn time_programs(&mut self, report: &mut Report) -> Result<()> {
        let _statistics = Statistics::enable()?;
        let empty = self.time_empty()?;
        report.row("an empty program on the same hook", format!("{empty:.0} ns"), "–");
        let cases = [
            ("connect4, pick and record, warm", "shunt_connect4", self.vip(1), "140"),
            ("connect4, the same over 10,000 services", "shunt_connect4", self.vip(SPREAD), "750"),
            ("connect4, a destination that is not ours", "shunt_connect4", self.direct(), "40"),
            ("sock_release, of a redirected socket", "shunt_release", self.vip(1), "35"),
        ];
        for (what, name, batch, budget) in cases {
            let before = self.figures();
            for _ in 0..self.effort.rounds {
                self.inside.connect(batch)?;
            }
            let after = self.figures();
            let (runs, time) = (after[name].0 - before[name].0, after[name].1 - before[name].1);
            let net = per_run(runs, time) - empty;
            report.row(format!("{what}, less the empty program"), format!("{net:.0} ns"), budget);
        }
        Ok(())
    }

    /// Runs and nanoseconds by program.
    fn figures(&self) -> BTreeMap<&'static str, (u64, u64)> {
        let programs = self.dataplane.programs().into_iter();
        programs.map(|program| (program.name, (program.runs, program.nanoseconds))).collect()
    }

    fn time_empty(&mut self) -> Result<f64> {
        let empty = EmptyProgram::attach(self.cgroup.path())?;
        let before = empty.figures()?;
        for _ in 0..self.effort.rounds {
            self.inside.connect(self.direct())?;
        }
        let after = empty.figures()?;
        Ok(per_run(after.0 - before.0, after.1 - before.1))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2⁵²")]
fn per_run(runs: u64, nanoseconds: u64) -> f64 {
    nanoseconds as f64 / runs.max(1) as f64
}

/// The kernel's timing of programs, on until this is dropped.
struct Statistics {
    before: String,
}

impl Statistics {
    fn enable() -> Result<Self> {
        let before = fs::read_to_string(STATISTICS).context("reading kernel.bpf_stats_enabled")?;
        set_statistics("1").context("setting kernel.bpf_stats_enabled")?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = set_statistics(self.before.trim()) {
            eprintln!("kernel.bpf_stats_enabled stays on: {error}");
        }
    }
}

fn set_statistics(value: &str) -> io::Result<()> {
    fs::write(Path::new(STATISTICS), value)
}
