//! `shunt demo`: the real agent on a stage of its own. Servers, DNS server and client live in a network namespace that
//! ends with the demo, the client in a cgroup that ends with it too; nothing else on the machine is touched.

mod board;
pub mod client;
pub mod dns_server;
mod scene;
mod servers;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::child_cgroup::ChildCgroup;
use crate::api::{Locality, MeshConfig};
use crate::compile::{Destination, Program};
use crate::dataplane::Limits;
use crate::model::{Node, VipRanges};
use crate::settings::{CloseRemoved, NameServerSettings, OnExit, Settings};

use self::board::Board;
use self::client::Row;
use self::dns_server::{DnsServer, Entry};
use self::scene::{Change, Expectation, Step, Target};
use self::servers::Servers;
use super::agent::{self, Role, Running};
use super::exec::in_cgroup;
use super::netns;

/// How long a change is watched once it has taken effect.
const WATCH: Duration = Duration::from_secs(3);
/// A change that is not in effect by then never will be: TTL, backoff and debounce are all far below.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `shunt demo` was told.
#[derive(Clone, Copy, Debug, Default)]
pub struct DemoOptions {
    /// Run on after the last step, until interrupted.
    pub keep: bool,
}

/// Plays every step and returns failure where something was not as it had to be.
pub fn demo(options: DemoOptions) -> Result<ExitCode> {
    netns::isolate().context(
        "making a network namespace for the demo (it needs root: `sudo shunt demo`, or `cargo xtask demo`)",
    )?;
    super::block_on(async {
        let mut stage = Stage::set_up().await?;
        let outcome = stage.play(options).await;
        let swept = stage.strike().await;
        let faults = outcome?;
        swept?;
        for fault in &faults {
            eprintln!("✗ {fault}");
        }
        Ok(ExitCode::from(u8::from(!faults.is_empty())))
    })
}

/// Everything that the demo started.
struct Stage {
    // In this order on drop: the client leaves its cgroup before the cgroup goes.
    client: Option<Client>,
    running: Running,
    cgroup: ChildCgroup,
    dns: DnsServer,
    _servers: Servers,
    directory: tempfile::TempDir,
    expected: Expectation,
    connects: u64,
}

impl Stage {
    async fn set_up() -> Result<Self> {
        let mut servers = Servers::default();
        for (name, address) in scene::SERVERS {
            let address = SocketAddr::new(address.into(), scene::SERVER_PORT);
            servers.start(name, address).await?;
        }
        let dns = DnsServer::start().context("starting the DNS server")?;
        for (name, addresses) in scene::records() {
            dns.set(name, Entry::addresses(&addresses, scene::TTL));
        }
        let directory = tempfile::tempdir().context("making a directory for the demo's YAML")?;
        let cgroup = ChildCgroup::create("demo")?;
        let settings = settings(directory.path(), cgroup.path(), dns.address());
        let running = agent::start(settings, Role::Private).await?;
        Ok(Self {
            client: None,
            running,
            cgroup,
            dns,
            _servers: servers,
            directory,
            expected: Expectation::new(),
            connects: 0,
        })
    }

    /// Returns what was not as it had to be.
    async fn play(&mut self, options: DemoOptions) -> Result<Vec<String>> {
        println!(
            "shunt demo: a client in a cgroup of its own, {} servers on loopback",
            scene::SERVERS.len()
        );
        println!("Files: {}\n", self.directory.path().display());
        let mut faults = Vec::new();
        for (index, step) in scene::steps().iter().enumerate() {
            faults.extend(self.play_step(index + 1, step).await?);
        }
        if faults.is_empty() {
            println!(
                "✓ {} connects, every split as the YAML says. No proxy was in their way.",
                self.connects
            );
        }
        if options.keep {
            self.keep_running().await?;
        }
        Ok(faults)
    }

    async fn play_step(&mut self, number: usize, step: &Step) -> Result<Vec<String>> {
        println!("{number}. {}", step.title);
        let before = self.running.state().compiled.program.clone();
        let start = Instant::now();
        self.change(&step.change)?;
        for (target, shares) in &step.expect {
            self.expected
                .insert(*target, shares.iter().copied().collect());
        }
        self.wait_for_effect(&before, step).await?;
        println!("   in effect after {} ms", start.elapsed().as_millis());
        if self.client.is_none() {
            let targets = targets(&self.running.state().compiled.program)?;
            self.client = Some(Client::start(self.cgroup.path(), targets).await?);
        }
        let mut board = Board::default();
        let client = self.client.as_mut().expect("started above");
        client.watch(&mut board, &self.expected, WATCH).await?;
        self.connects += board.total();
        println!();
        Ok(board.faults(&self.expected))
    }

    fn change(&self, change: &Change) -> Result<()> {
        match change {
            Change::Files(files) => {
                for (name, text) in files {
                    scene::save(self.directory.path(), name, text)?;
                }
            }
            Change::Records(records) => {
                for (name, addresses) in records {
                    self.dns.set(name, Entry::addresses(addresses, scene::TTL));
                }
            }
        }
        Ok(())
    }

