//! Starts an agent: everything that runs, wired in one place, and the handle by which it is watched and stopped.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, block_in_place};

use crate::dataplane::{Dataplane, Denials, Events, LoadOptions, checks};
use crate::model::{Fact, LearnedEnds, Registry, VipTable};
use crate::nameserver::{Ended, Lesson, NameServer};
use crate::observe::State;
use crate::settings::{OnExit, Settings};
use crate::sources::dns::{Timing, Upstream};
use crate::sources::{Directory, LastGood, Refresher, RefresherSettings, directory};

use super::clients::Tenants;
use super::clock::{Clock, monotonic};
use super::closing::Closing;
use super::control::{Control, lock};
use super::core::{Core, Startup};
use super::denials::Ledger;
use super::drift::Resync;
use super::health::Watch;
use super::hits::HitCounter;
use super::kept::{Kept, Recalled};
use super::lessons::Waiting;
use super::names;
use super::probes::Probes;
use super::supervisor::{Pulses, relay};
use super::vip_file::VipFile;

/// Facts that may wait for the core; sources wait when it is full.
const FACTS: usize = 1024;
/// Sources that may end before the core hears of the first.
const ENDS: usize = 4;
/// Lessons that may wait for the core; as many clients wait with them.
const LESSONS: usize = 1024;

/// How long the name server goes on for those who asked it before the end.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// What the agent leaves for others to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The node's agent: pins its attachments, answers on the control socket, keeps its VIPs.
    Node,
    /// One command's: it leaves nothing.
    Private,
}

/// A running agent.
pub struct Running {
    state: watch::Receiver<Arc<State>>,
    stop: oneshot::Sender<()>,
    core: JoinHandle<Result<()>>,
    lessons: mpsc::Sender<Lesson>,
    names: Arc<NameServer>,
    names_ended: Ended,
    pulses: Arc<Pulses>,
}

impl Running {
    /// What was published last.
    pub fn state(&mut self) -> Arc<State> {
        Arc::clone(&self.state.borrow_and_update())
    }

    /// Where to tell what clients are told of names.
    pub fn lessons(&self) -> mpsc::Sender<Lesson> {
        self.lessons.clone()
    }

    /// By which its tasks show that they are at work.
    pub(super) fn pulses(&self) -> Arc<Pulses> {
        Arc::clone(&self.pulses)
    }

    /// Returns at the next publication after the last call of [`Self::state`].
    pub async fn changed(&mut self) -> Result<()> {
        self.state.changed().await.context("the agent has ended")
    }

    /// Returns when the agent ends by itself, which is always a failure.
    pub async fn ended(&mut self) -> Result<()> {
        tokio::select! {
            joined = &mut self.core => outcome(joined),
            reason = self.names_ended.reason() => Err(anyhow!(reason)),
        }
    }

    /// Detaches, unless the programs are to be kept, removes everything else that was made, and ends.
    pub async fn stop(self) -> Result<()> {
        // The core may have ended by itself; then its outcome tells.
        let _ = self.stop.send(());
        let outcome = outcome(self.core.await);
        // What came before clients were sent elsewhere is answered still.
        tokio::time::sleep(LAST_ANSWERS).await;
        block_in_place(|| drop(self.names));
        outcome
    }
}

fn outcome(joined: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    joined.unwrap_or_else(|error| Err(anyhow!("the agent's core ended: {error}")))
}

/// Returns once the first configuration is in the kernel and the programs are attached. Must be called within a
/// multi-threaded Tokio runtime.
pub async fn start(settings: Settings, role: Role) -> Result<Running> {
    if role == Role::Node {
        warn_of_reach(&settings.cgroups);
    }
    let (vips, vip_file) = open_vips(&settings, role)?;
    let (dataplane, events, denials) = load(&settings, role)?;
    let has_predecessor = lock(&dataplane).has_predecessor();
    let (facts_sender, facts) = mpsc::channel::<Fact>(FACTS);
    let clock = Clock::new();
    let (kept, recalled) = open_kept(&settings, role, clock);
    let mut registry = Registry::new(settings.node.clone(), settings.vip_ranges, vips);
    recall(&mut registry, recalled.learned, clock, &dataplane);
    registry.apply(Fact::Mesh(Box::new(settings.mesh.clone())));
    let directories = watch_directories(&settings, role, &facts_sender);
    let pulses = Arc::new(Pulses::default());
    pulses.follow(&directories);
    let (end, ended) = mpsc::channel(ENDS);
    let tenants = Tenants::new(&facts_sender, end.clone());
    let answers = relay("the resolver", facts_sender, end);
    let refresher = Arc::new(resolve(&settings, answers));

    let initial = State::initial(SystemTime::now(), monotonic(), settings.cgroups.clone());
    let (publisher, mut state) = watch::channel(Arc::new(initial));
    let (lessons, taught) = mpsc::channel(LESSONS);
    let (names, names_ended) = names::start(
        &settings.name_server,
        role,
        state.clone(),
        lessons.clone(),
        &dataplane,
        pulses.add("the name server"),
    )?;
    let names = Arc::new(names);
    let closing = Closing::new(settings.close_removed, settings.cgroups.clone())
        .with_pulse(pulses.add_patient("the search for sockets to close"));
    let ledger = Arc::new(Ledger::default());
    let hits = Arc::new(HitCounter::default());
    let resync = Resync::new();
    let control = Control {
        closed: closing.tally(),
        denials: Arc::clone(&ledger),
        hits: Arc::clone(&hits),
        drift: resync.desk(),
        names: Arc::clone(&names),
        state: state.clone(),
        dataplane: Arc::downgrade(&dataplane),
        refresher: Arc::clone(&refresher),
        directories: directories.iter().map(Directory::watch_status).collect(),
        vip_ranges: settings.vip_ranges,
    };
    let control = (role == Role::Node)
        .then(|| control.listen(&settings.socket, pulses.add("the control socket")))
        .transpose()?;
    let core = Core {
        settings,
        registry,
        vip_file,
        kept,
        dataplane,
        directories,
        refresher,
        publisher,
        startup: Startup::new(std::time::Instant::now(), has_predecessor),
        clock,
        watch: Watch::new(recalled.health),
        probes: Probes::new(),
        events,
        waiting: Waiting::default(),
        unsaved: false,
        closing,
        tenants,
        denials,
        ledger,
        hits,
        resync,
        pulse: pulses.add("the core"),
        pulses: Arc::clone(&pulses),
        ended,
    };
    let (stop, stopped) = oneshot::channel();
    let mut running = Running {
        stop,
        core: tokio::spawn(async move {
            let outcome = core.run(facts, taught, stopped).await;
            drop(control);
            outcome
        }),
        state: state.clone(),
        lessons,
        names,
        names_ended,
        pulses,
    };
    if state.wait_for(|state| state.ready).await.is_err() {
        // Nobody publishes any more: the core has ended, and says why.
        running.ended().await?;
    }
    Ok(running)
}

