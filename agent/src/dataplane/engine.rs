//! The engine: plans against what is live, carries the plan out on a store, and remembers what came of it.

mod adopt;
mod clients;
mod held;
mod ids;
mod resync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_common::abi::{Config, FrontendWord, UDP};

use crate::api::Diagnostic;
use crate::compile::{Destination, Frontend, Program, Service, ServiceKey};
use crate::dataplane::Limits;

use super::findings;
use super::inheritance::Inheritance;
use super::live::Live;
use super::names::Names;
use super::plan::{Allocators, Limit, Plan, Step, frontend_key, plan, plan_service};
use super::space::Space;
use super::store::{Map, MapFailure, Store};
use super::wanted::Wanted;

use held::Held;

pub(super) use resync::Pass;

/// What an update came to.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Changes that were made; 0 when the program says what the last one said.
    pub steps: usize,
    /// What does not fit or was refused. The rest is in effect, and what failed is tried again with the next update.
    pub diagnostics: Vec<Diagnostic>,
    pub took: Duration,
}

/// A data plane over any store.
#[derive(Debug)]
pub struct Engine<S> {
    pub(super) store: S,
    pub(super) live: Live,
    pub(super) names: Names,
    pub(super) space: Space,
    limits: Limits,
    /// What of CONFIG does not come of the program.
    pub(super) base: Config,
    /// Connects to endpoints that are gone, by the id of their service.
    pub(super) retired: BTreeMap<u32, u64>,
    /// Endpoints, and services that keep addresses, that are gone but for sockets that are still there, which count under their
    /// ids: those stay taken.
    lingering: BTreeSet<u32>,
    /// What another agent has left, until a program tells what it is.
    pub(super) inheritance: Option<Inheritance>,
    /// Groups that [`Self::replace`] has put others in the place of, and that readers may still hold.
    replaced: Vec<u32>,
    /// Programs that decide by other tables count under the same ids: none is given up.
    shares_ids: bool,
}

/// What went wrong with one service; without one, with what is known of the clients.
pub(super) type Failure = (Option<ServiceKey>, Cause);
pub(super) type Failures = BTreeSet<Failure>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Limit(Limit),
    Refused(String),
}

impl<S: Store> Engine<S> {
    /// An engine over empty tables.
    pub fn new(store: S, limits: &Limits) -> Self {
        let mut engine = Self::bare(store, limits);
        engine.live.config = engine.base;
        engine.store.set_config(&engine.base);
        engine
    }

    fn bare(store: S, limits: &Limits) -> Self {
        Self {
            store,
            live: Live::default(),
            names: Names::new(limits),
            space: Space::new(limits.cells),
            limits: *limits,
            base: Config::default(),
            retired: BTreeMap::new(),
            lingering: BTreeSet::new(),
            inheritance: None,
            replaced: Vec::new(),
            shares_ids: false,
        }
    }

    /// Exempts the sockets of this cgroup from now on; 0: of none.
    pub(super) fn exempt(&mut self, own_cgroup: u64) {
        self.set_base(|config| config.own_cgroup = own_cgroup);
    }

    /// Whether any cgroup is exempt.
    pub(super) fn exempts(&self) -> bool {
        self.base.own_cgroup != 0
    }

    /// Has the programs rely on it that connections are followed, or no longer.
    pub(super) fn rely_on_following(&mut self, is_following: bool) {
        self.set_base(|config| config.is_following = u32::from(is_following));
    }

    fn set_base(&mut self, change: impl Fn(&mut Config)) {
        change(&mut self.base);
        change(&mut self.live.config);
        self.store.set_config(&self.live.config);
    }

