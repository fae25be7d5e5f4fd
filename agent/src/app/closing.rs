//! When are sockets closed that were redirected? When the endpoint that they are connected to is removed, and when they
//! outlive the limits of their service. One search at a time, on a thread that nobody waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent_common::abi::{TCP, UDP};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::compile::{Program, ServiceKey};
use crate::dataplane::Dataplane;
use crate::dataplane::closing::{self, CloseRule, Leftover, Outcome, Target};
use crate::observe::view::ClosedView;
use crate::settings::CloseRemoved;

use super::control::lock;
use super::supervisor::Pulse;

/// How often a socket is looked for: it may be on record a moment before it is connected.
const TRIES: u8 = 3;
/// Between two searches for what outlives its limits.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Chooses, searches and counts. Dropping it ends the search that is under way.
pub struct Closing {
    policy: CloseRemoved,
    cgroups: Vec<PathBuf>,
    tally: Arc<Tally>,
    is_due: bool,
    of_removed: Tries,
    of_expired: Tries,
    search: Option<Search>,
    /// The kernel cannot, which has been said.
    is_impossible: bool,
    /// Not everywhere, for want of rights, which has been said.
    is_out_of_reach: bool,
    swept: Option<Instant>,
    stop: Arc<AtomicBool>,
    /// Of the search that is under way.
    pulse: Arc<Pulse>,
}

/// How many sockets were closed.
#[derive(Debug, Default)]
pub struct Tally {
    udp: AtomicU64,
    tcp: AtomicU64,
}

impl Tally {
    pub fn view(&self) -> ClosedView {
        ClosedView {
            udp: self.udp.load(Ordering::Relaxed),
            tcp: self.tcp.load(Ordering::Relaxed),
        }
    }
}

struct Search {
    of: Sought,
    outcome: oneshot::Receiver<Outcome>,
}

enum Sought {
    Removed(Vec<Leftover>),
    Expired(Vec<Target>),
}

/// One connect of one socket: its cookie, and when it was.
type Connect = (u64, u64);

/// How often each connect was looked for: its record stays until the client closes the socket.
#[derive(Default)]
struct Tries(BTreeMap<Connect, u8>);

impl Tries {
    /// Leaves those in `found` that are worth another try, and forgets what is on record no more.
    fn choose<T>(&mut self, found: &mut Vec<T>, target: impl Fn(&T) -> &Target) {
        let before = mem::take(&mut self.0);
        found.retain(|item| {
            let connect = connect(target(item));
            let tries = before.get(&connect).copied().unwrap_or(0);
            self.0.insert(connect, tries);
            tries < TRIES
        });
    }

    fn end(&mut self, target: &Target) {
        self.0.insert(connect(target), TRIES);
    }

    /// Returns whether another try is left.
    fn miss(&mut self, target: &Target) -> bool {
        let tries = self.0.entry(connect(target)).or_default();
        *tries = tries.saturating_add(1);
        *tries < TRIES
    }
}

fn connect(target: &Target) -> Connect {
    (target.cookie, target.since)
}

impl Closing {
    /// `cgroups` are those that programs are attached to.
    pub fn new(policy: CloseRemoved, cgroups: Vec<PathBuf>) -> Self {
        Self {
            policy,
            cgroups,
            tally: Arc::default(),
            is_due: false,
            of_removed: Tries::default(),
            of_expired: Tries::default(),
            search: None,
            is_impossible: false,
            is_out_of_reach: false,
            swept: None,
            stop: Arc::default(),
            pulse: Arc::default(),
        }
    }

    /// Has searches show by `pulse` that they come to an end.
    pub(super) fn with_pulse(mut self, pulse: Arc<Pulse>) -> Self {
        pulse.rest();
        self.pulse = pulse;
        self
    }

    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// After an update: endpoints may have been removed.
    pub fn look_again(&mut self) {
        self.is_due = self.policy != CloseRemoved::None;
    }

    /// Notes what the last search came to, and begins the next one if there is something to look for. Must be called within
    /// a Tokio runtime, and now and then.
    pub fn go_on(&mut self, dataplane: &Mutex<Dataplane>, program: &Program) {
        self.collect();
        if !self.is_due || self.search.is_some() || self.is_impossible {
            return;
        }
        self.is_due = false;
        let mut found = lock(dataplane).leftovers(program);
        found
            .retain(|leftover| self.policy == CloseRemoved::All || leftover.target.protocol == UDP);
        self.of_removed
            .choose(&mut found, |leftover| &leftover.target);
        if !found.is_empty() {
            self.begin(Sought::Removed(found));
        }
    }

    /// Closes what has been connected, or idle, for longer than `rules` allow: one search a second at most, and none where
    /// no socket can be beyond a limit. As [`Self::go_on`] otherwise.
    pub fn close_where(&mut self, dataplane: &Mutex<Dataplane>, rules: &[CloseRule]) {
        self.collect();
        let is_early = self.swept.is_some_and(|at| at.elapsed() < SWEEP_INTERVAL);
        if rules.is_empty() || is_early || self.search.is_some() || self.is_impossible {
            return;
        }
        let expired = lock(dataplane).expired(rules);
        let mut found = expired.unwrap_or_else(|error| {
            tracing::warn!(%error, "the age of connections cannot be told");
            Vec::new()
        });
        self.of_expired.choose(&mut found, |target| target);
        if !found.is_empty() {
            self.swept = Some(Instant::now());
            self.begin(Sought::Expired(found));
        }
    }

