//! From text to maps, for many services.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use agent::api;
use agent::compile::compile;
use agent::dataplane::{Dataplane, Limits, LoadOptions};
use agent::model::{Fact, FileFact, Node, Registry, SourceId, VipRanges, VipTable};
use anyhow::{Context, Result, ensure};

use crate::report::Report;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    eprintln!("load");
    load(10_000, 10, "< 1 s", report)?;
    load(50_000, 1, "–", report)
}

/// A file of `services` entries with `endpoints` endpoints each: how long until it is all in the kernel.
fn load(services: u32, endpoints: u32, budget: &str, report: &mut Report) -> Result<()> {
    let text = yaml(services, endpoints);
    let mut dataplane = Dataplane::load(&LoadOptions {
        limits: Limits::default(),
        bpf_dir: None,
        trace: false,
    })?;
    let start = Instant::now();
    let decoded = api::decode("services.yaml", &text);
    let read = start.elapsed();
    ensure!(decoded.broken.is_empty(), "the bench's own objects are valid");
    let mut registry = Registry::new(Node::default(), VipRanges::default(), VipTable::default());
    registry.apply(Fact::File {
        source: SourceId("bench".into()),
        path: "services.yaml".into(),
        fact: FileFact::Read(decoded),
    });
    let snapshot = registry.snapshot();
    let compiled = compile(&snapshot);
    let computed = start.elapsed();
    let applied = dataplane.apply(&compiled.program);
    let total = start.elapsed();
    ensure!(applied.diagnostics.is_empty(), "everything fits: {:?}", applied.diagnostics.first());
    let megabytes = resident_kilobytes()? / 1024;
    report.row(
        format!("load {services} services × {endpoints}: read + compile + kernel"),
        format!(
            "{} + {} + {} ms",
            read.as_millis(),
            (computed - read).as_millis(),
            (total - computed).as_millis()
        ),
        budget,
    );
    report.row(
        format!("memory of the agent then ({} MB of YAML)", text.len() / 1_000_000),
        format!("{megabytes} MB"),
        "< 100 MB",
    );
    let again = time(|| dataplane.apply(&compiled.program));
    report.row("an update that changes nothing", format!("{:.1} ms", again.as_secs_f64() * 1e3), "–");
    Ok(())
}

fn time<T>(what: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn yaml(services: u32, endpoints: u32) -> String {
    let mut text = String::new();
    for i in 0..services {
        let entry = format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: service-{i}
spec:
  hosts:
  - service-{i}.example.com
  ports:
  - name: http
    number: 80
    protocol: HTTP
    targetPort: 8080
  resolution: STATIC
  endpoints:
"
        );
        text.push_str(&entry);
        for j in 0..endpoints {
            let address = std::net::Ipv4Addr::from(0x0a00_0001 + i * endpoints + j);
            let weight = 1 + j % 5;
            write!(text, "  - address: {address}\n    weight: {weight}\n    locality: r1/z{}\n", j % 3)
                .expect("writing to a string");
        }
    }
    text
}

fn resident_kilobytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.and_then(|kb| kb.parse().ok()).context("the kernel tells VmRSS")
}
