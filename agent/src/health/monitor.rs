//! The one owner of what is known of endpoints' health: which services are watched, what failed, and what follows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{OutlierDetection, Warmup};
use crate::compile::{Policy, Program, Service, ServiceKey};
use crate::model::{Fact, ServiceVitals, Vital};

use super::ejection::Ejection;
use super::kept::{KeptEndpoint, KeptHealth, KeptService};
use super::row::Row;
use super::{probes, warmup};

/// How a connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    Refused,
    TimedOut,
    Unreachable,
}

/// What is remembered of an endpoint that was ejected, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Times that it was ejected so far.
    pub count: u32,
    /// While it is out, when its time is over: it returns with the interval that ends next.
    pub until: Option<Duration>,
    /// What ejected it last: the last of that many failures in a row.
    pub failure: Failure,
    pub in_a_row: u32,
}

/// Those of a service.
pub type ServiceRecords = Arc<BTreeMap<SocketAddr, Record>>;

/// Those of all services that have any. Copies share their content.
pub type Records = imbl::OrdMap<ServiceKey, ServiceRecords>;

/// Watches the endpoints of all services whose policy asks for it. Times are those of one clock that never runs backwards.
#[derive(Debug, Default)]
pub struct Monitor {
    services: BTreeMap<ServiceKey, Watched>,
    /// What an earlier agent knew of services that are not there yet.
    recalled: KeptHealth,
    /// What the next agent must know that it would not.
    changes: KeptHealth,
}

#[derive(Debug)]
struct Watched {
    source: Arc<Service>,
    /// By index of the cluster.
    policies: Vec<Arc<Policy>>,
    members: BTreeMap<SocketAddr, Member>,
    /// When each cluster's next interval ends.
    sweeps: Vec<Duration>,
    told: (ServiceVitals, ServiceRecords),
    /// What an earlier agent knew of endpoints that are not there yet.
    recalled: KeptService,
    /// What the next agent would know.
    kept: KeptService,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    cluster: u32,
    /// Its object says that it is unhealthy.
    failing: bool,
    /// When it joined, for one that joined others.
    joined: Option<Duration>,
    ejection: Ejection,
    /// What ejected it last, and how many of them there were in a row.
    cause: (Failure, u32),
    /// Of probes, where it is probed.
    row: Option<Row>,
}

impl Monitor {
    /// One that goes on from what an earlier agent knew.
    pub fn recalling(recalled: KeptHealth) -> Self {
        Self {
            recalled,
            ..Self::default()
        }
    }

    /// All that an earlier agent may have known of has been watched by now: what is not there is forgotten.
    pub fn settle(&mut self, now: Duration) {
        for key in std::mem::take(&mut self.recalled).into_keys() {
            self.changes.insert(key, KeptService::new());
        }
        for (key, watched) in &mut self.services {
            watched.recalled.clear();
            self.changes.extend(watched.changes(key, now));
        }
    }

    /// What the next agent must know that was not told at the last call. Of a service that is named it is all.
    pub fn take_changes(&mut self) -> KeptHealth {
        std::mem::take(&mut self.changes)
    }

    /// Watches what `program` says from now on. Services that say the same cost nothing. What is returned is news for the
    /// registry.
    pub fn watch(&mut self, program: &Program, now: Duration) -> Vec<Fact> {
        let mut news = Vec::new();
        let gone = |key: &ServiceKey| program.services.get(key).is_none_or(|s| !is_watched(s));
        let ended: Vec<ServiceKey> = self.services.keys().filter(|k| gone(k)).cloned().collect();
        for key in ended {
            let watched = self.services.remove(&key).expect("its key was found");
            if !watched.told.0.is_empty() {
                news.push(fact(&key, ServiceVitals::new()));
            }
            if !watched.kept.is_empty() {
                self.changes.insert(key, KeptService::new());
            }
        }
        for (key, service) in program.services.iter().filter(|(_, s)| is_watched(s)) {
            let watched = match self.services.entry(key.clone()) {
                Entry::Vacant(vacant) => {
                    let recalled = self.recalled.remove(key).unwrap_or_default();
                    vacant.insert(Watched::new(service, recalled, now))
                }
                Entry::Occupied(known) => {
                    let watched = known.into_mut();
                    watched.follow(service, now);
                    watched
                }
            };
            news.extend(watched.news(key, now, &mut self.changes));
        }
        news
    }

    /// A connect failed, the last of that many in a row. Returns what changes by that.
    pub fn failed(
        &mut self,
        key: &ServiceKey,
        at: SocketAddr,
        failure: Failure,
        in_a_row: u32,
        now: Duration,
    ) -> Option<Fact> {
        let watched = self.services.get_mut(key)?;
        let cluster = watched.members.get(&at)?.cluster;
        let detection = watched.detection(cluster)?;
        let member = watched.members.get_mut(&at)?;
        let is_out = member.ejection.is_due(in_a_row, &detection)
            && watched.eject_if_allowed(at, &detection, now, (failure, in_a_row));
        // Nothing else changes by it: failures may come by the thousands.
        is_out.then(|| watched.news(key, now, &mut self.changes))?
    }