    pub fn tables(&self) -> &S {
        &self.store
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Ids of endpoints and services that some group had, and that sockets still count under.
    pub(super) fn lingering(&self) -> &BTreeSet<u32> {
        &self.lingering
    }

    /// Takes over what another agent has left, if nothing has been applied since; `program` tells what it is. Changes nothing.
    pub fn go_on(&mut self, program: &Program) {
        if let Some(inheritance) = self.inheritance.take() {
            self.settle(inheritance, program);
        }
    }

    /// Makes the tables hold what `program` says.
    pub fn apply(&mut self, program: &Program) -> Applied {
        let start = Instant::now();
        self.go_on(program);
        let wanted = Wanted::new(program);
        self.release_lingering();
        // Whatever is not wanted is released.
        self.replaced.clear();
        let mut failures = Failures::new();
        let mut steps = self.pass(&wanted, &mut failures);
        if failures
            .iter()
            .any(|(_, cause)| matches!(cause, Cause::Limit(_)))
        {
            // What the first pass freed may be room for what it could not place.
            let mut still = Failures::new();
            steps += self.pass(&wanted, &mut still);
            failures = still;
        }
        Applied {
            steps,
            diagnostics: findings::describe(program, &self.limits, &failures),
            took: start.elapsed(),
        }
    }

    /// Points further addresses at services whose groups are live, without a look at anything else. Returns whether all of
    /// them could be: if not, [`Self::apply`] must see to the rest.
    pub fn extend(&mut self, frontends: &[(Frontend, ServiceKey)]) -> bool {
        frontends.iter().all(|(frontend, service)| {
            let group = self.live.services.get(service).copied();
            // A CIDR has no short way: its id is the planner's to give.
            let key = frontend_key(frontend, |_| None);
            let (Some(group), Some(key)) = (group, key) else {
                return false;
            };
            let step = Step::SetFrontend {
                frontend: *frontend,
                key,
                group,
            };
            self.execute(step).is_ok()
        })
    }

    /// Publishes a service anew whose frontends stay as they are, without a look at anything else, and without waiting for
    /// readers: what it had before is kept until [`Self::release_replaced`]. Returns whether all of it is in effect: if not,
    /// [`Self::apply`] must see to the rest.
    pub fn replace(&mut self, key: &ServiceKey, service: &Arc<Service>) -> bool {
        let mut alloc = Allocators {
            names: &mut self.names,
            space: &mut self.space,
        };
        let Some(plan) = plan_service(&self.live, key, service, &mut alloc) else {
            return false;
        };
        let before = self.live.services.get(key).copied();
        let mut is_whole = plan.refused.is_empty();
        for step in plan.steps {
            is_whole &= self.execute(step).is_ok();
        }
        let after = self.live.services.get(key).copied();
        self.replaced.extend(before.filter(|_| before != after));
        is_whole
    }

    /// Frees what was replaced, when no reader can hold it any more.
    pub fn release_replaced(&mut self) {
        // Without a grace period they stay for the next time.
        if self.replaced.is_empty() || self.execute(Step::Grace).is_err() {
            return;
        }
        for group in std::mem::take(&mut self.replaced) {
            // Releasing has nothing that the kernel could refuse.
            self.execute(Step::ReleaseGroup(group)).ok();
        }
    }

    pub(super) fn pass(&mut self, wanted: &Wanted<'_>, failures: &mut Failures) -> usize {
        let mut alloc = Allocators {
            names: &mut self.names,
            space: &mut self.space,
        };
        let Plan { steps, refused } = plan(&self.live, wanted, &self.base, &mut alloc);
        failures.extend(
            refused
                .into_iter()
                .map(|(service, limit)| (Some(service), Cause::Limit(limit))),
        );
        let (mut done, mut held) = (0, Held::default());
        for step in steps {
            if held.stops(&step) {
                break;
            }
            let destination = step.destination();
            if let Some(destination) = destination.filter(|at| held.holds(*at)) {
                held.hold(destination);
                continue;
            }
            match self.execute(step) {
                Ok(changes) => done += changes,
                Err(Halt::Skip(failed)) => {
                    let mut causes = failed.iter().map(|(_, cause)| cause);
                    if causes.any(|cause| matches!(cause, Cause::Refused(_)))
                        && let Some(destination) = destination
                    {
                        held.hold(destination);
                    }
                    failures.extend(failed);
                }
                // Nothing may be removed or reused; the next update plans that again.
                Err(Halt::Stop(failed)) => {
                    failures.extend(failed);
                    break;
                }
            }
        }
        done
    }

    /// Carries one step out, and records it. Returns how many changes it was: 0 or 1.
    pub(super) fn execute(&mut self, step: Step) -> Result<usize, Halt> {
        match step {
            Step::WriteGroup {
                group,
                cells,
                fresh,
            } => {
                self.store.write_cells(group.run.first, &cells);
                self.live
                    .services
                    .insert(group.service.clone(), group.run.first);
                // Before anything counts under them.
                for id in fresh.into_iter().chain([group.service_id]) {
                    self.identify(id);
                }
                self.live.groups.insert(group.run.first, group);
            }
            Step::SetFrontend {
                frontend,
                key,
                group,
            } => {
                let word = FrontendWord::new(&key, group);
                if let Err(failure) = self.store.frontends().set(&key, word) {
                    return Err(self.failed_frontend(group, failure));
                }
                self.live.point(frontend, group);
            }
            Step::SetPrefix { net, key, id } => {
                if let Err(failure) = self.store.prefixes().set(&key, id) {
                    return Err(self.failed_prefix(net, &failure));
                }
                self.live.prefixes.insert(net, id);
            }
            Step::SetConfig(config) => {
                self.store.set_config(&config);
                let clients = |config: &Config| (config.levels, config.client);
                self.live.is_settling |= clients(&config) != clients(&self.live.config);
                self.live.config = config;
            }
            Step::Client(step) => self.execute_client(step)?,
            Step::RemovePrefix { net, key } => {
                if let Err(failure) = self.store.prefixes().remove(&key) {
                    return Err(self.failed_prefix(net, &failure));
                }
                self.live.prefixes.remove(&net);
            }
            Step::RemoveFrontend { frontend, key } => {
                if let Err(failure) = self.store.frontends().remove(&key) {
                    let group = self.live.frontends[&frontend];
                    return Err(self.failed_frontend(group, failure));
                }
                self.live.unpoint(&frontend);
            }
            Step::Grace => {
                if let Err(error) = self.store.wait_for_readers() {
                    let cause =
                        format!("what was replaced stays, as there is no grace period: {error}");
                    return Err(Halt::Stop(vec![(None, Cause::Refused(cause))]));
                }
                self.live.is_settling = false;
                return Ok(0);
            }
            Step::ReleaseGroup(first) => {
                if let Some(group) = self.live.forget_group(first) {
                    self.identify(group.service_id);
                    self.release(&group);
                }
                return Ok(0);
            }
            Step::ReleasePrefix(net) => {
                self.release_prefix(net);
                return Ok(0);
            }
        }
        Ok(1)
    }

    fn release_prefix(&mut self, net: ipnet::IpNet) {
        let at = |port, transport, scope| Frontend {
            destination: Destination::Prefix(net),
            port,
            transport,
            scope,
        };
        let frontends = at(0, 0, 0)..=at(u16::MAX, UDP, u32::MAX);
        let is_used = self.live.prefixes.contains_key(&net)
            || self.live.frontends.range(frontends).next().is_some();
        if !is_used && let Some(id) = self.names.prefixes.get(&net) {
            self.names.release_prefix(id);
        }
    }

    fn failed_frontend(&self, group: u32, failure: MapFailure) -> Halt {
        let service = self.live.groups[&group].service.clone();
        let cause = match failure {
            MapFailure::Full => Cause::Limit(Limit::Frontends),
            MapFailure::Io(error) => Cause::Refused(error.to_string()),
        };
        Halt::Skip(vec![(Some(service), cause)])
    }

    /// Every service that has a frontend in the CIDR is concerned.
    fn failed_prefix(&self, net: ipnet::IpNet, failure: &MapFailure) -> Halt {
        let cause = match failure {
            MapFailure::Full => Cause::Limit(Limit::Prefixes),
            MapFailure::Io(error) => Cause::Refused(error.to_string()),
        };
        let of_net = self.live.frontends.iter().filter(|(frontend, _)| {
            matches!(frontend.destination, Destination::Prefix(other) if other == net)
        });
        let services = of_net.map(|(_, group)| self.live.groups[group].service.clone());
        Halt::Skip(
            services
                .map(|service| (Some(service), cause.clone()))
                .collect(),
        )
    }
}

/// Why a step was not carried out.
pub(super) enum Halt {
    /// It stays pending; the others go on.
    Skip(Vec<Failure>),
    /// What follows depends on it.
    Stop(Vec<Failure>),
}
