//! What was promised, what became of it, and what broke: the one record that everybody writes to.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tests::history::History;
use tests::sockets::{Run, Transport, nanoseconds};

use crate::scene::{Scene, Service, Target};

/// Of what broke, so much is told.
const TOLD: usize = 20;

/// A promise that was broken.
#[derive(Debug)]
pub(crate) struct Breach {
    at: Duration,
    /// What was going on.
    during: String,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, during, what } = self;
        write!(f, "at {:.3} s, during {during:?}: {what}", at.as_secs_f64())
    }
}

/// How often it was so.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// To an endpoint that was valid.
    pub(crate) connects: AtomicU64,
    /// Connects that failed as they had to.
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) misdirected: AtomicU64,
    /// Connects to what is denied.
    pub(crate) let_through: AtomicU64,
    /// Sockets that were looked at while they were open.
    pub(crate) looks: AtomicU64,
    pub(crate) broken: AtomicU64,
    /// To agents, by commands.
    pub(crate) questions: AtomicU64,
}

pub(crate) fn increase(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Debug)]
pub(crate) struct Ledger {
    start: Instant,
    is_over: AtomicBool,
    targets: Vec<Target>,
    histories: RwLock<Vec<History>>,
    pub(crate) counts: Counts,
    doing: Mutex<String>,
    breaches: Mutex<(usize, Vec<Breach>)>,
    /// Actions by name.
    actions: Mutex<BTreeMap<&'static str, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new(scene: &Scene) -> Self {
        let targets = Target::all();
        let mut histories: Vec<History> = targets.iter().map(|_| History::default()).collect();
        for (history, target) in histories.iter_mut().zip(&targets) {
            history.begin(scene.valid(*target));
        }
        Self {
            start: Instant::now(),
            is_over: AtomicBool::new(false),
            targets,
            histories: RwLock::new(histories),
            counts: Counts::default(),
            doing: Mutex::default(),
            breaches: Mutex::default(),
            actions: Mutex::default(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// By their number in a [`Run`].
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What is valid from now on for a service may be in force at any time.
    pub(crate) fn begin(&self, service: Service, scene: &Scene) {
        let mut histories = self
            .histories
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for (history, target) in histories.iter_mut().zip(&self.targets) {
            if target.service == service {
                history.begin(scene.valid(*target));
            }
        }
    }

    /// What may not be in force yet.
    pub(crate) fn pending(&self) -> Vec<Target> {
        let histories = self
            .histories
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let pending = histories.iter().zip(&self.targets);
        pending
            .filter(|(history, _)| history.pending().is_some())
            .map(|(_, target)| *target)
            .collect()
    }

    /// All that is valid is in force.
    pub(crate) fn settle(&self) {
        let mut histories = self
            .histories
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        histories.iter_mut().for_each(History::settle);
    }

    /// Holds a connect against what was valid. `may_refuse`: the server of an endpoint is down.
    pub(crate) fn judge(&self, run: &Run, may_refuse: bool) {
        let target = self.targets[run.to];
        let is_valid = {
            let histories = self
                .histories
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            histories[run.to].allows(run)
        };
        let is_refusal = may_refuse
            && target.service == Service::Flaky
            && run.reached == Err(libc::ECONNREFUSED);
        // Its endpoint is gone, and the agent has closed it before it was asked.
        let is_closed = target.transport == Transport::Udp
            && run.reached.is_ok_and(|reached| reached.is_unspecified());
        let counts = &self.counts;
        let (counter, what) = match run.reached {
            Ok(_) if is_closed => (&counts.connects, None),
            Ok(reached) if is_valid => {
                let peer = run.peer.filter(|peer| *peer != target.vip());
                if let Some(peer) = peer {
                    increase(&counts.broken);
                    self.breach(format!(
                        "{target} is reached at {reached}, and called {peer}"
                    ));
                }
                (&counts.connects, None)
            }
            Err(_) if is_valid || is_refusal => (&counts.refused, None),
            Ok(reached) if matches!(target.service, Service::Denied | Service::Judged) => {
                (&counts.let_through, Some(format!("reached {reached}")))
            }
            Ok(reached) => (&counts.misdirected, Some(format!("reached {reached}"))),
            Err(errno) => (&counts.failed, Some(format!("failed with {errno}"))),
        };
        increase(counter);
        if let Some(what) = what {
            let took = Duration::from_nanos(run.end - run.start);
            let ago = Duration::from_nanos(nanoseconds() - run.end);
            self.breach(format!(
                "a connect to {target}, which took {took:?} and ended {ago:?} ago, {what}"
            ));
        }
    }

    pub(crate) fn breach(&self, what: impl Into<String>) {
        let breach = Breach {
            at: self.elapsed(),
            during: lock(&self.doing).clone(),
            what: what.into(),
        };
        let mut breaches = lock(&self.breaches);
        breaches.0 += 1;
        if breaches.1.len() < TOLD {
            eprintln!("broken: {breach}");
            breaches.1.push(breach);
        }
    }

    /// How much broke, and the first of it.
    pub(crate) fn with_breaches<T>(&self, tell: impl FnOnce(usize, &[Breach]) -> T) -> T {
        let breaches = lock(&self.breaches);
        tell(breaches.0, &breaches.1)
    }

    /// Says what the action does now.
    pub(crate) fn doing(&self, what: &str) {
        let mut doing = lock(&self.doing);
        doing.push_str(", ");
        doing.push_str(what);
    }

    /// An action begins.
    pub(crate) fn begin_action(&self, name: &'static str) {
        *lock(&self.actions).entry(name).or_default() += 1;
        name.clone_into(&mut lock(&self.doing));
    }

    /// It is over. Returns what it did.
    pub(crate) fn end_action(&self) -> String {
        mem::replace(&mut lock(&self.doing), "nothing".to_owned())
    }

    pub(crate) fn actions(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.actions).clone()
    }
}