    /// Returns when every target that the step changes has the endpoints that it should have.
    async fn wait_for_effect(&mut self, before: &Program, step: &Step) -> Result<()> {
        let running = &mut self.running;
        let effect = async {
            loop {
                let state = running.state();
                let program = &state.compiled.program;
                let is_changed = |(target, _): &(Target, _)| is_in_effect(before, program, *target);
                if step.expect.iter().all(is_changed) {
                    return anyhow::Ok(());
                }
                running.changed().await?;
            }
        };
        timeout(PATIENCE, effect)
            .await
            .with_context(|| format!("\"{}\" did not take effect in {PATIENCE:?}", step.title))?
    }

    async fn keep_running(&mut self) -> Result<()> {
        println!(
            "\nRunning on until interrupted; edit the files in {}",
            self.directory.path().display()
        );
        let mut board = Board::default();
        let client = self.client.as_mut().expect("the steps have started it");
        let forever = Duration::from_secs(u64::from(u32::MAX));
        tokio::select! {
            watched = client.watch(&mut board, &self.expected, forever) => watched,
            interrupted = tokio::signal::ctrl_c() => interrupted.context("listening for SIGINT"),
        }
    }

    async fn strike(mut self) -> Result<()> {
        if let Some(client) = self.client.take() {
            client.stop().await?;
        }
        self.running.stop().await
    }
}

/// Whether `target` has endpoints (or keeps its address), and others than before.
fn is_in_effect(before: &Program, program: &Program, target: Target) -> bool {
    let service = |program: &Program| {
        let mut services = program.services.iter();
        let found = services.find(|(key, _)| *key.host == *target.host && key.port == target.port);
        found.map(|(_, service)| service.clone())
    };
    let Some(now) = service(program) else {
        return false;
    };
    let is_ready = !now.endpoints.is_empty() || now.action != crate::compile::Action::Balance;
    is_ready && service(before).as_ref() != Some(&now)
}

/// The address that the client dials for each target: its VIP, which stays.
fn targets(program: &Program) -> Result<BTreeMap<SocketAddr, Target>> {
    let all = [scene::SHOP, scene::LEDGER, scene::NEWS, scene::ASSETS];
    let mut targets = BTreeMap::new();
    for target in all {
        let vip = program.frontends.iter().find_map(|(frontend, key)| {
            match (frontend.destination, &*key.host == target.host) {
                (Destination::Address(vip @ IpAddr::V4(_)), true) => Some(vip),
                _ => None,
            }
        });
        let vip = vip.with_context(|| format!("{} has no VIP", target.host))?;
        targets.insert(SocketAddr::new(vip, target.port), target);
    }
    let direct = SocketAddr::new(scene::DIRECT_ADDRESS.into(), scene::DIRECT.port);
    targets.insert(direct, scene::DIRECT);
    Ok(targets)
}

fn settings(directory: &Path, cgroup: &Path, resolver: SocketAddr) -> Settings {
    Settings {
        config_dirs: vec![directory.to_owned()],
        mesh: MeshConfig::default(),
        cgroups: vec![cgroup.to_owned()],
        node: Node {
            locality: Locality::parse(scene::LOCALITY),
            ..Node::default()
        },
        resolvers: vec![resolver],
        state_dir: PathBuf::new(),
        bpf_dir: PathBuf::new(),
        socket: PathBuf::new(),
        vip_ranges: VipRanges::default(),
        name_server: NameServerSettings::default(),
        limits: Limits::small(),
        bpf_log: false,
        sock_ops: false,
        close_removed: CloseRemoved::default(),
        enter_namespaces: false,
        on_exit: OnExit::default(),
    }
}

/// The client process.
struct Client {
    process: Child,
    reports: mpsc::UnboundedReceiver<String>,
    targets: BTreeMap<SocketAddr, Target>,
}

impl Client {
    async fn start(cgroup: &Path, targets: BTreeMap<SocketAddr, Target>) -> Result<Self> {
        let own = std::env::current_exe().context("finding our own program")?;
        let mut process = in_cgroup(cgroup, &[own.into(), "demo-client".into()])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the client")?;
        let mut stdin = process.stdin.take().expect("piped above");
        for address in targets.keys() {
            stdin.write_all(format!("{address}\n").as_bytes()).await?;
        }
        drop(stdin);
        let stdout = process.stdout.take().expect("piped above");
        let (sender, reports) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            reports,
            targets,
        })
    }

    /// Counts and draws what the client reports for as long as `watch`, from the first report that is all of now.
    async fn watch(
        &mut self,
        board: &mut Board,
        expected: &Expectation,
        watch: Duration,
    ) -> Result<()> {
        while self.reports.try_recv().is_ok() {}
        self.reports.recv().await;
        let end = Instant::now() + watch;
        while Instant::now() < end {
            let line = self.reports.recv().await.context("the client has ended")?;
            let rows: Vec<Row> =
                serde_json::from_str(&line).context("reading the client's report")?;
            for (address, answer, connects) in rows {
                if let Some(target) = self.targets.get(&address) {
                    board.count(*target, answer, connects);
                }
            }
            board.draw(expected, false)?;
        }
        Ok(board.draw(expected, true)?)
    }

    async fn stop(mut self) -> Result<()> {
        self.process.kill().await.context("ending the client")
    }
}
