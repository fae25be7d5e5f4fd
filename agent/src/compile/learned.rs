//! Where learned names lead: each address that a name was seen to have leads to the ports of the host that covers it.
//!
//! A client waits for its answer while an address is learned, so there is a short way beside compiling everything anew:
//! [`extend`] gives what the compiler would.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::VipRanges;

use super::destinations::is_dialable;
use super::fences::Fences;
use super::frontends::{Claimant, Claims, Rank};
use super::mesh::Spot;
use super::names::{Names, Saying};
use super::program::{Compiled, Destination, Frontend, ServiceKey};

/// The services that learned addresses may lead to, for the clients of one scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Learners {
    /// By the place of the host that says so in [`Names`].
    by_host: HashMap<usize, Vec<Learner>>,
    ranks: HashMap<ServiceKey, Rank>,
    names: Arc<Names>,
    /// Endpoints that are denied, each with the service that does so.
    fences: HashMap<Spot, ServiceKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Learner {
    rank: Rank,
    claimant: usize,
    key: ServiceKey,
    /// The port that connects go to where they keep their address.
    original_port: Option<u16>,
}

impl Learners {
    /// Of clients that are told `names`.
    pub(super) fn new(names: &Arc<Names>) -> Self {
        Self {
            names: Arc::clone(names),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, rank: Rank, place: usize, Claimant { key, service }: &Claimant) {
        self.ranks.insert(key.clone(), rank);
        let (_, host) = rank;
        self.by_host.entry(host).or_default().push(Learner {
            rank,
            claimant: place,
            key: key.clone(),
            original_port: service.original_port(key.port),
        });
    }

    /// Has learned addresses lead to no endpoint that is denied.
    pub(super) fn fence(&mut self, fences: &Fences, claimants: &[Claimant]) {
        if self.by_host.is_empty() {
            return;
        }
        let denying = fences.iter().filter(|(_, fence)| fence.is_denying);
        self.fences = denying
            .map(|(spot, fence)| (spot, claimants[fence.claimant].key.clone()))
            .collect();
    }

    /// Whether whatever is learned leads to the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (&self.by_host, &self.fences) == (&other.by_host, &other.fences)
    }

    /// What denies it where the learner would leave connects to the address as they are.
    fn fenced(&self, address: IpAddr, learner: &Learner) -> Option<&ServiceKey> {
        let port = learner.original_port?;
        self.fences.get(&(address, port, learner.key.transport))
    }

    /// Whether `winner` denies the address itself, where the learner leads to another port of it that is not denied.
    fn is_passed(&self, address: IpAddr, learner: &Learner, winner: &ServiceKey) -> bool {
        let key = &learner.key;
        let own = self.fences.get(&(address, key.port, key.transport));
        own == Some(winner)
            && learner.original_port.is_some()
            && self.fenced(address, learner).is_none()
    }

    /// The services of the host that covers `name`.
    fn of(&self, name: &str) -> &[Learner] {
        match self.names.owner(name) {
            Some((host, Saying::Learned)) => self
                .by_host
                .get(&host)
                .map(Vec::as_slice)
                .unwrap_or_default(),
            _ => &[],
        }
    }

    /// Claims for each of the pairs of name and address what it leads to.
    pub(super) fn claim<'a>(
        &self,
        pairs: impl IntoIterator<Item = &'a (Arc<str>, IpAddr)>,
        ranges: &VipRanges,
        claims: &mut Claims,
    ) {
        // The pairs of a name follow each other.
        let mut last: Option<(&str, &[Learner])> = None;
        for (name, address) in pairs {
            let services = match last {
                Some((known, services)) if *known == **name => services,
                _ => self.of(name),
            };
            last = Some((name, services));
            if is_learnable(*address, ranges) {
                for learner in services {
                    claims.learn(learner.claimant, learner.rank, *address);
                }
            }
        }
    }
}

/// Whether an address that another server gave for a name may stand for it: not where it can only be a mistake, or an attempt
/// to take what is somebody else's.
pub fn may_stand(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_of_link = matches!(address, IpAddr::V4(v4) if v4.is_link_local());
    is_dialable(address) && !address.is_loopback() && !is_of_link
}

fn is_learnable(address: IpAddr, ranges: &VipRanges) -> bool {
    may_stand(address) && !ranges.contains(address)
}

/// What learning added to a program.
#[derive(Clone, Debug)]
pub struct Extension {
    /// As compiling everything anew would give it, but for what it would report.
    pub compiled: Compiled,
    /// What leads elsewhere now.
    pub frontends: Vec<(Frontend, ServiceKey)>,
}

/// Adds to `compiled` that names were seen to have addresses. Takes time for these alone, not for what is there.
pub fn extend<'a>(
    compiled: &Compiled,
    lessons: impl IntoIterator<Item = (&'a str, &'a [IpAddr])>,
) -> Extension {
    let mut next = compiled.clone();
    let mut added = Vec::new();
    for (name, addresses) in lessons {
        for (scope, learners) in &*compiled.learners {
            let services = learners.of(name);
            for address in addresses.iter().map(IpAddr::to_canonical) {
                if !is_learnable(address, &compiled.program.vip_ranges) {
                    continue;
                }
                for learner in services {
                    let frontend = Frontend {
                        destination: Destination::Address(address),
                        port: learner.key.port,
                        transport: learner.key.transport,
                        scope: *scope,
                    };
                    if !next.yields(&frontend, address, learners, learner) {
                        continue;
                    }
                    let fence = learners.fenced(address, learner);
                    let key = fence.unwrap_or(&learner.key).clone();
                    next.program.frontends.insert(frontend, key.clone());
                    if fence.is_none() {
                        next.learned.insert(frontend);
                    } else {
                        next.learned.remove(&frontend);
                    }
                    added.push((frontend, key));
                }
            }
        }
    }
    Extension {
        compiled: next,
        frontends: added,
    }
}

impl Compiled {
    /// Whether `frontend`, of the address, is free, or yields to the learner: one that learns yields to those before it, one that
    /// only counts to all, and one that denies to those that pass it.
    fn yields(
        &self,
        frontend: &Frontend,
        address: IpAddr,
        learners: &Learners,
        learner: &Learner,
    ) -> bool {
        self.program.frontends.get(frontend).is_none_or(|winner| {
            let before = learners.ranks.get(winner);
            let is_later = before.is_none_or(|before| learner.rank < *before);
            self.learned.contains(frontend) && is_later
                || learners.is_passed(address, learner, winner)
        })
    }
}
