//! How does the health of endpoints reach the maps? Whatever changes about one service is published by itself, at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agent_common::abi::Event;

use crate::compile::{Compiled, Policy, Program, ServiceKey};
use crate::dataplane::Events;
use crate::dataplane::closing::CloseRule;
use crate::health::{Failure, KeptHealth, Monitor, Place, Records};
use crate::model::Fact;
use crate::observe::State;

use super::clock::monotonic;
use super::core::Core;

/// What is watched about endpoints and their connections, as of the last publication.
#[derive(Debug)]
pub(super) struct Watch {
    monitor: Monitor,
    /// Services whose connections may last only so long.
    limited: Vec<Limited>,
    /// Whether any policy depends on what becomes of connects.
    needs_outcomes: bool,
}

#[derive(Debug)]
struct Limited {
    service: ServiceKey,
    max_age: Option<Duration>,
    max_idle: Option<Duration>,
}

impl Watch {
    /// Goes on from what an earlier agent knew.
    pub(super) fn new(recalled: KeptHealth) -> Self {
        Self {
            monitor: Monitor::recalling(recalled),
            limited: Vec::new(),
            needs_outcomes: false,
        }
    }

    pub(super) fn records(&self) -> Records {
        self.monitor.records()
    }

    /// What the next agent must know that is not kept yet.
    pub(super) fn take_changes(&mut self) -> KeptHealth {
        self.monitor.take_changes()
    }

    /// What an earlier agent knew of, and is not there by now, is forgotten.
    pub(super) fn settle(&mut self) {
        self.monitor.settle(monotonic());
    }
}

impl Core {
    /// Watches what was compiled from now on, and gives it with what is known of health by then.
    pub(super) fn watch(&mut self, mut compiled: Compiled) -> Compiled {
        let now = monotonic();
        let news = self.watch.monitor.watch(&compiled.program, now);
        self.probes.watch(&compiled.program);
        self.watch.limited = limited(&compiled.program);
        self.watch.needs_outcomes = needs_outcomes(&compiled.program);
        for fact in news {
            if let Fact::Vitals { service, vitals } = &fact
                && let Some((examined, _)) = compiled.with_vitals(service, vitals)
            {
                compiled = examined;
            }
            self.registry.apply(fact);
        }
        compiled
    }

    /// Lets time pass for ejections, warm-ups, and connections that may last only so long. Returns whether a whole update
    /// must follow.
    pub(super) fn watch_on(&mut self) -> bool {
        let news = self.watch.monitor.tick(monotonic());
        self.lock().release_replaced();
        let rules = self.close_rules();
        self.closing.close_where(&self.dataplane, &rules);
        self.take_news(news)
    }

    /// Takes in what the kernel told of connects that failed. Returns whether a whole update must follow.
    pub(super) fn hear(&mut self, events: &[Event]) -> bool {
        let now = monotonic();
        let places: Vec<Option<(ServiceKey, SocketAddr)>> = {
            let dataplane = self.lock();
            events.iter().map(|event| dataplane.place(event)).collect()
        };
        let monitor = &mut self.watch.monitor;
        let mut news = Vec::new();
        for (event, place) in events.iter().zip(places) {
            if let Some((service, at)) = place {
                let failure = failure(event.errno);
                news.extend(monitor.failed(&service, at, failure, event.in_a_row, now));
            }
        }
        self.take_news(news)
    }

    /// Takes in what probes have shown. Returns whether a whole update must follow.
    pub(super) fn judge(&mut self, shown: Vec<(Place, Result<(), Failure>)>) -> bool {
        let now = monotonic();
        let mut news = Vec::new();
        for (Place { service, at }, result) in shown {
            news.extend(self.watch.monitor.probed(&service, at, result, now));
        }
        self.take_news(news)
    }

    /// Has the kernel follow what becomes of connects, where anything depends on it.
    pub(super) fn follow(&self) {
        let followed = self.lock().follow(self.watch.needs_outcomes);
        if let Err(error) = followed {
            tracing::error!(%error, "connects are not followed: no endpoint is ejected, and no connectTimeout holds");
        }
    }

    /// Publishes the services that `news` are of. Returns whether a whole update must follow.
    fn take_news(&mut self, news: Vec<Fact>) -> bool {
        let mut is_whole = true;
        self.keep();
        for fact in news {
            let start = Instant::now();
            if let Fact::Vitals { service, vitals } = &fact {
                let before = Arc::clone(&self.publisher.borrow());
                let Some((compiled, changed)) = before.compiled.with_vitals(service, vitals) else {
                    continue;
                };
                is_whole &= self.lock().replace(service, &changed);
                tracing::info!(
                    host = %service.host,
                    port = service.port,
                    unhealthy = vitals.values().filter(|vital| !vital.is_healthy()).count(),
                    endpoints = changed.endpoints.len(),
                    took = ?start.elapsed(),
                    "health has changed"
                );
                let records = self.watch.monitor.records_of(service);
                self.publisher.send_replace(Arc::new(State {
                    generation: before.generation + 1,
                    compiled: Arc::new(compiled),
                    ejections: before.ejections.update(service.clone(), records),
                    updated: SystemTime::now(),
                    took: start.elapsed(),
                    ..State::clone(&before)
                }));
            }
            self.registry.apply(fact);
        }
        !is_whole
    }

    fn close_rules(&self) -> Vec<CloseRule> {
        if self.watch.limited.is_empty() {
            return Vec::new();
        }
        let dataplane = self.lock();
        let rule = |limited: &Limited| {
            Some(CloseRule {
                service: dataplane.names().service_id(&limited.service)?,
                max_age: limited.max_age,
                max_idle: limited.max_idle,
            })
        };
        self.watch.limited.iter().filter_map(rule).collect()
    }
}

/// The next failed connects, of which there are none where nobody tells of them.
pub(super) async fn next(events: &mut Option<Events>) -> io::Result<Vec<Event>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

fn failure(errno: u32) -> Failure {
    match i32::try_from(errno) {
        Ok(libc::ECONNREFUSED | libc::ECONNRESET) => Failure::Refused,
        Ok(libc::ETIMEDOUT) => Failure::TimedOut,
        _ => Failure::Unreachable,
    }
}

/// Whether endpoints are ejected when connects fail, or a timeout that is set for a connect must be taken back after it.
fn needs_outcomes(program: &Program) -> bool {
    let mut clusters = program
        .services
        .values()
        .flat_map(|service| &service.clusters);
    clusters.any(|cluster| {
        let policy = &cluster.policy;
        policy.outlier_detection.is_some() || policy.connection_pool.connect_timeout.is_some()
    })
}

/// The services whose first cluster limits how long connections last.
fn limited(program: &Program) -> Vec<Limited> {
    let limit = |policy: &Policy| {
        let pool = &policy.connection_pool;
        let max_idle = pool.idle_timeout.filter(|idle| !idle.is_zero());
        let max_age = pool.max_connection_duration;
        (max_age.is_some() || max_idle.is_some()).then_some((max_age, max_idle))
    };
    let services = program.services.iter().filter_map(|(key, service)| {
        let (max_age, max_idle) = limit(&service.clusters.first()?.policy)?;
        Some(Limited {
            service: key.clone(),
            max_age,
            max_idle,
        })
    });
    services.collect()
}