    /// A probe of an endpoint has ended. Returns what changes by that; a success alone lets nobody in.
    pub fn probed(
        &mut self,
        key: &ServiceKey,
        at: SocketAddr,
        result: Result<(), Failure>,
        now: Duration,
    ) -> Option<Fact> {
        let watched = self.services.get_mut(key)?;
        let member = watched.members.get_mut(&at)?;
        member.row.as_mut()?.note(result);
        let member = *member;
        let (row, detection) = (member.row?, watched.detection(member.cluster)?);
        let failures = row.failures()?;
        let is_out = member.ejection.since.is_none()
            && row.is_due(&detection)
            && watched.eject_if_allowed(at, &detection, now, failures);
        is_out.then(|| watched.news(key, now, &mut self.changes))?
    }

    /// What has changed by the passing of time. To be asked about once a second.
    pub fn tick(&mut self, now: Duration) -> Vec<Fact> {
        let services = self.services.iter_mut();
        services
            .filter_map(|(key, watched)| {
                watched.sweep(now);
                watched.news(key, now, &mut self.changes)
            })
            .collect()
    }

    /// What is remembered of the endpoints of a service that were ejected.
    pub fn records_of(&self, key: &ServiceKey) -> ServiceRecords {
        let watched = self.services.get(key);
        watched
            .map(|watched| Arc::clone(&watched.told.1))
            .unwrap_or_default()
    }

    /// The same of every service that has any.
    pub fn records(&self) -> Records {
        let services = self.services.iter();
        let records = services.map(|(key, watched)| (key.clone(), Arc::clone(&watched.told.1)));
        records.filter(|(_, of)| !of.is_empty()).collect()
    }
}

impl Watched {
    fn new(service: &Arc<Service>, recalled: KeptService, now: Duration) -> Self {
        let mut watched = Self {
            source: Arc::clone(service),
            policies: Vec::new(),
            members: BTreeMap::new(),
            sweeps: Vec::new(),
            told: (ServiceVitals::new(), ServiceRecords::default()),
            kept: recalled.clone(),
            recalled,
        };
        watched.take(service, now, |_| None);
        watched
    }

    /// Keeps what is known of the endpoints that are still there.
    fn follow(&mut self, service: &Arc<Service>, now: Duration) {
        if Arc::ptr_eq(&self.source, service) {
            return;
        }
        self.source = Arc::clone(service);
        let known = std::mem::take(&mut self.members);
        // Among none that was there before, none is new.
        let joins = !known.is_empty();
        self.take(service, now, |at| {
            known
                .get(&at)
                .copied()
                .or(joins.then(|| Member::new(Some(now))))
        });
    }

    /// Leaves the endpoint out, unless too many are. Returns whether it did.
    fn eject_if_allowed(
        &mut self,
        at: SocketAddr,
        detection: &OutlierDetection,
        now: Duration,
        cause: (Failure, u32),
    ) -> bool {
        let cluster = self.members.get(&at).map(|member| member.cluster);
        let may_eject = cluster.is_some_and(|cluster| self.may_eject(at, cluster, detection));
        let member = self.members.get_mut(&at).filter(|_| may_eject);
        member.is_some_and(|member| {
            member.ejection.eject(now, detection);
            member.cause = cause;
            true
        })
    }

    fn take(
        &mut self,
        service: &Service,
        now: Duration,
        known: impl Fn(SocketAddr) -> Option<Member>,
    ) {
        let policies = service.clusters.iter().map(|c| Arc::clone(&c.policy));
        let policies: Vec<Arc<Policy>> = policies.collect();
        if policies != self.policies {
            let sweep = |policy: &Arc<Policy>| now + interval(policy);
            self.sweeps = policies.iter().map(sweep).collect();
            self.policies = policies;
        }
        let members = service.endpoints.iter().map(|endpoint| {
            let at = SocketAddr::new(endpoint.address, endpoint.port);
            let recalled = self.recalled.remove(&at).map(|kept| {
                let policy = self.policies.get(endpoint.cluster as usize);
                Member::recalled(&kept, now, policy.and_then(|p| p.outlier_detection))
            });
            let member = recalled.or(known(at)).unwrap_or(Member::new(None));
            let (cluster, failing) = (endpoint.cluster, endpoint.vital == Vital::Failing);
            let interval = probes::interval(service, endpoint);
            let member = Member {
                cluster,
                failing,
                row: interval.map(|_| member.row.unwrap_or_default()),
                ..member
            };
            (at, member)
        });
        self.members = members.collect();
    }

    /// What is different from what was told last. What the next agent must know of it goes to `changes`.
    fn news(&mut self, key: &ServiceKey, now: Duration, changes: &mut KeptHealth) -> Option<Fact> {
        let news = (self.vitals(now), self.records());
        if news == self.told {
            return None;
        }
        self.told = news;
        changes.extend(self.changes(key, now));
        Some(fact(key, self.told.0.clone()))
    }

