//! From what classes of clients come to, to scopes: classes for which everything is the same are one scope, and are one in the maps.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use agent_common::abi::{DEFAULT_SCOPE, Outbound};

use super::clients::Scope;
use super::frontends::{Claimant, Won};
use super::learned::Learners;
use super::prefixes;
use super::program::{Frontend, ServiceKey};

/// What classes of clients come to.
pub(super) struct Behaviour {
    /// The first class's.
    pub(super) label: Arc<str>,
    pub(super) won: Won,
    pub(super) outbound: Outbound,
    /// The object that says so.
    pub(super) policy: Option<Arc<str>>,
    /// The number of what it is told of names.
    pub(super) names: u16,
    pub(super) learners: Learners,
}

#[derive(Default)]
pub(super) struct Scopes {
    pub(super) all: BTreeMap<u32, Scope>,
    /// The scope of each behaviour.
    pub(super) of_behaviours: Vec<u32>,
    pub(super) learners: BTreeMap<u32, Learners>,
    won: Vec<(u32, Won)>,
}

impl Scopes {
    /// The first is the default scope's.
    pub(super) fn new(behaviours: Vec<Behaviour>) -> Self {
        let mut scopes = Self::default();
        // What tells behaviours apart, by a hash of it.
        let hasher = RandomState::new();
        let mut known: HashMap<u64, Vec<usize>> = HashMap::new();
        for behaviour in behaviours {
            let Behaviour {
                label,
                won,
                outbound,
                policy,
                names,
                learners,
            } = behaviour;
            let hash = hasher.hash_one((&won, outbound, &policy, names));
            let same = known.entry(hash).or_default();
            let is_same = |place: &&usize| {
                let (id, other) = &scopes.won[**place];
                let scope = &scopes.all[id];
                (other, scope.outbound, &scope.policy, scope.names)
                    == (&won, outbound, &policy, names)
                    // Nothing may be learned yet, which then leads elsewhere.
                    && scopes.learners[id].is_like(&learners)
            };
            if let Some(place) = same.iter().find(is_same) {
                scopes.of_behaviours.push(scopes.won[*place].0);
                continue;
            }
            same.push(scopes.won.len());
            let id = scopes.id(&label);
            scopes.all.insert(
                id,
                Scope {
                    name: label,
                    outbound,
                    policy,
                    names,
                },
            );
            scopes.learners.insert(id, learners);
            scopes.won.push((id, won));
            scopes.of_behaviours.push(id);
        }
        scopes
    }

    /// An id that a class has whatever other classes there are, unless two want the same: clients of a scope keep it while others
    /// come and go.
    fn id(&self, label: &str) -> u32 {
        if self.all.is_empty() {
            return DEFAULT_SCOPE;
        }
        let mut id = hash(label);
        while self.all.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        id
    }

    /// Where every destination leads, and which destinations were but learned.
    pub(super) fn frontends(
        &mut self,
        claimants: &[Claimant],
    ) -> (Vec<(Frontend, ServiceKey)>, Vec<Frontend>) {
        let all = self.won.iter().map(|(_, won)| won.frontends.len()).sum();
        let mut winners: HashMap<Frontend, usize> = HashMap::with_capacity(all);
        let mut learned = Vec::new();
        for (scope, won) in self.won.drain(..) {
            let of_scope = |frontend| Frontend { scope, ..frontend };
            let frontends = won.frontends.into_iter();
            winners.extend(frontends.map(|(frontend, claimant)| (of_scope(frontend), claimant)));
            learned.extend(won.learned.into_iter().map(of_scope));
        }
        prefixes::inherit(&mut winners);
        let mut won: Vec<(Frontend, usize)> = winners.into_iter().collect();
        won.sort_unstable_by_key(|(frontend, _)| *frontend);
        learned.sort_unstable();
        let keyed = won.into_iter();
        let keyed = keyed.map(|(frontend, claimant)| (frontend, claimants[claimant].key.clone()));
        (keyed.collect(), learned)
    }
}

/// FNV-1a; never the id of the default scope.
fn hash(text: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step).max(1)
}
