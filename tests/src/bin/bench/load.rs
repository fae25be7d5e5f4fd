//! How long many services take to load, from text to maps, and the memory that they take.

use std::fs;
use std::time::Instant;

use agent::api::decode;
use agent::compile::compile;
use agent::dataplane::{Dataplane, LoadOptions};
use agent::model::{Fact, FileFact, Node, Registry, SourceId, VipRanges, VipTable};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tests::interrupt;

use crate::kernel::{map_memory, number};
use crate::services;
use crate::setting::Effort;
use crate::statistics::median;
use crate::table::{Budget, Table};

/// Milliseconds and mebibytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Loading {
    decode: f64,
    compile: f64,
    apply: f64,
    resident: f64,
    maps: f64,
}

pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<()> {
    for (count, endpoints) in [(10_000, 10), (50_000, 1), (100_000, 1)] {
        eprintln!("loading {count} services × {endpoints} …");
        let loadings = (0..effort.repetitions())
            .map(|_| in_child(count, endpoints))
            .collect::<Result<Vec<_>>>()?;
        let mid = |figure: fn(&Loading) -> f64| median(loadings.iter().map(figure));
        let name = format!("{count} services × {endpoints}");
        let is_held = (count, endpoints) == (10_000, 10);
        let limit = |limit, unit| {
            if is_held {
                Budget::AtMost { limit, unit }
            } else {
                Budget::None
            }
        };
        let none = Budget::None;
        table.figure(
            format!("{name}: decode YAML"),
            mid(|l| l.decode),
            "ms",
            none,
        );
        table.figure(format!("{name}: compile"), mid(|l| l.compile), "ms", none);
        table.figure(
            format!("{name}: apply to the maps"),
            mid(|l| l.apply),
            "ms",
            none,
        );
        let total = mid(|l| l.decode + l.compile + l.apply);
        table.figure(
            format!("{name}: load in all"),
            total,
            "ms",
            limit(1000.0, "ms"),
        );
        let resident = mid(|l| l.resident);
        table.figure(
            format!("{name}: resident memory"),
            resident,
            "MiB",
            limit(100.0, "MiB"),
        );
        table.figure(
            format!("{name}: maps' memory"),
            mid(|l| l.maps),
            "MiB",
            none,
        );
    }
    Ok(())
}

/// In a fresh process, whose memory tells.
fn in_child(count: u32, endpoints: u32) -> Result<Loading> {
    use std::os::unix::process::CommandExt;
    interrupt::check()?;
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["load", &count.to_string(), &endpoints.to_string()])
        .process_group(0)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("loading failed");
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The child's side: loads once, and prints what it took.
pub(crate) fn run(count: u32, endpoints: u32) -> Result<()> {
    let mut dataplane = Dataplane::load(&LoadOptions::default())?;
    let mut registry = Registry::new(Node::default(), VipRanges::default(), VipTable::default());
    let text = services::objects(count, endpoints);

    let start = Instant::now();
    let decoded = decode("services.yaml", &text);
    let decode = milliseconds(start);
    ensure!(decoded.diagnostics.is_empty(), "{:?}", decoded.diagnostics);
    drop(text);

    let start = Instant::now();
    registry.apply(Fact::File {
        source: SourceId("bench".into()),
        path: "services.yaml".into(),
        fact: FileFact::Read(decoded),
    });
    let snapshot = registry.snapshot();
    let compiled = compile(&snapshot);
    let compile = milliseconds(start);
    ensure!(
        compiled.program.frontends.len() == count as usize,
        "not every service has a frontend"
    );

    let start = Instant::now();
    let applied = dataplane.apply(&compiled.program);
    let apply = milliseconds(start);
    ensure!(applied.diagnostics.is_empty(), "{:?}", applied.diagnostics);

    let loading = Loading {
        decode,
        compile,
        apply,
        resident: resident()?,
        maps: mebibytes(map_memory()?),
    };
    println!("{}", serde_json::to_string(&loading)?);
    Ok(())
}

/// Resident memory of this process in MiB, the shared pages of mapped maps left out: those are the kernel's.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kibibytes = number(&status, "RssAnon:").context("no RssAnon in /proc/self/status")?;
    Ok(mebibytes(kibibytes * 1024))
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
