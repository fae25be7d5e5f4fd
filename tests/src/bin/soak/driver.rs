//! What the actions act on: files, a name, and two agents; and what must hold when an action is over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use agent::observe::explain::{Question, Transport as Asked, VerdictView};
use agent::observe::{Request, Response, StatusView, Target as Destination};
use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use tests::dns_server::{DnsServer, Entry};
use tests::history::Outcome;
use tests::sockets::Transport;

use crate::ledger::Ledger;
use crate::scene::{NAME, Scene, Service, Target};
use crate::site::{Door, Site};

/// What a name holds for, in seconds.
const TTL: u32 = 1;
/// The longest that an update may take to be in force where agents run.
const BOUND: Duration = Duration::from_secs(30);
/// The longest that is waited for an agent to exchange programs: it may have done so unseen.
const START: Duration = Duration::from_secs(3);
/// The longest that the kernel takes to close what was open.
const SETTLE: Duration = Duration::from_secs(10);
/// Of so many connects one may go on counting; see the limits in SOCKETS.md.
const KEPT: u64 = 1_000_000;

pub(crate) struct Driver<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) random: Rng,
    pub(crate) scene: Scene,
    pub(crate) dns: &'a DnsServer,
    pub(crate) config: PathBuf,
    /// Its agent is ended and started again all the time.
    pub(crate) restless: Site,
    /// Its agent runs from the beginning to the end.
    pub(crate) constant: Site,
    pub(crate) updates: u64,
    /// The longest that an update took to be in force.
    pub(crate) slowest: Duration,
    pub(crate) tells_actions: bool,
    /// What the restless agent has pinned, as after its first start.
    pub(crate) pins: usize,
    /// Counted as open when all clients had ended, at both agents.
    pub(crate) still_open: u64,
    /// By kind.
    pub(crate) restarts: BTreeMap<&'static str, u64>,
}

