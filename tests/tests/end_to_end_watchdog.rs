//! The real agent on the real kernel: what becomes of it, and of connects, when a part of it hangs.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::agent_process::AgentProcess;
use tests::confined::Confinement;
use tests::hang::HungThread;
use tests::node::{Node, PATIENCE, PORT};
use tests::programs::at;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const VIP: &str = "240.0.0.1:80";
const ENDPOINT: &str = "10.9.0.1";

/// In microseconds, as systemd tells it: half of it is what a part of the agent may be silent.
const WATCHDOG: &str = "6000000";

/// Many times what passes between two words that all is well.
const SILENCE: Duration = Duration::from_secs(3);

fn node() -> Result<Option<Node>> {
    let Some(node) = Node::new(CLIENT)? else {
        return Ok(None);
    };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a}}\nspec:\n  hosts: [a.test]\n  \
         addresses: [240.0.0.1]\n  ports: [{{number: 80, name: tcp, protocol: TCP, targetPort: {PORT}}}]\n  \
         resolution: STATIC\n  endpoints: [{{address: {ENDPOINT}}}]\n"
    );
    fs::write(node.config_dir().join("a.yaml"), text)?;
    Ok(Some(node))
}

/// Systemd's side of the talk with a service.
struct Manager(UnixDatagram);

impl Manager {
    fn new(node: &Node) -> Result<Self> {
        let socket = UnixDatagram::bind(node.folder().join("notify"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    fn start(node: &Node) -> Result<AgentProcess> {
        AgentProcess::with(node, CLIENT, &Confinement::default(), |command| {
            command
                .env("NOTIFY_SOCKET", node.folder().join("notify"))
                .env("WATCHDOG_USEC", WATCHDOG);
        })
    }

    fn hear(&self) -> Result<String> {
        let mut message = [0; 512];
        let length = self.0.recv(&mut message)?;
        Ok(String::from_utf8_lossy(&message[..length])
            .trim_end()
            .to_owned())
    }

    /// Waits until that is said.
    fn hear_of(&self, words: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.hear()?.contains(words) {
            ensure!(Instant::now() < deadline, "{words:?} is not said");
        }
        Ok(())
    }
}

#[test]
fn a_thread_that_hangs_ends_the_agent_by_its_name_and_connects_go_on() -> Result<()> {
    let Some(mut node) = node()? else {
        return Ok(());
    };
    let manager = Manager::new(&node)?;
    let mut agent = Manager::start(&node)?;
    let endpoint = Ok(ENDPOINT.parse()?);
    assert_eq!(node.attempt(at(VIP))?, endpoint);

    let hung = HungThread::new(agent.thread("names")?)?;

    agent.wait_for_log("the name server hangs")?;
    manager.hear_of("STATUS=the name server hangs")?;
    drop(hung);
    assert_eq!(agent.wait()?.signal(), Some(libc::SIGABRT));
    assert_eq!(node.attempt(at(VIP))?, endpoint);
    // The next one takes over.
    let next = Manager::start(&node)?;
    assert_eq!(node.attempt(at(VIP))?, endpoint);
    next.stop()?;
    node.wait_for_detachment(at(VIP))
}

#[test]
fn systemd_hears_that_all_is_well_for_as_long_as_the_watchdog_looks() -> Result<()> {
    let Some(node) = node()? else {
        return Ok(());
    };
    let manager = Manager::new(&node)?;
    let agent = Manager::start(&node)?;
    manager.hear_of("READY=1")?;
    for _ in 0..3 {
        assert_eq!(manager.hear()?, "WATCHDOG=1");
    }
    // What looks after the others hangs itself: then it is for systemd to end the agent.
    let hung = HungThread::new(agent.thread("watchdog")?)?;
    manager.0.set_read_timeout(Some(SILENCE))?;
    // One may be under way.
    let silence = (0..2).find_map(|_| manager.hear().err());
    ensure!(silence.is_some(), "all is said to be well without a look");
    drop(hung);
    manager.0.set_read_timeout(Some(PATIENCE))?;
    assert_eq!(manager.hear()?, "WATCHDOG=1");
    agent.stop()
}
