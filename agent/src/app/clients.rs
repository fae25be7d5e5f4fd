//! How does the agent know its clients? Cgroups are watched once there are workloads, and what is around the agent is looked at
//! again and again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

use crate::compile::{Moved, settle};
use crate::dataplane::{client_word, mounts};
use crate::model::Fact;
use crate::observe::State;
use crate::sources::cgroups::{self, Cgroups};
use crate::sources::surroundings;

use super::core::Core;
use super::names::RESOLV_CONF;
use super::supervisor::relay;

/// Where cgroups are told, and the watch on them.
#[derive(Debug)]
pub(super) struct Tenants {
    /// Whoever waits for facts is to end when all other sources have.
    facts: mpsc::WeakSender<Fact>,
    /// Who is told when the watch ends.
    end: mpsc::Sender<&'static str>,
    watch: Option<Cgroups>,
}

impl Tenants {
    pub(super) fn new(facts: &mpsc::Sender<Fact>, end: mpsc::Sender<&'static str>) -> Self {
        Self {
            facts: facts.downgrade(),
            end,
            watch: None,
        }
    }
}

impl Core {
    /// Looks at what is around the agent. Returns whether that is different now.
    pub(super) fn look_around(&mut self) -> bool {
        let before = self.registry.surroundings();
        let found = surroundings::look(before, Path::new(RESOLV_CONF));
        self.registry.apply(Fact::Surroundings(found))
    }

    /// Whether anything depends on what is around the agent. There is always loopback.
    pub(super) fn has_exemptions(&self) -> bool {
        let state = self.publisher.borrow();
        !state.compiled.program.clients.exempt.is_empty()
    }

    /// Knows the cgroups from now on, if there are workloads to look for.
    pub(super) fn know_cgroups(&mut self) {
        if self.tenants.watch.is_some() || !self.registry.has_workloads() {
            return;
        }
        let Some(facts) = self.tenants.facts.upgrade() else {
            return;
        };
        let watch = mounts::cgroup2().map_err(anyhow::Error::from);
        let watch = watch.and_then(|mount| {
            let facts = || relay("the watch on cgroups", facts, self.tenants.end.clone());
            Ok(cgroups::watch(&mount, &self.settings.cgroups, facts)?)
        });
        match watch {
            Ok((watch, first)) => {
                self.registry.apply(Fact::Cgroups(first));
                self.tenants.watch = Some(watch);
            }
            Err(error) => tracing::error!(%error, "workloads are not known by their cgroups"),
        }
    }

    /// Says in the maps who the cgroups are of that have come, gone or changed. Returns whether a whole update must follow.
    pub(super) fn settle_cgroups(&mut self) -> bool {
        let start = Instant::now();
        let before = Arc::clone(&self.publisher.borrow());
        if before.generation == 0 {
            return true;
        }
        let Moved { compiled, changes } = settle(&before.compiled, self.registry.cgroups());
        let Some(changes) = changes else {
            return true;
        };
        let clients = &compiled.program.clients;
        let words = changes
            .iter()
            .map(|(cgroup, scope)| (*cgroup, scope.and_then(|scope| client_word(clients, scope))));
        let words: Vec<_> = words.collect();
        if !self.lock().place_clients(&words) {
            return true;
        }
        tracing::debug!(cgroups = words.len(), took = ?start.elapsed(), "cgroups have changed");
        self.publisher.send_replace(Arc::new(State {
            generation: before.generation + 1,
            compiled: Arc::new(compiled),
            updated: SystemTime::now(),
            took: start.elapsed(),
            ..State::clone(&before)
        }));
        false
    }
}