fn watch_directories(
    settings: &Settings,
    role: Role,
    facts: &mpsc::Sender<Fact>,
) -> Vec<Directory> {
    let memory = open_memory(settings, role);
    let directories = settings.config_dirs.iter();
    directories
        .map(|path| directory::watch(path.clone(), memory.clone(), facts.clone()))
        .collect()
}

fn resolve(settings: &Settings, answers: mpsc::Sender<Fact>) -> Refresher {
    let resolver = RefresherSettings {
        upstream: Upstream::new(&settings.resolvers),
        timing: Timing {
            refresh_rate: settings.mesh.dns_refresh_rate,
            ..Timing::default()
        },
    };
    Refresher::start(resolver, answers)
}

/// Loads the kernel programs, which attach to nothing yet; and what they tell.
fn load(
    settings: &Settings,
    role: Role,
) -> Result<(Arc<Mutex<Dataplane>>, Option<Events>, Denials)> {
    let mut dataplane = Dataplane::load(&LoadOptions {
        limits: settings.limits,
        bpf_dir: (role == Role::Node).then(|| settings.bpf_dir.clone()),
        keep: role == Role::Node && settings.on_exit == OnExit::Keep,
        trace: settings.bpf_log,
        sock_ops: settings.sock_ops,
        ..LoadOptions::default()
    })
    .context("loading the kernel programs")?;
    if dataplane.has_predecessor() {
        tracing::info!(
            "going on from what an earlier agent has left, which is in force until all is read"
        );
    }
    let events = dataplane.can_follow().then(|| dataplane.events());
    let events = events
        .transpose()
        .context("reading what the kernel tells")?;
    let denials = dataplane.denials();
    let denials = denials.context("reading what the kernel tells of denials")?;
    Ok((Arc::new(Mutex::new(dataplane)), events, denials))
}

/// What keeps the programs from sockets that one would expect them to run for.
fn warn_of_reach(cgroups: &[PathBuf]) {
    let checks = checks::reach(cgroups);
    for check in checks
        .iter()
        .filter(|check| check.state != checks::State::Ok)
    {
        tracing::warn!(remedy = %check.remedy, "{}", check.detail);
    }
}

fn open_vips(settings: &Settings, role: Role) -> Result<(VipTable, Option<VipFile>)> {
    match role {
        Role::Node => {
            let file = VipFile::open(&settings.state_dir)?;
            Ok((file.table(), Some(file)))
        }
        Role::Private => Ok((VipTable::default(), None)),
    }
}

/// What files held in earlier runs, which the agent starts without where it must.
fn open_memory(settings: &Settings, role: Role) -> Option<Arc<LastGood>> {
    if role != Role::Node {
        return None;
    }
    let memory = LastGood::open(&settings.state_dir);
    let report = |error| {
        tracing::error!(%error, "what files hold is not kept: those that are broken at the next start hold nothing");
    };
    memory.map_err(report).ok().map(Arc::new)
}

/// Takes in what an earlier agent knew, but for what has ended and is not in use.
fn recall(registry: &mut Registry, kept: LearnedEnds, clock: Clock, dataplane: &Mutex<Dataplane>) {
    registry.set_time(clock.now());
    registry.recall(kept);
    registry.expire(|| lock(dataplane).originals().collect());
}

/// What an earlier agent knew, and where to keep what the next one must know.
fn open_kept(settings: &Settings, role: Role, clock: Clock) -> (Option<Kept>, Recalled) {
    if role != Role::Node {
        return (None, Recalled::default());
    }
    match Kept::open(&settings.state_dir, clock) {
        Ok((kept, recalled)) => (Some(kept), recalled),
        Err(error) => {
            tracing::error!(%error, "what clients are told of names, and who is ejected, is not kept");
            (None, Recalled::default())
        }
    }
}
