//! A whole agent that is told what clients are told of names: once it says so, the running kernel recognises the
//! addresses.

use std::net::IpAddr;
use std::time::Duration;

use agent::api::MeshConfig;
use agent::app::agent::{Role, Running, start};
use agent::compile::Saying;
use agent::model::{Answer, Fact, Node, VipRanges};
use agent::nameserver::Lesson;
use agent::settings::Settings;
use anyhow::{Context, Result};
use tests::cgroup::TemporaryCgroup;
use tests::client::{Client, Outcome};
use tests::lab::{self, limits};
use tests::programs::{at, ip};
use tests::sockets::{Request, Server, Transport};
use tokio::sync::oneshot;
use tokio::time::timeout;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const ENTRIES: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wildcard}
spec:
  hosts: ['*.wild.example']
  ports: [{number: 80, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.9.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dynamic}
spec:
  hosts: ['*.dynamic.example']
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DYNAMIC_DNS
";

/// Far beyond any wait that a test counts on.
const PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    running: Running,
    client: Client,
    _files: tempfile::TempDir,
    _cgroup: TemporaryCgroup,
}

impl Scene {
    async fn set_up() -> Result<Self> {
        let files = tempfile::tempdir()?;
        std::fs::write(files.path().join("entries.yaml"), ENTRIES)?;
        let cgroup = TemporaryCgroup::new()?;
        let settings = Settings {
            config_dirs: vec![files.path().to_owned()],
            mesh: MeshConfig::default(),
            cgroups: vec![cgroup.path().to_owned()],
            node: Node::default(),
            // Nobody is there: what was told with a question stands.
            resolvers: vec![at("127.0.0.1:9")],
            state_dir: files.path().join("state"),
            bpf_dir: files.path().join("bpf"),
            socket: files.path().join("socket"),
            vip_ranges: VipRanges::default(),
            limits: limits(),
            bpf_log: false,
            sock_ops: false,
        };
        let running = start(settings, Role::Private).await?;
        let mut client = Client::start(CLIENT, cgroup.path())?;
        client.order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
        client.order(&Request::Serve {
            at: at("10.9.0.1:80"),
            server: Server::Tell(Transport::Tcp),
        })?;
        Ok(Self {
            running,
            client,
            _files: files,
            _cgroup: cgroup,
        })
    }

    /// Tells the core, and waits until it says that it is done.
    async fn teach(&self, fact: Fact) -> Result<()> {
        let (done, is_done) = oneshot::channel();
        let lesson = Lesson { fact, done };
        self.running.lessons().send(lesson).await?;
        Ok(timeout(PATIENCE, is_done).await??)
    }

    fn expect_redirected(&mut self, to: IpAddr) -> Result<()> {
        let outcome = self.client.connect(Transport::Tcp, (to, 80).into())?;
        assert!(
            matches!(outcome, Outcome::Connected { peer, .. } if peer.ip() == to),
            "{outcome:?}"
        );
        Ok(())
    }
}

/// Runs `play` with an agent, on two threads: the core does not share its own with a client that waits.
fn on_stage(play: impl AsyncFnOnce(&mut Scene) -> Result<()>) -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let _turn = lab::turn();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut scene = Scene::set_up().await?;
        play(&mut scene).await?;
        scene.running.stop().await
    })
}

#[test]
fn an_address_is_recognised_once_its_lesson_is_done() -> Result<()> {
    on_stage(async |scene| {
        let learned = |address| Fact::Learned {
            name: "a.wild.example".into(),
            addresses: vec![address],
            ttl: Duration::from_secs(30),
        };
        for address in [ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.1")] {
            scene.teach(learned(address)).await?;
            scene.expect_redirected(address)?;
        }
        let state = scene.running.state();
        assert_eq!(state.compiled.learned.len(), 2);
        // Another update leaves them as they are.
        let other = Fact::Asked {
            name: "x.dynamic.example".into(),
            answer: Answer::default(),
        };
        scene.teach(other).await?;
        scene.expect_redirected(ip("192.0.2.1"))
    })
}

#[test]
fn a_name_has_an_address_of_its_own_once_its_lesson_is_done() -> Result<()> {
    on_stage(async |scene| {
        let asked = Fact::Asked {
            name: "a.dynamic.example".into(),
            answer: Answer {
                addresses: vec![ip("10.9.0.1")],
                failure: None,
            },
        };
        scene.teach(asked).await?;
        let state = scene.running.state();
        let said = state.compiled.names.find("a.dynamic.example");
        let Some(Saying::Addresses(addresses)) = said else {
            panic!("{said:?}");
        };
        let vip = addresses.iter().find(|address| address.is_ipv4());
        let vip = *vip.context("a name has an IPv4 address")?;
        assert!(VipRanges::default().contains(vip));
        scene.expect_redirected(vip)
    })
}
