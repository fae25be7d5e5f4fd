//! Where learned names lead: each address that a name was seen to have leads to the ports of the host that covers it.
//!
//! A client waits for its answer while an address is learned, so there is a short way beside compiling everything anew:
//! [`extend`] gives what the compiler would.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use agent_common::abi::DEFAULT_SCOPE;

use crate::model::VipRanges;

use super::destinations::is_dialable;
use super::frontends::Claims;
use super::names::{Names, Saying};
use super::program::{Compiled, Destination, Frontend, ServiceKey};

/// Whose claim to a learned address counts: the age of its entry, then its place among all services. The least one wins.
type Rank = (usize, usize);

/// The services that learned addresses may lead to.
#[derive(Clone, Debug, Default)]
pub(super) struct Learners {
    /// By the place of the host that says so in [`Names`].
    by_host: HashMap<usize, Vec<(Rank, ServiceKey)>>,
    ranks: HashMap<ServiceKey, Rank>,
}

impl Learners {
    pub(super) fn add(&mut self, host: usize, age: usize, claimant: usize, key: &ServiceKey) {
        let rank = (age, claimant);
        self.ranks.insert(key.clone(), rank);
        let of_host = self.by_host.entry(host).or_default();
        of_host.push((rank, key.clone()));
    }

    /// The services of the host that covers `name`.
    fn of(&self, names: &Names, name: &str) -> &[(Rank, ServiceKey)] {
        match names.owner(name) {
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
        names: &Names,
        ranges: &VipRanges,
        claims: &mut Claims,
    ) {
        // The pairs of a name follow each other.
        let mut last: Option<(&str, &[(Rank, ServiceKey)])> = None;
        for (name, address) in pairs {
            let services = match last {
                Some((known, services)) if *known == **name => services,
                _ => self.of(names, name),
            };
            last = Some((name, services));
            if is_learnable(*address, ranges) {
                for ((age, claimant), _) in services {
                    claims.learn(*claimant, *age, *address);
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
        let services = compiled.learners.of(&compiled.names, name);
        for address in addresses.iter().map(IpAddr::to_canonical) {
            if !is_learnable(address, &compiled.program.vip_ranges) {
                continue;
            }
            for (rank, key) in services {
                let frontend = Frontend {
                    destination: Destination::Address(address),
                    port: key.port,
                    transport: key.transport,
                    scope: DEFAULT_SCOPE,
                };
                if next.yields(&frontend, *rank) {
                    next.program.frontends.insert(frontend, key.clone());
                    next.learned.insert(frontend);
                    added.push((frontend, key.clone()));
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
    /// Whether `frontend` is free, or was learned for a service that comes after `rank`.
    fn yields(&self, frontend: &Frontend, rank: Rank) -> bool {
        self.program.frontends.get(frontend).is_none_or(|winner| {
            let winner = self.learners.ranks.get(winner);
            self.learned.contains(frontend) && winner.is_some_and(|winner| rank < *winner)
        })
    }
}
