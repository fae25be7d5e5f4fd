//! How often has each policy decided? The maps count connects by service and endpoint; which policies decide there is known.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::ObjectId;
use crate::compile::{Access, Program, Ruling, Service, ServiceKey};
use crate::dataplane::{Counts, Dataplane, ServiceCounts};
use crate::observe::view::Hits;

/// A service as a whole, or one of its endpoints.
type Place = Option<(IpAddr, u16)>;

/// What is counted for each policy.
#[derive(Debug, Default)]
pub(super) struct HitCounter(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// In effect.
    program: Program,
    /// The services of it of which policies say anything.
    guarded: BTreeSet<ServiceKey>,
    hits: Hits,
    /// Connects by place, as of the last look.
    seen: HashMap<ServiceKey, HashMap<Place, u64>>,
}

impl Counted {
    /// Counts what is new in `counts` at these services, and from these on.
    fn take(&mut self, counts: &Counts, services: &BTreeSet<ServiceKey>) {
        for key in services {
            let now = connects(&self.program, key, counts);
            let mut before = self.seen.remove(key).unwrap_or_default();
            for (place, access, now) in &now {
                let before = before.insert(*place, *now).unwrap_or(0);
                note(
                    &mut self.hits,
                    (key, *place),
                    access,
                    now.saturating_sub(before),
                );
            }
            if !before.is_empty() {
                self.seen.insert(key.clone(), before);
            }
        }
    }

    /// Counts from here on what `program` says of these services.
    fn turn(&mut self, program: &Program, counts: &Counts, services: &BTreeSet<ServiceKey>) {
        self.program = program.clone();
        for key in services {
            let now = connects(program, key, counts).into_iter();
            let now: HashMap<Place, u64> = now.map(|(place, _, now)| (place, now)).collect();
            self.seen.remove(key);
            if !now.is_empty() {
                self.seen.insert(key.clone(), now);
            }
        }
    }

    /// Those of the services of which `program` has policies say something else.
    fn changed(&self, program: &Program, guarded: &BTreeSet<ServiceKey>) -> BTreeSet<ServiceKey> {
        let all = self.guarded.union(guarded);
        let service = |program: &Program, key: &ServiceKey| program.services.get(key).cloned();
        let changed =
            all.filter(
                |key| match (service(&self.program, key), service(program, key)) {
                    (Some(before), Some(after)) => !places(&before).eq(places(&after)),
                    _ => true,
                },
            );
        changed.cloned().collect()
    }
}

/// The services of which policies say anything.
fn guarded(program: &Program) -> BTreeSet<ServiceKey> {
    let services = program.services.iter();
    let guarded = services.filter(|(_, service)| places(service).next().is_some());
    guarded.map(|(key, _)| key.clone()).collect()
}

/// What policies say of the service and its endpoints, as far as they say anything.
fn places(service: &Service) -> impl Iterator<Item = (Place, &Access)> {
    let of_service = service.access.iter().map(|access| (None, &**access));
    let of_endpoints = service.endpoints.iter().filter_map(|endpoint| {
        let access = endpoint.access.as_ref()?;
        Some((Some((endpoint.address, endpoint.port)), &**access))
    });
    of_service.chain(of_endpoints)
}

/// Every place of the service of which policies say something, with the connects that there were.
fn connects<'p>(
    program: &'p Program,
    key: &ServiceKey,
    counts: &Counts,
) -> Vec<(Place, &'p Access, u64)> {
    let Some(service) = program.services.get(key) else {
        return Vec::new();
    };
    let none = ServiceCounts::default();
    let of_service = counts.services.get(key).unwrap_or(&none);
    // A route may lead to the same endpoint by several ways, which the maps count as one.
    let mut known = HashSet::new();
    let once = places(service).filter(|(place, _)| known.insert(*place));
    once.map(|(place, access)| {
        let (connects, denied) = match place {
            None => (of_service.connects, of_service.denied),
            Some(at) => {
                let counted = of_service.endpoints.get(&at);
                counted.map_or((0, 0), |counted| (counted.connects, counted.denied))
            }
        };
        (place, access, connects + denied)
    })
    .collect()
}

/// Counts connects for the policies that decide on them or count them.
fn note(hits: &mut Hits, at: (&ServiceKey, Place), access: &Access, new: u64) {
    if new == 0 {
        return;
    }
    if access.ruling == Ruling::Audited {
        tell(at, access, new);
    }
    let deciding = access.by.iter().map(|name| (name, access.is_default));
    let noted = access.noted.iter().map(|name| (name, false));
    let missing = access.noted_missing.iter().map(|name| (name, true));
    for (name, is_missing) in deciding.chain(noted).chain(missing) {
        let of_policy = hits.entry(ObjectId::clone(&name.policy)).or_default();
        if is_missing {
            of_policy.unmatched += new;
        } else {
            of_policy.matched += new;
        }
    }
}

impl HitCounter {
    /// Counts what has been until now, and says how much that is since the agent's start.
    pub(super) fn look(&self, dataplane: &Dataplane) -> Hits {
        let mut counted = self.lock();
        let guarded = counted.guarded.clone();
        let counts = dataplane.counts_of(|key| guarded.contains(key));
        counted.take(&counts, &guarded);
        counted.hits.clone()
    }

    /// Counts what has been until now of what changes; from now on `program` will be in effect.
    pub(super) fn turn(&self, dataplane: &Dataplane, program: &Program) {
        let mut counted = self.lock();
        let guarded = guarded(program);
        let changed = counted.changed(program, &guarded);
        let counts = if changed.is_empty() {
            Counts::default()
        } else {
            dataplane.counts_of(|key| changed.contains(key))
        };
        counted.take(&counts, &changed);
        // What comes with this program had no connects before it.
        counted.turn(program, &counts, &changed);
        counted.guarded = guarded;
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell((service, endpoint): (&ServiceKey, Place), access: &Access, count: u64) {
    let endpoint = endpoint.map(|(address, port)| SocketAddr::new(address, port).to_string());
    tracing::warn!(
        %service,
        endpoint = endpoint.as_deref().unwrap_or("-"),
        count,
        reason = %access.sentence(),
        "connects would be denied"
    );
}