    fn begin(&mut self, of: Sought) {
        let targets: Vec<Target> = match &of {
            Sought::Removed(leftovers) => leftovers.iter().map(|l| l.target).collect(),
            Sought::Expired(targets) => targets.clone(),
        };
        let (cgroups, stop) = (self.cgroups.clone(), Arc::clone(&self.stop));
        let (done, outcome) = oneshot::channel();
        self.pulse.beat();
        tokio::task::spawn_blocking(move || {
            // Nobody hears of it when the agent has ended.
            let _ = done.send(closing::close(&targets, &cgroups, &stop));
        });
        self.search = Some(Search { of, outcome });
    }

    /// Takes the outcome of a search that has ended.
    fn collect(&mut self) {
        let Some(mut search) = self.search.take() else {
            return;
        };
        let outcome = match search.outcome.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => {
                self.search = Some(search);
                return;
            }
            Err(TryRecvError::Closed) => {
                tracing::error!("the search for sockets to close failed");
                Outcome::default()
            }
        };
        self.pulse.rest();
        if outcome.is_impossible && !mem::replace(&mut self.is_impossible, true) {
            tracing::warn!(
                "this kernel cannot close sockets (CONFIG_INET_DIAG_DESTROY): those of removed endpoints stay open"
            );
        }
        if outcome.is_out_of_reach && !mem::replace(&mut self.is_out_of_reach, true) {
            tracing::warn!(
                "sockets in other network namespaces are not closed: start with --enter-namespaces, and with CAP_SYS_ADMIN and \
                 CAP_SYS_PTRACE"
            );
        }
        match search.of {
            Sought::Removed(leftovers) => self.note_removed(&leftovers, &outcome.closed),
            Sought::Expired(targets) => self.note_expired(&targets, &outcome.closed),
        }
    }

    fn note_removed(&mut self, leftovers: &[Leftover], closed: &BTreeSet<u64>) {
        let mut counts: BTreeMap<(&ServiceKey, (IpAddr, u16)), u64> = BTreeMap::new();
        for leftover in leftovers {
            let target = &leftover.target;
            if closed.contains(&target.cookie) {
                self.of_removed.end(target);
                self.count(target);
                let place = (&leftover.service, leftover.endpoint);
                *counts.entry(place).or_default() += 1;
            } else {
                self.is_due |= self.of_removed.miss(target);
            }
        }
        for ((service, (address, port)), sockets) in counts {
            tracing::info!(%service, %address, port, sockets, "closed sockets of a removed endpoint");
        }
    }

    fn note_expired(&mut self, targets: &[Target], closed: &BTreeSet<u64>) {
        let ended = targets.iter().filter(|t| closed.contains(&t.cookie));
        let ended: Vec<&Target> = ended.collect();
        for target in &ended {
            self.of_expired.end(target);
            self.count(target);
        }
        if !ended.is_empty() {
            let sockets = ended.len();
            tracing::info!(
                sockets,
                "closed sockets that outlived the limits of their services"
            );
        }
    }

    fn count(&self, target: &Target) {
        let count = if target.protocol == TCP {
            &self.tally.tcp
        } else {
            &self.tally.udp
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use agent_common::abi::{Address, Port};

    use super::*;

    fn target(cookie: u64, since: u64) -> Target {
        Target {
            cookie,
            protocol: UDP,
            remote: (Address::default(), Port::default()),
            since,
            idle: None,
        }
    }

    fn chosen(tries: &mut Tries, found: &[Target]) -> Vec<u64> {
        let mut found = found.to_vec();
        tries.choose(&mut found, |target| target);
        found.iter().map(|target| target.cookie).collect()
    }

    #[test]
    fn a_connect_is_looked_for_until_it_has_ended_or_was_missed_too_often() {
        let mut tries = Tries::default();
        let [ended, missed] = [target(1, 10), target(2, 10)];
        assert_eq!(chosen(&mut tries, &[ended, missed]), [1, 2]);
        tries.end(&ended);
        for _ in 1..TRIES {
            assert!(tries.miss(&missed));
            assert_eq!(chosen(&mut tries, &[ended, missed]), [2]);
        }
        assert!(!tries.miss(&missed));
        assert_eq!(chosen(&mut tries, &[ended, missed]), [0u64; 0]);
    }

    #[test]
    fn a_kernel_that_cannot_is_not_asked_again() {
        let mut closing = Closing::new(CloseRemoved::All, Vec::new());
        let (done, outcome) = oneshot::channel();
        let of = Sought::Expired(vec![target(1, 10)]);
        closing.search = Some(Search { of, outcome });
        closing.collect();
        assert!(closing.search.is_some(), "it has not ended");

        let impossible = Outcome {
            is_impossible: true,
            ..Outcome::default()
        };
        assert_eq!(done.send(impossible), Ok(()));
        closing.collect();

        assert!(closing.search.is_none() && closing.is_impossible);
        assert_eq!(closing.tally().view(), ClosedView::default());
    }

    #[test]
    fn a_later_connect_of_a_socket_is_another() {
        let mut tries = Tries::default();
        let first = target(1, 10);
        assert_eq!(chosen(&mut tries, &[first]), [1]);
        tries.end(&first);
        assert_eq!(chosen(&mut tries, &[target(1, 11)]), [1]);
        assert_eq!(tries.0.len(), 1);
    }
}
