//! How often has each policy decided? The maps count connects by service and endpoint; which policies decide there is known.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::ObjectId;
use crate::compile::{Access, Program, Ruling, ServiceKey};
use crate::dataplane::{Counts, Dataplane, ServiceCounts};
use crate::observe::view::Hits;

/// A service, or one of its endpoints.
type Place = (ServiceKey, Option<(IpAddr, u16)>);

/// What is counted for each policy.
#[derive(Debug, Default)]
pub(super) struct HitCounter(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// In effect.
    program: Program,
    /// The services of it of which policies say anything.
    guarded: Vec<ServiceKey>,
    hits: Hits,
    /// Connects by place, as of the last look.
    seen: HashMap<Place, u64>,
}

impl Counted {
    /// Counts what is new in `counts`.
    fn take(&mut self, counts: &Counts) {
        let Self {
            program,
            guarded,
            hits,
            seen,
        } = &mut *self;
        visit(program, guarded, counts, |place, access, now| {
            let new = now.saturating_sub(seen.get(&place).copied().unwrap_or(0));
            if new == 0 {
                return;
            }
            if access.ruling == Ruling::Audited {
                tell(&place, access, new);
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
        });
    }

    /// Counts from these on.
    fn begin(&mut self, counts: &Counts) {
        let seen = &mut self.seen;
        seen.clear();
        visit(&self.program, &self.guarded, counts, |place, _, now| {
            seen.insert(place, now);
        });
    }
}

/// The services of which policies say anything.
fn guarded(program: &Program) -> Vec<ServiceKey> {
    let services = program.services.iter();
    let guarded = services.filter(|(_, service)| {
        let mut endpoints = service.endpoints.iter();
        service.access.is_some() || endpoints.any(|endpoint| endpoint.access.is_some())
    });
    guarded.map(|(key, _)| key.clone()).collect()
}

impl HitCounter {
    /// Counts what has been until now, and says how much that is since the agent's start.
    pub(super) fn look(&self, dataplane: &Dataplane) -> Hits {
        let mut counted = self.lock();
        let wanted: HashSet<&ServiceKey> = counted.guarded.iter().collect();
        let counts = dataplane.counts_of(|key| wanted.contains(key));
        counted.take(&counts);
        counted.begin(&counts);
        counted.hits.clone()
    }

    /// Counts what has been until now; from now on `program` will be in effect.
    pub(super) fn turn(&self, dataplane: &Dataplane, program: &Program) {
        let mut counted = self.lock();
        let guarded = guarded(program);
        if guarded.is_empty() && counted.guarded.is_empty() {
            return;
        }
        let wanted: HashSet<&ServiceKey> = counted.guarded.iter().chain(&guarded).collect();
        let counts = dataplane.counts_of(|key| wanted.contains(key));
        counted.take(&counts);
        counted.program = program.clone();
        counted.guarded = guarded;
        // What comes with this program had no connects before it.
        counted.begin(&counts);
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell((service, endpoint): &Place, access: &Access, count: u64) {
    let endpoint = endpoint.map(|(address, port)| SocketAddr::new(address, port).to_string());
    tracing::warn!(
        %service,
        endpoint = endpoint.as_deref().unwrap_or("-"),
        count,
        reason = %access.sentence(),
        "connects would be denied"
    );
}

/// Every place of which policies say something, with the connects that there were.
fn visit(
    program: &Program,
    guarded: &[ServiceKey],
    counts: &Counts,
    mut each: impl FnMut(Place, &Access, u64),
) {
    let none = ServiceCounts::default();
    let services = guarded
        .iter()
        .filter_map(|key| program.services.get_key_value(key));
    for (key, service) in services {
        let of_service = counts.services.get(key).unwrap_or(&none);
        if let Some(access) = &service.access {
            let now = of_service.connects + of_service.denied;
            each((key.clone(), None), access, now);
        }
        // A route may lead to the same endpoint by several ways, which the maps count as one.
        let mut known = HashSet::new();
        for endpoint in &service.endpoints {
            let at = (endpoint.address, endpoint.port);
            if let Some(access) = &endpoint.access
                && known.insert(at)
            {
                let counted = of_service.endpoints.get(&at);
                let now = counted.map_or(0, |counted| counted.connects + counted.denied);
                each((key.clone(), Some(at)), access, now);
            }
        }
    }
}
