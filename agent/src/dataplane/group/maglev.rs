//! Maglev: a hash table that every endpoint fills by a permutation of its own, so that few places change hands when endpoints
//! come and go (Eisenbud et al., "Maglev", NSDI 2016, section 3.4).
//!
//! Weights are Envoy's (`source/extensions/load_balancing_policies/maglev`): of every round, an endpoint takes part in as many
//! as its weight is of the largest.

use super::hash::hash;

/// Envoy's largest table.
const LARGEST: u64 = 5_000_011;

/// A table of `size` places, or of the next prime number of them: else a permutation would not come to each. The endpoints
/// are by name and share, which is above 0; the places hold their indexes.
pub(super) fn table(endpoints: &[(String, u64)], size: u64) -> Vec<u16> {
    let size = next_prime(size.clamp(2, LARGEST));
    let most = endpoints.iter().map(|(_, share)| *share).max();
    let Some(most) = most.map(u128::from) else {
        return Vec::new();
    };
    let mut hosts: Vec<Host> = endpoints
        .iter()
        .zip(0..=u16::MAX)
        .map(|((name, share), index)| Host::new(name, *share, index, size))
        .collect();
    let mut places: Vec<Option<u16>> = vec![None; usize::try_from(size).unwrap_or(usize::MAX)];
    let mut left = places.len();
    for round in 1u128.. {
        for host in &mut hosts {
            if round * host.share < host.target {
                continue;
            }
            host.target += most;
            host.take(&mut places, size);
            left -= 1;
            if left == 0 {
                return places.into_iter().flatten().collect();
            }
        }
    }
    Vec::new()
}

struct Host {
    index: u16,
    share: u128,
    /// Rounds that it has taken part in, in units of the largest share.
    target: u128,
    /// The place that it wants next.
    next: u64,
    skip: u64,
}

impl Host {
    fn new(name: &str, share: u64, index: u16, size: u64) -> Self {
        Self {
            index,
            share: u128::from(share),
            target: 0,
            next: hash(name, 0) % size,
            skip: hash(name, 1) % (size - 1) + 1,
        }
    }

    /// Takes the first place in its order that nobody has. There is one.
    fn take(&mut self, places: &mut [Option<u16>], size: u64) {
        loop {
            let wanted = usize::try_from(self.next).ok();
            self.next = (self.next + self.skip) % size;
            if let Some(place @ None) = wanted.and_then(|at| places.get_mut(at)) {
                *place = Some(self.index);
                return;
            }
        }
    }
}

fn next_prime(from: u64) -> u64 {
    let is_prime = |number: &u64| {
        let mut divisors = (2..).take_while(|divisor| divisor * divisor <= *number);
        divisors.all(|divisor| !number.is_multiple_of(divisor))
    };
    // There is one before the double of any number (Bertrand's postulate).
    (from..=2 * from).find(is_prime).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::super::hash::weighing;
    use super::*;
    use proptest::prelude::*;

    fn endpoints(count: u8) -> Vec<(String, u64)> {
        weighing(&vec![1; usize::from(count)])
    }

    fn shares(table: &[u16], endpoints: usize) -> Vec<usize> {
        let mut shares = vec![0; endpoints];
        for &index in table {
            shares[usize::from(index)] += 1;
        }
        shares
    }

    #[test]
    fn a_size_that_is_not_prime_becomes_the_next_that_is() {
        assert_eq!(table(&endpoints(3), 100).len(), 101);
        assert_eq!(table(&endpoints(3), 65_537).len(), 65_537);
        assert_eq!(table(&[], 7), Vec::<u16>::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn endpoints_of_one_weight_have_shares_that_differ_by_one(count in 1u8..40) {
            let shares = shares(&table(&endpoints(count), 2_039), usize::from(count));
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", shares);
        }

        #[test]
        fn shares_are_as_weights(weights in prop::collection::vec(1u64..20, 1..12)) {
            let hosts = weighing(&weights);
            let table = table(&hosts, 10_007);
            let total: u64 = weights.iter().sum();
            for (share, weight) in shares(&table, hosts.len()).into_iter().zip(weights) {
                let expected = table.len() as u64 * weight / total;
                let off = (share as u64).abs_diff(expected);
                // The last round is cut off where the table is full.
                prop_assert!(off <= 2 + expected / 100, "{} instead of {}", share, expected);
            }
        }

        /// Of the paper's own measure: besides the places of what is gone, some few change hands among the others.
        #[test]
        fn little_moves_but_what_was_at_the_endpoint_that_is_gone(count in 2u8..30, gone in 0u8..30) {
            let hosts = endpoints(count);
            let gone = usize::from(gone % count);
            let mut left = hosts.clone();
            left.remove(gone);
            let (before, after) = (table(&hosts, 10_007), table(&left, 10_007));
            let moved = before.iter().zip(&after).filter(|(a, b)| {
                let (a, b) = (usize::from(**a), usize::from(**b));
                a != gone && hosts[a].0 != left[b].0
            });
            let (moved, others) = (moved.count(), before.len() * (hosts.len() - 1) / hosts.len());
            prop_assert!(moved * 100 <= others * 15, "{} of {} moved", moved, others);
        }
    }
}