impl Driver<'_> {
    /// Puts all in place and starts the agents.
    pub(crate) fn begin(&mut self) -> Result<()> {
        for service in Service::all() {
            self.write(service)?;
        }
        self.resolve();
        self.constant.spawn()?;
        self.constant.wait_until_ready()?;
        self.start()?;
        self.pins = self.restless.pins()?;
        self.expect_in_force()
    }

    /// Changes something, and does not wait until it is in force.
    pub(crate) fn change(&mut self) -> Result<()> {
        let service = self.scene.change(&mut self.random);
        self.ledger.doing(&format!("changing {}", service.host()));
        self.ledger.begin(service, &self.scene);
        if service == Service::Named {
            self.updates += 1;
            self.resolve();
            return Ok(());
        }
        self.write(service)
    }

    /// Puts a file in place as the scene has it, in one of the ways of editors.
    pub(crate) fn write(&mut self, service: Service) -> Result<()> {
        let path = self.path(service);
        self.updates += 1;
        match self.scene.text(service) {
            Some(text) if self.random.bool() => fs::write(path, text)?,
            Some(text) => replace(&path, &text)?,
            None => remove(&path)?,
        }
        Ok(())
    }

    pub(crate) fn path(&self, service: Service) -> PathBuf {
        self.config.join(format!("{}.yaml", service.host()))
    }

    /// Answers as the scene has it.
    pub(crate) fn resolve(&self) {
        let addresses = self.scene.addresses();
        let entry = Entry::Addresses {
            addresses,
            ttl: TTL,
        };
        self.dns.set(NAME, entry);
    }

    /// Starts the agent that was ended, and waits until it is ready.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.ledger.doing("starting");
        self.restless.spawn()?;
        self.restless.wait_until_ready()
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.ledger.doing("SIGKILL");
        *self.restarts.entry("SIGKILL").or_default() += 1;
        self.restless.kill()
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        self.ledger.doing("SIGTERM");
        *self.restarts.entry("SIGTERM").or_default() += 1;
        self.restless.stop()
    }

    /// In one way or the other.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.random.bool() {
            self.kill()
        } else {
            self.stop()
        }
    }

    /// Starts an agent and kills it before or after it is ready, whatever it is just doing, or while programs are exchanged, which
    /// takes no more than milliseconds.
    pub(crate) fn start_in_vain(&mut self) -> Result<()> {
        self.ledger.doing("starting in vain");
        *self.restarts.entry("SIGKILL while it starts").or_default() += 1;
        let before = self.restless.programs();
        self.restless.spawn()?;
        if self.random.bool() {
            self.pause(800);
        } else {
            let deadline = Instant::now() + START;
            while self.restless.programs() <= before && Instant::now() < deadline {
                thread::sleep(Duration::from_micros(200));
            }
            thread::sleep(Duration::from_micros(self.random.u64(..5000)));
        }
        self.restless.kill()
    }

    /// For up to so many milliseconds: at which instant something happens is what is drawn.
    pub(crate) fn pause(&mut self, most: u64) {
        thread::sleep(Duration::from_millis(self.random.u64(0..=most)));
    }

    /// Waits until both agents have all of the scene in force.
    pub(crate) fn expect_in_force(&mut self) -> Result<()> {
        self.ledger.doing("waiting");
        let start = Instant::now();
        let pending: Vec<Target> = self.ledger.pending();
        for door in [&self.constant.door, &self.restless.door] {
            while let Some(lack) = self.lack(door, &pending)? {
                ensure!(
                    start.elapsed() < BOUND,
                    "the agent of {} has not all in force after {BOUND:?}: {lack}",
                    door.name
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
        self.ledger.settle();
        let pins = self.restless.pins()?;
        if pins != self.pins {
            let before = mem::replace(&mut self.pins, pins);
            self.ledger
                .breach(format!("there are {pins} pins, which were {before}"));
        }
        self.slowest = self.slowest.max(start.elapsed());
        Ok(())
    }

    /// Holds both agents to it that nothing of clients counts as open which have all ended, but for [`KEPT`]. Returns how many do.
    pub(crate) fn expect_none_open(&self) -> Result<u64> {
        let connects = self.ledger.counts.connects.load(Ordering::Relaxed);
        let allowed = 1 + connects / KEPT;
        // The kernel closes some of what a process had after its end.
        let deadline = Instant::now() + SETTLE;
        let mut sum = 0;
        for door in [&self.constant.door, &self.restless.door] {
            let open = loop {
                let open = door.open()?;
                if open.is_empty() || Instant::now() >= deadline {
                    break open;
                }
                thread::sleep(Duration::from_millis(100));
            };
            let counted = open.values().map(|count| u64::from(count.unsigned_abs()));
            let counted: u64 = counted.sum();
            if counted > allowed {
                self.ledger.breach(format!(
                    "at the end {open:?} count as open at the agent of {}",
                    door.name
                ));
            }
            sum += counted;
        }
        Ok(sum)
    }

    /// What an agent lacks.
    fn lack(&self, door: &Door, pending: &[Target]) -> Result<Option<String>> {
        let status = door.status()?;
        let expected = self.scene.objects();
        if !status.ready || status.objects != expected {
            return Ok(Some(format!("{} of {expected} objects", status.objects)));
        }
        if status.degraded {
            return Ok(Some(format!("it is degraded: {:?}", status.reasons)));
        }
        for target in pending {
            let valid = self.scene.valid(*target);
            let lack = lack_of(door, *target, &valid)?;
            if lack.is_some() {
                return Ok(lack);
            }
        }
        Ok(None)
    }

    /// Waits until the status of both agents is so.
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&StatusView) -> bool) -> Result<()> {
        let deadline = Instant::now() + BOUND;
        for door in [&self.constant.door, &self.restless.door] {
            while !is_so(&door.status()?) {
                ensure!(
                    Instant::now() < deadline,
                    "it is not so at the agent of {} that {what}",
                    door.name
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

/// What of a target is not as it should be in the live maps.
fn lack_of(door: &Door, target: Target, valid: &BTreeSet<Outcome>) -> Result<Option<String>> {
    let question = Question {
        target: Destination::Address(target.vip()),
        transport: Some(match target.transport {
            Transport::Udp => Asked::Udp,
            Transport::Tcp | Transport::Mptcp => Asked::Tcp,
        }),
        from: None,
        count: 0,
    };
    let explanation = match door.ask(&Request::Explain(question))? {
        Response::Explain(explanation) => explanation,
        other => bail!("the agent of {} explains {other:?}", door.name),
    };
    let connect = explanation
        .connects
        .first()
        .context("nothing is explained")?;
    let found: BTreeSet<Outcome> = match &connect.verdict {
        VerdictView::Pass => [Err(libc::ENETUNREACH)].into(),
        VerdictView::Deny { errno, .. } if errno == "EPERM" => [Err(libc::EPERM)].into(),
        VerdictView::Rewrite => {
            let served = connect
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.part > 0);
            served.map(|endpoint| Ok(endpoint.address)).collect()
        }
        other => return Ok(Some(format!("{target}: {other:?}"))),
    };
    Ok((found != *valid).then(|| format!("{target}: {found:?}, and not {valid:?}")))
}

/// As careful editors do: beside it, then over it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, text)?;
    fs::rename(beside, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
