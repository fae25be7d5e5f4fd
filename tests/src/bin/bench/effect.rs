//! From saving a file to the first connect that goes where it says now.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use agent::api::MeshConfig;
use agent::app::agent::{Role, Running, start};
use agent::compile::Destination;
use agent::dataplane::Limits;
use agent::model::{Node, VipRanges};
use agent::settings::Settings;
use anyhow::{Context, Result, ensure};
use tests::cgroup::TemporaryCgroup;

use crate::Effort;
use crate::caller::Caller;
use crate::report::{Report, median};

const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 1, 1), Ipv4Addr::new(127, 0, 1, 2)];
const PORT: u16 = 8080;

pub(crate) fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    eprintln!("from file to effect");
    for server in SERVERS {
        serve(server)?;
    }
    let cgroup = TemporaryCgroup::new()?;
    let mut caller = Caller::start(Some(cgroup.path()))?;
    let directory = tempfile::tempdir()?;
    save(directory.path(), SERVERS[0])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut running = runtime.block_on(start(settings(directory.path(), cgroup.path()), Role::Private))?;
    let vip = vip(&mut running)?;
    let mut times = Vec::new();
    for i in 0..effort.saves {
        let server = SERVERS[(i + 1) % 2];
        let expected = server.to_string();
        let before = Instant::now();
        save(directory.path(), server)?;
        while caller.ask(vip)? != expected {
            ensure!(before.elapsed().as_secs() < 10, "the change did not take effect");
        }
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    runtime.block_on(running.stop())?;
    report.row(
        "from saving a file to the first connect that follows it",
        format!("{:.0} ms", median(times)),
        "–",
    );
    Ok(())
}

/// A server that answers with its own address.
fn serve(address: Ipv4Addr) -> Result<()> {
    let listener = TcpListener::bind((address, PORT))?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A caller that is gone already needs no answer.
            let _ = stream.and_then(|mut stream| write!(stream, "{address}"));
        }
    });
    Ok(())
}

fn save(directory: &Path, server: Ipv4Addr) -> Result<()> {
    let text = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: effect}}
spec:
  hosts: [effect.test]
  ports: [{{name: http, number: 80, protocol: HTTP, targetPort: {PORT}}}]
  resolution: STATIC
  endpoints: [{{address: {server}}}]
"
    );
    let beside = directory.join(".new");
    fs::write(&beside, text)?;
    fs::rename(beside, directory.join("effect.yaml")).context("saving")
}

fn vip(running: &mut Running) -> Result<SocketAddr> {
    let state = running.state();
    let vips = state.compiled.program.frontends.keys().filter_map(|frontend| {
        match frontend.destination {
            Destination::Address(IpAddr::V4(vip)) => Some(SocketAddr::new(vip.into(), frontend.port)),
            _ => None,
        }
    });
    vips.into_iter().next().context("the service has a VIP")
}

fn settings(directory: &Path, cgroup: &Path) -> Settings {
    Settings {
        config_dirs: vec![directory.to_owned()],
        mesh: MeshConfig::default(),
        cgroups: vec![cgroup.to_owned()],
        node: Node::default(),
        resolvers: vec!["127.0.0.1:9".parse().expect("a valid address")],
        state_dir: PathBuf::new(),
        bpf_dir: PathBuf::new(),
        socket: PathBuf::new(),
        vip_ranges: VipRanges::default(),
        limits: Limits::small(),
        bpf_log: false,
    }
}
