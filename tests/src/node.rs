//! A node in small: the real agent on the real kernel, on a cgroup of its own with a client in it, with a directory of
//! objects and a DNS server, in a network namespace that nothing leaves.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use agent::api::{Locality, MeshConfig};
use agent::app::agent::{Role, Running, start};
use agent::model::{Fact, Node as Place, VipRanges, Vital};
use agent::nameserver::Lesson;
use agent::observe::State;
use agent::settings::{CloseRemoved, NameServerSettings, OnExit, Settings};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::bpffs::TemporaryBpffs;
use crate::cgroup::TemporaryCgroup;
use crate::client::{Client, Outcome};
use crate::dns_server::DnsServer;
use crate::sockets::{Reply, Request, Transport};
use crate::{binary, lab, netns};

/// Far beyond any wait that a test counts on.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where connects of these tests may end: they are the client's own addresses.
pub const ADDRESSES: [&str; 3] = ["10.9.0.1", "10.9.0.2", "10.9.0.3"];
/// Where the client listens on each of them.
pub const PORT: u16 = 8080;

/// Entries for wildcards: below the one names are learned, below the other they get addresses of their own.
pub const WILDCARDS: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wildcard}
spec:
  hosts: ['*.wild.example']
  ports: [{number: 80, name: tcp, protocol: TCP, targetPort: 8080}]
  resolution: STATIC
  endpoints: [{address: 10.9.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dynamic}
spec:
  hosts: ['*.dynamic.example']
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: DYNAMIC_DNS
";

/// What is dropped leaves nothing, in this order.
pub struct Node {
    running: Option<Running>,
    pub client: Client,
    pub dns: DnsServer,
    runtime: Runtime,
    pub cgroup: TemporaryCgroup,
    bpffs: TemporaryBpffs,
    folder: TempDir,
    pub place: Place,
    pub mesh: MeshConfig,
    pub on_exit: OnExit,
    _turn: MutexGuard<'static, ()>,
}

impl Node {
    /// Everything but the agent. `None`, with the reason printed, where kernel tests cannot run.
    pub fn new(client: impl AsRef<OsStr>) -> Result<Option<Self>> {
        if !lab::can_run() {
            return Ok(None);
        }
        let turn = lab::turn();
        netns::isolate()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let folder = TempDir::new()?;
        fs::create_dir(folder.path().join("config"))?;
        let cgroup = TemporaryCgroup::new()?;
        let mut client = Client::start(client, cgroup.path())?;
        listen(&mut client)?;
        Ok(Some(Self {
            running: None,
            client,
            dns: runtime.block_on(async { DnsServer::start() })?,
            runtime,
            cgroup,
            bpffs: TemporaryBpffs::new()?,
            folder,
            place: Place::default(),
            mesh: MeshConfig::default(),
            on_exit: OnExit::default(),
            _turn: turn,
        }))
    }

    pub fn config_dir(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn bpf_dir(&self) -> PathBuf {
        self.bpffs.path().join("shunt")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("shunt.sock")
    }

    /// What `shunt status` says of the agent, for scripts.
    pub fn status(&self) -> Result<Value> {
        let socket = self.socket().display().to_string();
        let ended = binary::shunt(["status", "-o", "json", "--socket", &socket]);
        ensure!(!ended.stdout.is_empty(), "{ended:?}");
        Ok(ended.json())
    }

    /// The folder of all that is kept in files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `shunt`, where every user finds it.
    pub fn program(&self) -> Result<PathBuf> {
        let program = self.folder().join("shunt");
        if !program.exists() {
            fs::copy(binary::path(), &program)?;
        }
        Ok(program)
    }

    /// The flags of `shunt run` that say what [`Self::start`] does.
    pub fn flags(&self) -> Vec<String> {
        let way = match self.on_exit {
            OnExit::Keep => "keep",
            OnExit::Detach => "detach",
        };
        let of_path = |flag: &str, path: &Path| [flag.to_owned(), path.display().to_string()];
        [
            of_path("--config-dir", &self.config_dir()),
            of_path("--cgroup", self.cgroup.path()),
            of_path("--state-dir", &self.state_dir()),
            of_path("--bpf-dir", &self.bpf_dir()),
            of_path("--socket", &self.socket()),
            ["--resolver".to_owned(), self.dns.address().to_string()],
            ["--on-exit".to_owned(), way.to_owned()],
        ]
        .concat()
    }

    /// Says where the node is, for the agent that is started next: `region/zone/subzone`.
    pub fn place(&mut self, locality: &str) {
        self.place.locality = Locality::parse(locality);
    }

    /// Starts an agent, and returns when its programs are attached.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(CloseRemoved::default())
    }

    /// The same, closing these sockets of removed endpoints.
    pub fn start_with(&mut self, close_removed: CloseRemoved) -> Result<()> {
        let settings = Settings {
            config_dirs: vec![self.config_dir()],
            mesh: self.mesh.clone(),
            cgroups: vec![self.cgroup.path().to_owned()],
            node: self.place.clone(),
            resolvers: vec![self.dns.address()],
            state_dir: self.state_dir(),
            bpf_dir: self.bpf_dir(),
            socket: self.socket(),
            vip_ranges: VipRanges::default(),
            name_server: NameServerSettings::default(),
            limits: lab::limits(),
            bpf_log: false,
            sock_ops: false,
            close_removed,
            enter_namespaces: true,
            on_exit: self.on_exit,
        };
        self.running = Some(self.runtime.block_on(start(settings, Role::Node))?);
        Ok(())
    }

    pub fn stop(&mut self) -> Result<()> {
        let running = self.running.take().context("no agent is running")?;
        self.runtime.block_on(running.stop())
    }

    /// Tells the agent what a client is told of a name, and waits until it says that it is done.
    pub fn teach(&mut self, fact: Fact) -> Result<()> {
        let running = self.running.as_ref().context("no agent is running")?;
        let (done, is_done) = oneshot::channel();
        let lesson = Lesson { fact, done };
        let taught = async {
            running.lessons().send(lesson).await?;
            anyhow::Ok(is_done.await?)
        };
        self.runtime
            .block_on(async { timeout(PATIENCE, taught).await })?
    }

    /// What the agent published last.
    pub fn state(&mut self) -> Arc<State> {
        self.running.as_mut().expect("an agent is running").state()
    }

    /// Waits for a publication that is as wanted; the present one counts.
    pub fn wait_until(
        &mut self,
        what: &str,
        is_reached: impl Fn(&State) -> bool,
    ) -> Result<Arc<State>> {
        let running = self.running.as_mut().context("no agent is running")?;
        let search = async {
            loop {
                let state = running.state();
                if is_reached(&state) {
                    return anyhow::Ok(state);
                }
                running.changed().await?;
            }
        };
        let found = self
            .runtime
            .block_on(async { timeout(PATIENCE, search).await });
        found.with_context(|| format!("it is not so that {what}"))?
    }

    /// Waits until `host` is spread over `addresses`, and holds real sockets to it.
    pub fn wait_for(&mut self, host: &str, addresses: &[&str]) -> Result<()> {
        let wanted: BTreeSet<IpAddr> = addresses
            .iter()
            .map(|a| a.parse())
            .collect::<Result<_, _>>()?;
        self.wait_until(&format!("{host} is at {addresses:?}"), |state| {
            endpoints(state, host) == wanted
        })?;
        assert_eq!(self.reached(host)?, wanted);
        Ok(())
    }

    /// Who is reached by real sockets that connect to the automatic VIP of `host`.
    pub fn reached(&mut self, host: &str) -> Result<BTreeSet<IpAddr>> {
        let vip = SocketAddr::new(vip(&self.state(), host)?, 80);
        // So many that an endpoint of two or three is missed with a probability below 10^-10.
        let reached = self.client.spread(Transport::Tcp, vip, 64)?;
        Ok(reached.into_keys().collect())
    }

    /// Waits until no program rewrites a connect to `to`, which is a moment after the last reference to the attachment
    /// went: the kernel frees the inode of a pin after a grace period.
    pub fn wait_for_detachment(&mut self, to: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.failure(to)? != Some(lab::ENETUNREACH) {
            ensure!(Instant::now() < deadline, "connects are still rewritten");
            thread::yield_now();
        }
        Ok(())
    }

    /// Waits until a connect to `to` reaches `address`.
    pub fn wait_until_reached(&mut self, to: SocketAddr, address: IpAddr) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.attempt(to)? != Ok(address) {
            ensure!(Instant::now() < deadline, "{to} does not lead to {address}");
            thread::yield_now();
        }
        Ok(())
    }

    /// Who a connect to `to` reaches, or what it fails with. Nothing stays open.
    pub fn attempt(&mut self, to: SocketAddr) -> Result<Result<IpAddr, i32>> {
        let socket = self.client.next_socket();
        let request = Request::Connect {
            socket,
            transport: Transport::Tcp,
            to,
        };
        match self.client.ask(&request)? {
            Reply::Done => {
                let local = self.client.local(socket)?;
                self.client.close(socket)?;
                Ok(Ok(local.ip()))
            }
            Reply::Errno(errno) => Ok(Err(errno)),
            other => bail!("connecting to {to}: {other:?}"),
        }
    }

    /// What a connect to `to` fails with.
    pub fn failure(&mut self, to: SocketAddr) -> Result<Option<i32>> {
        Ok(match self.client.connect(Transport::Tcp, to)? {
            Outcome::Failed(errno) => Some(errno),
            Outcome::Connected { .. } => None,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.running.is_some()
            && let Err(error) = self.stop()
        {
            eprintln!("stopping the agent: {error:#}");
        }
    }
}

/// Has the client listen at each of [`ADDRESSES`], which become its own.
pub fn listen(client: &mut Client) -> Result<()> {
    for address in ADDRESSES.map(|text| text.parse().expect("a valid address")) {
        client.order(&Request::AddAddresses(vec![address]))?;
        client.order(&Request::Listen(SocketAddr::new(address, PORT)))?;
    }
    Ok(())
}

/// The addresses over which port 80 of `host` is spread.
pub fn endpoints(state: &State, host: &str) -> BTreeSet<IpAddr> {
    let services = state.compiled.program.services.iter();
    services
        .filter(|(key, _)| &*key.host == host)
        .flat_map(|(_, service)| &service.endpoints)
        .map(|endpoint| endpoint.address)
        .collect()
}

/// The endpoints that are left out because connects to them failed.
pub fn ejected(state: &State) -> BTreeSet<IpAddr> {
    let services = state.compiled.program.services.values();
    services
        .flat_map(|service| &service.endpoints)
        .filter(|endpoint| endpoint.vital == Vital::Ejected)
        .map(|endpoint| endpoint.address)
        .collect()
}

/// The automatic IPv4 address of `host`.
pub fn vip(state: &State, host: &str) -> Result<IpAddr> {
    let vips = state.snapshot.vips.get("default", host);
    Ok(vips
        .with_context(|| format!("{host} has no VIP"))?
        .v4
        .into())
}

/// A `ServiceEntry` called and for `host`, from port 80 to where the client listens.
pub fn entry(host: &str, resolution: &str, addresses: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {host}}}\nspec:\n  hosts: [{host}]\n  \
         ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {PORT}}}]\n  resolution: {resolution}\n"
    );
    if !addresses.is_empty() {
        let lines: Vec<String> = addresses
            .iter()
            .map(|address| format!("  - {{address: {address}}}\n"))
            .collect();
        text += "  endpoints:\n";
        text += &lines.concat();
    }
    text
}
