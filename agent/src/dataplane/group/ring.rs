//! A ring: every endpoint has points on a circle, by hashes of its name with numbers, and a client is the endpoint's whose point
//! follows its own hash. What moves when an endpoint goes is what was at it.
//!
//! This is Envoy's ketama (`source/extensions/load_balancing_policies/ring_hash`), but that the points of an endpoint are a power
//! of two, so that they stay when endpoints come and go, and that the circle is cut into buckets, so that none has to be
//! searched for.

use super::hash::hash;

/// Points and buckets at most.
const LARGEST: u64 = 1 << 16;
/// Of each point on the average, at least.
const BUCKETS: u64 = 4;

/// Buckets of equal size, in the order of hashes, with the index of the endpoint that each is of. The endpoints are by name
/// and share, which is above 0.
pub(super) fn table(endpoints: &[(String, u64)], minimum_size: u64) -> Vec<u16> {
    let shares: Vec<u64> = endpoints.iter().map(|(_, share)| *share).collect();
    let counts = counts(&shares, minimum_size);
    let mut points: Vec<(u64, u16)> = Vec::new();
    for (((name, _), count), index) in endpoints.iter().zip(&counts).zip(0..=u16::MAX) {
        points.extend((0..*count).map(|point| (hash(&format!("{name}_{point}"), 0), index)));
    }
    points.sort_unstable();
    let Some(&(_, first)) = points.first() else {
        return Vec::new();
    };
    // There are fewer points than twice the minimum, however many endpoints share them: so the buckets stay, too, when
    // endpoints come and go.
    let most = 2 * minimum_size.clamp(1, LARGEST);
    let buckets = (counts.iter().sum::<u64>().max(most) * BUCKETS)
        .next_power_of_two()
        .min(LARGEST);
    let width = u64::MAX / buckets + 1;
    let mut rest = points.into_iter().peekable();
    let mut owners = Vec::new();
    for bucket in 0..buckets {
        while rest.next_if(|(at, _)| *at < bucket * width).is_some() {}
        // Behind the last point comes the first.
        owners.push(rest.peek().map_or(first, |&(_, owner)| owner));
    }
    owners
}

/// How many points each has: in proportion to its share, together no fewer than `minimum_size`, as far as there is room.
fn counts(shares: &[u64], minimum_size: u64) -> Vec<u64> {
    let least = shares.iter().min().copied().map_or(1, u128::from);
    let total: u128 = shares.iter().map(|&share| u128::from(share)).sum();
    let minimum = u128::from(minimum_size.clamp(1, LARGEST));
    let of_least = (minimum * least).div_ceil(total.max(1)).next_power_of_two();
    let largest = u128::from(LARGEST);
    let count = |share: &u64| {
        let share = u128::from(*share);
        let count = if of_least * total <= largest * least {
            of_least * share / least
        } else {
            largest * share / total
        };
        u64::try_from(count).map_or(LARGEST, |count| count.max(1))
    };
    shares.iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::super::hash::weighing;
    use super::*;
    use proptest::prelude::*;

    fn endpoints(count: u8) -> Vec<(String, u64)> {
        weighing(&vec![1; usize::from(count)])
    }

    #[test]
    fn points_are_as_shares_and_no_fewer_than_asked_for() {
        assert_eq!(counts(&[1, 1, 2], 1024), [256, 256, 512]);
        assert_eq!(counts(&[5; 3], 1024), [512; 3]);
        assert_eq!(counts(&[1, 1_000_000], 1024), [1, 65_535]);
        assert_eq!(counts(&[7], 0), [1]);
    }

    #[test]
    fn buckets_are_four_times_the_points_that_there_may_be() {
        for count in [1, 3, 4, 5, 100] {
            assert_eq!(table(&endpoints(count), 1024).len(), 8192);
        }
        assert_eq!(table(&endpoints(100), 1).len(), 512);
        assert_eq!(table(&endpoints(3), 1 << 20).len(), 65_536);
        assert_eq!(table(&[], 7), Vec::<u16>::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_moves_is_what_was_at_the_endpoint_that_is_gone(
            count in prop_oneof![5u8..=7, 9u8..=15, 17u8..=30],
            gone in 0u8..30,
        ) {
            // Of so many, each has the same number of points, before and after.
            let hosts = endpoints(count);
            let gone = usize::from(gone % count);
            let mut left = hosts.clone();
            left.remove(gone);
            let (before, after) = (table(&hosts, 1024), table(&left, 1024));
            prop_assert_eq!(before.len(), after.len());
            for (a, b) in before.into_iter().zip(after) {
                let (a, b) = (usize::from(a), usize::from(b));
                prop_assert!(a == gone || hosts[a].0 == left[b].0);
            }
        }

        #[test]
        fn shares_are_about_as_weights(weights in prop::collection::vec(1u64..5, 2..8)) {
            let hosts = weighing(&weights);
            let table = table(&hosts, 8192);
            let total: u64 = weights.iter().sum();
            for (index, weight) in (0u16..).zip(weights) {
                let share = table.iter().filter(|owner| **owner == index).count() as u64;
                let expected = table.len() as u64 * weight / total;
                prop_assert!(share.abs_diff(expected) * 4 <= expected, "{} instead of {}", share, expected);
            }
        }
    }
}
