//! Which endpoints are due for a probe, and when? Those that clients have not connected to for a whole interval.
//!
//! Each endpoint has its own moment within the interval, and no more than a few probes are under way at once, so that neither
//! the node nor the endpoints see them in bursts.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use agent_common::abi::EndpointState;

use crate::compile::{Endpoint, Program, Service, ServiceKey};

/// Probes that may be under way at once.
const MOST: usize = 64;

/// An endpoint of a service. One that several services share is probed for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub service: ServiceKey,
    pub at: SocketAddr,
}

/// A connect to be made, to see whether it succeeds in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub place: Place,
    pub timeout: Duration,
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// They are under way until [`Schedule::ended`] is told.
    pub probes: Vec<Probe>,
    /// Clients' own connects have succeeded there, which is as good as a probe that did.
    pub answered: Vec<Place>,
}

/// When each endpoint is looked at next. Times are since the schedule's start.
#[derive(Debug)]
pub struct Schedule {
    seed: u64,
    targets: BTreeMap<Place, Target>,
    /// Every target, by when it is due.
    queue: BTreeSet<(Duration, Place)>,
    under_way: usize,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    interval: Duration,
    timeout: Duration,
    due: Duration,
    /// What clients' connects had come to when it was looked at last.
    ends: Option<Ends>,
    under_way: bool,
}

/// Connects that came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    succeeded: u32,
    failed: u32,
}

enum Seen {
    /// Nobody connected, or nobody counts it.
    Nothing,
    Success,
    /// Only what the kernel tells by itself, or it is the first look.
    Other,
}

impl Schedule {
    /// `seed` is a random number: agents that are told the same at once do not probe at once.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            targets: BTreeMap::new(),
            queue: BTreeSet::new(),
            under_way: 0,
        }
    }

    /// Looks at the endpoints that `program` says from now on. Those that it said before keep their moments.
    pub fn watch(&mut self, program: &Program, now: Duration) {
        let known = mem::take(&mut self.targets);
        for (key, service) in program.services.iter().filter(|(_, s)| is_probed(s)) {
            for endpoint in &service.endpoints {
                let Some(interval) = interval(service, endpoint) else {
                    continue;
                };
                let place = Place {
                    service: key.clone(),
                    at: SocketAddr::new(endpoint.address, endpoint.port),
                };
                let before = known.get(&place).filter(|t| t.interval == interval);
                let target = Target {
                    timeout: timeout(service, endpoint, interval),
                    ..before.copied().unwrap_or_else(|| Target {
                        interval,
                        timeout: interval,
                        due: now + self.moment(&place, interval),
                        ends: None,
                        under_way: false,
                    })
                };
                self.targets.insert(place, target);
            }
        }
        let queued = self.targets.iter().map(|(place, t)| (t.due, place.clone()));
        self.queue = queued.collect();
    }

    /// When there is something to do next: since the start, and maybe in the past. `None` while no further probe may begin.
    pub fn next(&self) -> Option<Duration> {
        let (due, _) = self.queue.first()?;
        (self.under_way < MOST).then_some(*due)
    }

    /// Looks at the endpoints that are due. `state` is what the kernel counted at an endpoint, where it counts.
    pub fn turn(&mut self, now: Duration, state: impl Fn(&Place) -> Option<EndpointState>) -> Turn {
        let mut turn = Turn::default();
        while self.next().is_some_and(|due| due <= now)
            && let Some((due, place)) = self.queue.pop_first()
            && let Some(target) = self.targets.get_mut(&place)
        {
            target.due = after(due, target.interval, now);
            self.queue.insert((target.due, place.clone()));
            match target.look(state(&place)) {
                Seen::Success => turn.answered.push(place),
                Seen::Nothing if !target.under_way => {
                    target.under_way = true;
                    self.under_way += 1;
                    turn.probes.push(Probe {
                        place,
                        timeout: target.timeout,
                    });
                }
                Seen::Nothing | Seen::Other => {}
            }
        }
        turn
    }

    /// A probe is under way no longer.
    pub fn ended(&mut self, place: &Place) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(target) = self.targets.get_mut(place) {
            target.under_way = false;
        }
    }

    /// When in an interval the endpoint is looked at.
    fn moment(&self, place: &Place, interval: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self.seed, place).hash(&mut hasher);
        let part = u32::try_from(hasher.finish() >> 32).expect("32 bits are left");
        interval.mul_f64(f64::from(part) / f64::from(u32::MAX))
    }
}

impl Target {
    /// What clients have been seen to do since the last look.
    fn look(&mut self, state: Option<EndpointState>) -> Seen {
        let ends = state.map(|state| Ends {
            succeeded: state.succeeded,
            failed: state.refused.wrapping_add(state.timed_out),
        });
        match (mem::replace(&mut self.ends, ends), ends) {
            (_, None) => Seen::Nothing,
            (Some(before), Some(ends)) if before == ends => Seen::Nothing,
            (Some(before), Some(ends)) if before.succeeded != ends.succeeded => Seen::Success,
            (_, Some(_)) => Seen::Other,
        }
    }
}

/// The next moment; what was missed is not made up for.
fn after(due: Duration, interval: Duration, now: Duration) -> Duration {
    let next = due + interval;
    if next > now { next } else { now + interval }
}

fn is_probed(service: &Service) -> bool {
    service.clusters.iter().any(|c| c.probe_interval.is_some())
}

/// How often an endpoint is probed. `None` for never, as also where it gets no connects whatever is known of it.
pub(super) fn interval(service: &Service, endpoint: &Endpoint) -> Option<Duration> {
    let is_in_use = endpoint.weight > 0 && !endpoint.failing;
    let cluster = service.clusters.get(endpoint.cluster as usize)?;
    cluster.probe_interval.filter(|_| is_in_use)
}

/// A client's connect would be given that long; but one probe ends before the next begins.
fn timeout(service: &Service, endpoint: &Endpoint, interval: Duration) -> Duration {
    let cluster = service.clusters.get(endpoint.cluster as usize);
    let timeout = cluster.and_then(|c| c.policy.connection_pool.connect_timeout);
    timeout.map_or(interval, |timeout| timeout.min(interval))
}
