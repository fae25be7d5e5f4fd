//! Which destination leads to which service, and who wins where two claim the same.

use std::collections::{BTreeMap, HashMap, hash_map};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{Diagnostic, Severity};
use agent_common::abi::{DEFAULT_SCOPE, UDP};

use super::codes;
use super::fences::Fences;
use super::program::{Destination, Frontend, Service, ServiceKey};

/// How a claim came about: what users declared beats what a name resolved to, and
/// that beats what clients were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ground {
    Declared,
    Resolved,
    Learned,
}

/// A service that claims destinations.
pub(super) struct Claimant {
    pub(super) key: ServiceKey,
    pub(super) service: Arc<Service>,
}

/// Whose claim comes first: the age of the entry that declares the service, of which 0 is the oldest, and the place of its host.
pub(super) type Rank = (usize, usize);

/// A destination that a service claims.
struct Claim {
    ground: Ground,
    rank: Rank,
    claimant: usize,
    destination: Destination,
}

/// All claims, by claimant.
#[derive(Default)]
pub(super) struct Claims {
    claims: Vec<Claim>,
}

impl Claims {
    pub(super) fn declare(&mut self, claimant: usize, rank: Rank, net: IpNet) {
        let destination = if net.prefix_len() == net.max_prefix_len() {
            Destination::Address(net.addr())
        } else {
            Destination::Prefix(net)
        };
        self.claims.push(Claim {
            ground: Ground::Declared,
            rank,
            claimant,
            destination,
        });
    }

    pub(super) fn resolve(&mut self, claimant: usize, rank: Rank, address: IpAddr) {
        self.claim_address(Ground::Resolved, claimant, rank, address);
    }

    pub(super) fn learn(&mut self, claimant: usize, rank: Rank, address: IpAddr) {
        self.claim_address(Ground::Learned, claimant, rank, address);
    }

    fn claim_address(&mut self, ground: Ground, claimant: usize, rank: Rank, address: IpAddr) {
        self.claims.push(Claim {
            ground,
            rank,
            claimant,
            destination: Destination::Address(address),
        });
    }

    /// Gives each destination to one service: declared before resolved before learned, then the oldest. No service leads around
    /// `fences`.
    pub(super) fn settle(
        mut self,
        claimants: &[Claimant],
        fences: &Fences,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Won {
        self.claims
            .sort_by_key(|claim| (claim.ground, claim.rank, claim.claimant));
        let mut winners: HashMap<Frontend, usize> = HashMap::with_capacity(self.claims.len());
        let mut learned = Vec::new();
        let mut losses: BTreeMap<Loss, (Frontend, usize)> = BTreeMap::new();
        for claim in &self.claims {
            let key = &claimants[claim.claimant].key;
            let frontend = Frontend {
                destination: claim.destination,
                port: key.port,
                transport: key.transport,
                scope: DEFAULT_SCOPE,
            };
            match winners.entry(frontend) {
                hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(claim.claimant);
                    if claim.ground == Ground::Learned {
                        learned.push(frontend);
                    }
                }
                hash_map::Entry::Occupied(winner) if *winner.get() == claim.claimant => {}
                hash_map::Entry::Occupied(winner) => {
                    let loss = Loss {
                        loser: claim.claimant,
                        winner: *winner.get(),
                        ground: claim.ground,
                    };
                    losses.entry(loss).or_insert((frontend, 0)).1 += 1;
                }
            }
        }
        let lost = losses.into_iter();
        diagnostics.extend(lost.filter_map(|(loss, what)| loss.report(claimants, what)));
        fences.close(&mut winners, &mut learned, claimants);
        let mut frontends: Vec<(Frontend, usize)> = winners.into_iter().collect();
        frontends.sort_unstable_by_key(|(frontend, _)| *frontend);
        learned.sort_unstable();
        Won { frontends, learned }
    }
}

/// Which service each destination leads to, for clients of the default scope as much as for others.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Won {
    /// In order, with claimants.
    pub(super) frontends: Vec<(Frontend, usize)>,
    /// Those that yield to what clients are told; see [`Compiled`](super::Compiled).
    pub(super) learned: Vec<Frontend>,
}

/// One service lost destinations to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Loss {
    loser: usize,
    winner: usize,
    ground: Ground,
}

impl Loss {
    fn report(
        self,
        claimants: &[Claimant],
        (first, count): (Frontend, usize),
    ) -> Option<Diagnostic> {
        let (loser, winner) = (&claimants[self.loser], &claimants[self.winner]);
        let same_object = loser.service.object == winner.service.object;
        let same_effect = loser.service.action == winner.service.action
            && loser.service.endpoints == winner.service.endpoints;
        if same_object && same_effect {
            return None;
        }
        let more = match count {
            1 => String::new(),
            _ => format!(" and {} more", count - 1),
        };
        let (code, message) = match self.ground {
            Ground::Declared => (
                codes::ADDRESS_TAKEN,
                format!(
                    "{first}{more} leads to {} of {} ({}), not to {}",
                    winner.key, winner.service.object, winner.service.origin, loser.key
                ),
            ),
            Ground::Resolved => (
                codes::ANSWER_TAKEN,
                format!(
                    "{} resolves to {first}{more}, which leads to {} of {} ({})",
                    loser.key, winner.key, winner.service.object, winner.service.origin
                ),
            ),
            Ground::Learned => (
                codes::ANSWER_TAKEN,
                format!(
                    "a name of {} was seen at {first}{more}, which leads to {} of {} ({})",
                    loser.key, winner.key, winner.service.object, winner.service.origin
                ),
            ),
        };
        let hint = match self.ground {
            Ground::Declared => "give each host addresses of its own, or leave spec.addresses out",
            Ground::Resolved => "clients that use the automatic address of the host still reach it",
            Ground::Learned => "what is connected to by address alone cannot be told apart",
        };
        let service = &loser.service;
        let severity = match self.ground {
            Ground::Declared | Ground::Resolved => Severity::Warning,
            Ground::Learned => Severity::Info,
        };
        let found = Diagnostic::new(severity, code, &service.object, &service.origin, message);
        let field = match self.ground {
            Ground::Declared => "spec.addresses",
            Ground::Resolved | Ground::Learned => "spec.hosts",
        };
        Some(found.at(field, 0).hint(hint))
    }
}

impl fmt::Display for Frontend {
    /// `10.0.0.1:80`, `10.0.0.0/8:80`, `[2001:db8::1]:80`, `[2001:db8::/32]:80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.destination {
            Destination::Address(IpAddr::V4(v4)) => write!(f, "{v4}:{}", self.port),
            Destination::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
            Destination::Prefix(IpNet::V4(v4)) => write!(f, "{v4}:{}", self.port),
            Destination::Prefix(IpNet::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
        }
    }
}

impl fmt::Display for ServiceKey {
    /// `namespace/host:port`, with `/udp` for UDP, the route that is for some of its addresses, and the clients that it is for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.host, self.port)?;
        if self.transport == UDP {
            f.write_str("/udp")?;
        }
        if let Some(route) = &self.route {
            write!(f, " ({route})")?;
        }
        match &self.clients {
            Some(clients) => write!(f, " for clients of {clients}"),
            None => Ok(()),
        }
    }
}