    /// All that the next agent must know of the service, where it would know something else.
    fn changes(&mut self, key: &ServiceKey, now: Duration) -> Option<(ServiceKey, KeptService)> {
        let vitals = &self.told.0;
        let kept = |(at, member): (&SocketAddr, &Member)| {
            let is_warming = matches!(vitals.get(at), Some(Vital::Warming(_)));
            let is_kept = is_warming || member.ejection.count > 0;
            let kept = KeptEndpoint {
                joined: member.joined.filter(|_| is_warming),
                ejection: member.ejection,
                cause: member.cause,
                row: member.row,
                at: now,
            };
            let known = self.kept.get(at).filter(|known| known.is_like(&kept));
            is_kept.then(|| (*at, known.copied().unwrap_or(kept)))
        };
        let members = self.members.iter().filter_map(kept);
        let kept: KeptService = members.chain(self.recalled.clone()).collect();
        if kept == self.kept {
            return None;
        }
        self.kept.clone_from(&kept);
        Some((key.clone(), kept))
    }

    fn records(&self) -> ServiceRecords {
        let record = |(at, member): (&SocketAddr, &Member)| {
            let detection = self.detection(member.cluster)?;
            let ejection = &member.ejection;
            let until = |since| since + ejection.duration(&detection);
            let record = Record {
                count: ejection.count,
                until: ejection.since.map(until),
                failure: member.cause.0,
                in_a_row: member.cause.1,
            };
            (record.count > 0).then_some((*at, record))
        };
        Arc::new(self.members.iter().filter_map(record).collect())
    }

    fn detection(&self, cluster: u32) -> Option<OutlierDetection> {
        self.policies.get(cluster as usize)?.outlier_detection
    }

    fn warmup(&self, cluster: u32) -> Option<Warmup> {
        self.policies.get(cluster as usize)?.warmup
    }

    /// Whether one more may be left out: as many as the percentage says and one at least, while another is in.
    fn may_eject(&self, at: SocketAddr, cluster: u32, detection: &OutlierDetection) -> bool {
        let of_cluster = self.members.iter().filter(|(_, m)| m.cluster == cluster);
        let (mut all, mut ejected, mut others) = (0, 0, 0);
        for (place, member) in of_cluster {
            all += 1;
            let is_out = member.ejection.since.is_some();
            ejected += u64::from(is_out);
            others += u64::from(!is_out && !member.failing && *place != at);
        }
        let allowed = (all * u64::from(detection.max_ejection_percent) / 100).max(1);
        ejected < allowed && others > 0
    }

    fn sweep(&mut self, now: Duration) {
        for cluster in 0..self.policies.len() {
            if now < self.sweeps[cluster] {
                continue;
            }
            self.sweeps[cluster] = now + interval(&self.policies[cluster]);
            let Some(detection) = self.policies[cluster].outlier_detection else {
                continue;
            };
            let mut failing = Vec::new();
            let of_cluster = self.members.iter_mut();
            for (at, member) in of_cluster.filter(|(_, m)| m.cluster as usize == cluster) {
                let is_back = member.ejection.sweep(now, &detection);
                let failures = member.row.filter(|_| is_back).and_then(Row::failures);
                failing.extend(failures.map(|cause| (*at, cause)));
            }
            // Their last probes failed: no client needs to be sent there to see that.
            for (at, cause) in failing {
                self.eject_if_allowed(at, &detection, now, cause);
            }
        }
    }

    fn vitals(&self, now: Duration) -> ServiceVitals {
        let vital = |member: &Member| {
            if member.ejection.since.is_some() && self.detection(member.cluster).is_some() {
                return Vital::Ejected;
            }
            let age = member.joined.map(|joined| now.saturating_sub(joined));
            match (self.warmup(member.cluster), age) {
                (Some(warmup), Some(age)) => match warmup::thousandths(&warmup, age) {
                    1000 => Vital::Healthy,
                    part => Vital::Warming(part),
                },
                _ => Vital::Healthy,
            }
        };
        let all = self.members.iter().map(|(at, member)| (*at, vital(member)));
        all.filter(|(_, vital)| *vital != Vital::Healthy).collect()
    }
}

impl Member {
    fn new(joined: Option<Duration>) -> Self {
        Self {
            cluster: 0,
            failing: false,
            joined,
            ejection: Ejection::default(),
            cause: (Failure::Refused, 0),
            row: None,
        }
    }

    /// As it is by now, where `detection` is what the policy says.
    fn recalled(kept: &KeptEndpoint, now: Duration, detection: Option<OutlierDetection>) -> Self {
        Self {
            ejection: detection.map_or(kept.ejection, |d| kept.ejection(now, &d)),
            cause: kept.cause,
            row: kept.row,
            ..Self::new(kept.joined)
        }
    }
}

fn is_watched(service: &Service) -> bool {
    let mut policies = service.clusters.iter().map(|cluster| &cluster.policy);
    policies.any(|policy| policy.outlier_detection.is_some() || policy.warmup.is_some())
}

fn interval(policy: &Policy) -> Duration {
    let detection = policy.outlier_detection.unwrap_or_default();
    detection.interval.max(Duration::from_millis(1))
}

fn fact(key: &ServiceKey, vitals: ServiceVitals) -> Fact {
    Fact::Vitals {
        service: key.clone(),
        vitals,
    }
}
