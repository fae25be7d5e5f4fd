//! One table of a group: the endpoints that sockets of one kind may be given, and how one of them is picked.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use agent_common::abi::{self, Address, Column, INDEXES, MAX_SLOTS, Port, Slot};

use crate::api::{Algorithm, HashTable};

use super::super::address;
use super::super::alias;
use super::super::names::UNCOUNTED;
use super::content::{Content, Member};
use super::{maglev, ring, schedule};

#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    content: &'a Content,
    table: alias::Table,
    /// Of each column.
    weights: Vec<u16>,
    pub(super) algorithm: abi::Algorithm,
    /// Empty where the algorithm needs none.
    pub(super) index: Vec<u16>,
}

impl<'a> Section<'a> {
    /// Over those members that are `wanted`.
    pub(super) fn new(content: &'a Content, wanted: impl Fn(&Member) -> bool) -> Self {
        let members = content.members.iter();
        let of_members = members.map(|m| if wanted(m) { m.share } else { 0 });
        // First of all comes what is not served, as its place is below all others.
        let mut shares = vec![content.unserved];
        shares.extend(of_members);
        if shares.iter().skip(1).all(|&share| share == 0) {
            shares.clear();
        }
        let mut section = Self {
            content,
            table: alias::Table::new(&shares),
            weights: Vec::new(),
            algorithm: abi::Algorithm::Random,
            index: Vec::new(),
        };
        let columns = section.table.columns.iter();
        let shares: Vec<u64> = columns.map(|column| shares[column.own]).collect();
        section.weights = weights(&shares);
        (section.algorithm, section.index) = section.choose(&shares);
        section
    }

    pub(super) fn slots(&self) -> usize {
        self.table.columns.len()
    }

    pub(super) fn total(&self) -> u32 {
        self.table.total
    }

    /// Whether columns can name each other.
    pub(super) fn fits(&self) -> bool {
        self.slots() <= MAX_SLOTS as usize
    }

    pub(super) fn index_cells(&self) -> usize {
        self.index.len().div_ceil(INDEXES as usize)
    }

    /// `endpoints` are the ids of the content's members.
    pub(super) fn encode(&self, endpoints: &[u32]) -> impl Iterator<Item = Slot> {
        let columns = self.table.columns.iter().zip(&self.weights);
        columns.map(|(column, &weight)| {
            let member = self.member(column);
            let place = member.map_or((Address::default(), Port::new(0)), |(_, member)| {
                member.place()
            });
            let id = member.and_then(|(index, _)| endpoints.get(index));
            let slot = Column {
                threshold: column.threshold,
                alias: u32::try_from(column.alias).unwrap_or(0),
                weight,
                pool: member.map_or(0, |(_, member)| member.pool),
            };
            Slot::new(place.0, place.1, id.copied().unwrap_or(UNCOUNTED), &slot)
        })
    }

    /// The member that a column is of, with its number; `None` for what is not served.
    fn member(&self, column: &alias::Column) -> Option<(usize, &Member)> {
        let index = column.own.checked_sub(1)?;
        Some((index, self.content.members.get(index)?))
    }

    /// What the kernel does for the algorithm that is asked for, and its index table. Where two bytes cannot number the slots,
    /// turns and hashes are those of the slots themselves; weights are kept before turns.
    fn choose(&self, shares: &[u64]) -> (abi::Algorithm, Vec<u16>) {
        let without = |algorithm| (algorithm, Vec::new());
        if shares.len() < 2 {
            return without(abi::Algorithm::Random);
        }
        let can_index = shares.len() <= usize::from(u16::MAX) + 1;
        match self.content.algorithm {
            Algorithm::LeastRequest if self.has_pool() => without(abi::Algorithm::LeastRequest),
            Algorithm::RoundRobin if shares.iter().all(|&share| share == shares[0]) => {
                without(abi::Algorithm::RoundRobin)
            }
            Algorithm::RoundRobin if can_index => {
                (abi::Algorithm::RoundRobin, schedule::schedule(shares))
            }
            Algorithm::SourceHash(by) if can_index => {
                (abi::Algorithm::SourceHash, self.hash_table(by, shares))
            }
            Algorithm::SourceHash(_) => without(abi::Algorithm::SourceHash),
            Algorithm::LeastRequest
            | Algorithm::RoundRobin
            | Algorithm::Random
            | Algorithm::Passthrough => without(abi::Algorithm::Random),
        }
    }

    fn hash_table(&self, by: HashTable, shares: &[u64]) -> Vec<u16> {
        let names = self.table.columns.iter().map(|column| self.name(column));
        let endpoints: Vec<_> = names.zip(shares.iter().copied()).collect();
        match by {
            HashTable::Maglev { size } => maglev::table(&endpoints, size),
            HashTable::Ring { minimum_size } => ring::table(&endpoints, minimum_size),
        }
    }

    /// Whether there are two that may take connects of each other.
    fn has_pool(&self) -> bool {
        let columns = self.table.columns.iter();
        let pools = columns.filter_map(|column| Some(self.member(column)?.1.pool));
        let mut seen = BTreeSet::new();
        pools
            .filter(|&pool| pool != 0)
            .any(|pool| !seen.insert(pool))
    }

    /// What an endpoint has its places in a hash table by.
    fn name(&self, column: &alias::Column) -> String {
        let place = |(_, member): (usize, &Member)| {
            SocketAddr::new(address::to_ip(member.address), member.port.get()).to_string()
        };
        self.member(column).map_or_else(String::new, place)
    }
}

/// Shares in two bytes: as they are in lowest terms, or in parts of the largest.
fn weights(shares: &[u64]) -> Vec<u16> {
    let divisor = alias::common_divisor(shares);
    let most = shares.iter().max().map_or(1, |most| most / divisor);
    let scale = u128::from(most.max(u64::from(u16::MAX)));
    let weight = |share: &u64| {
        let part = u128::from(share / divisor) * u128::from(u16::MAX) / scale;
        u16::try_from(part).map_or(u16::MAX, |weight| weight.max(1))
    };
    shares.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_weights_are_exact() {
        assert_eq!(weights(&[70, 30]), [7, 3]);
        assert_eq!(weights(&[0xffff, 1]), [0xffff, 1]);
        assert_eq!(weights(&[u64::MAX, 1 << 40]), [0xffff, 1]);
        assert_eq!(weights(&[]), Vec::<u16>::new());
    }

    proptest! {
        #[test]
        fn weights_are_as_shares(shares in prop::collection::vec(1u64.., 1..20)) {
            let most = u128::from(*shares.iter().max().unwrap());
            let weights = weights(&shares);
            let heaviest = u128::from(*weights.iter().max().unwrap());
            for (share, weight) in shares.into_iter().zip(weights) {
                // |weight - share × heaviest / most| ≤ 1
                let (is, should) = (u128::from(weight) * most, u128::from(share) * heaviest);
                prop_assert!(is.abs_diff(should) <= most);
            }
        }
    }
}
