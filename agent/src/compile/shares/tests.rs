#![expect(
    clippy::cast_precision_loss,
    reason = "the formulas in floating point are what the exact shares are held against"
)]

use proptest::prelude::*;

use super::*;

fn part(weight: u32) -> Part {
    Part {
        weight,
        vital: Vital::Healthy,
        priority: 0,
        group: 0,
    }
}

fn vital(healthy: bool) -> Vital {
    if healthy {
        Vital::Healthy
    } else {
        Vital::Ejected
    }
}

fn at(priority: u32, weight: u32, healthy: bool) -> Part {
    Part {
        weight,
        vital: vital(healthy),
        priority,
        group: 0,
    }
}

fn within(group: u32, weight: u32, healthy: bool) -> Part {
    Part {
        weight,
        vital: vital(healthy),
        priority: 0,
        group,
    }
}

#[test]
fn shares_are_the_weights_in_lowest_terms() {
    assert_eq!(divide(&[part(70), part(30)], None, 0), [7, 3]);
    assert_eq!(divide(&[part(5), part(5), part(5)], None, 0), [1, 1, 1]);
    assert_eq!(divide(&[], None, 0), Vec::<u64>::new());
}

#[test]
fn only_the_first_priority_has_a_share_while_it_is_healthy() {
    let parts = [at(0, 1, true), at(1, 1, true), at(0, 3, true)];
    assert_eq!(divide(&parts, None, 0), [1, 0, 3]);
}

#[test]
fn load_that_a_priority_cannot_carry_spills_over() {
    // Half of priority 0 is healthy: it takes 70 %, the rest goes to priority 1.
    let parts = [
        at(0, 1, true),
        at(0, 1, false),
        at(1, 1, true),
        at(1, 2, true),
    ];
    assert_eq!(divide(&parts, None, 0), [7, 0, 1, 2]);
}

#[test]
fn the_weight_of_an_unhealthy_endpoint_does_not_take_the_healthy_ones_down_with_it() {
    let mut parts = vec![at(0, 1_000_000, false)];
    parts.extend([at(0, 1, true); 4]);
    assert_eq!(divide(&parts, None, 0), [0, 1, 1, 1, 1]);
}

#[test]
fn nothing_healthy_means_no_shares() {
    assert_eq!(divide(&[at(0, 1, false), at(1, 9, false)], None, 0), [0, 0]);
}

#[test]
fn with_too_few_healthy_all_share_by_weight_whatever_their_locality() {
    let parts = [
        within(0, 1, true),
        within(0, 1, false),
        within(1, 2, false),
        within(1, 4, false),
    ];
    let weights = Some(&[9_u64, 1][..]);
    assert_eq!(
        divide(&parts, weights, 25),
        [1, 0, 0, 0],
        "a quarter is enough"
    );
    assert_eq!(divide(&parts, weights, 26), [1, 1, 2, 4]);
    assert_eq!(divide(&[at(0, 1, false), at(1, 9, false)], None, 1), [1, 1]);
}

#[test]
fn localities_divide_by_their_weights_first() {
    let parts = [within(0, 1, true), within(0, 1, true), within(1, 5, true)];
    assert_eq!(divide(&parts, Some(&[80, 20]), 0), [2, 2, 1]);
    assert_eq!(
        divide(&parts, Some(&[0, 20]), 0),
        [0, 0, 1],
        "a locality of weight 0 is empty"
    );
    assert_eq!(divide(&parts, Some(&[0, 0]), 0), [0, 0, 0]);
}

#[test]
fn a_locality_with_unhealthy_endpoints_gives_load_to_the_others_of_its_priority() {
    // Locality 0 can carry 1.4 × 1/2 of its weight: 7 parts against 10.
    let parts = [
        within(0, 1, true),
        within(0, 1, false),
        within(1, 1, true),
        within(1, 1, true),
    ];
    assert_eq!(divide(&parts, Some(&[1, 1]), 0), [7, 0, 5, 5]);
}

#[test]
fn shares_beyond_the_kernels_width_are_scaled_and_none_is_lost() {
    let parts = [part(u32::MAX), part(u32::MAX - 1), part(1)];
    let shares = divide(&parts, None, 0);
    assert_eq!(shares.iter().sum::<u64>(), u64::from(u32::MAX));
    assert_eq!(shares[2], 1);
    assert!(shares[0].abs_diff(shares[1]) <= 1, "{shares:?}");
}

#[test]
fn the_sum_of_lifted_shares_stays_within_the_kernels_width() {
    let mut parts = vec![part(1); 1000];
    parts.extend([part(u32::MAX), part(u32::MAX)]);
    parts.push(at(0, u32::MAX, true));
    let shares = divide(&parts, None, 0);
    assert_eq!(shares.iter().sum::<u64>(), u64::from(u32::MAX));
    assert!(shares.iter().all(|share| *share >= 1));
}

#[test]
fn pools_are_parts_of_one_whole_and_what_nobody_takes_is_kept() {
    let join = |pools: &[(u64, &[u64])]| {
        let pools = pools
            .iter()
            .map(|(weight, shares)| (*weight, shares.to_vec()));
        join(pools.collect())
    };
    let shares = |shares: &[&[u64]]| shares.iter().map(|s| s.to_vec()).collect::<Vec<_>>();
    assert_eq!(join(&[(7, &[1, 2])]), (shares(&[&[1, 2]]), 0));
    // 80 % to the first; 20 % to the second, of which 3 parts in 4 to one.
    let (joined, unserved) = join(&[(80, &[1]), (20, &[3, 1])]);
    assert_eq!((joined, unserved), (shares(&[&[16], &[3, 1]]), 0));
    let (joined, unserved) = join(&[(1, &[0, 0]), (3, &[5])]);
    assert_eq!((joined, unserved), (shares(&[&[0, 0], &[3]]), 1));
    // A common unit of these is beyond any bound: near is enough, and none is lost.
    let primes = [
        4_294_967_291_u64,
        4_294_967_279,
        4_294_967_231,
        4_294_967_197,
    ];
    let pools: Vec<(u64, Vec<u64>)> = primes.iter().map(|p| (1, vec![p - 1, 1])).collect();
    let (joined, _) = super::join(pools);
    assert!(joined.iter().all(|pool| pool[1] == 1), "{joined:?}");
    let sums: Vec<u64> = joined.iter().map(|pool| pool.iter().sum()).collect();
    assert!(
        sums.iter().all(|sum| sum.abs_diff(sums[0]) <= 3),
        "{sums:?}"
    );
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let weight = prop_oneof![0u32..8, 1u32..5000, any::<u32>().prop_map(|w| w.max(1))];
    let vital = prop_oneof![
        4 => Just(Vital::Healthy),
        4 => Just(Vital::Ejected),
        1 => Just(Vital::Failing),
        1 => (1u16..=1000).prop_map(Vital::Warming),
    ];
    let part = (weight, vital, 0u32..4, 0u32..5);
    let part = part.prop_map(|(weight, vital, priority, group)| Part {
        weight,
        vital,
        priority,
        group,
    });
    proptest::collection::vec(part, 1..40)
}

proptest! {
    #[test]
    fn shares_are_those_of_the_model_and_fit_the_kernel(
        parts in parts(),
        groups in proptest::option::of(proptest::collection::vec(0u64..2000, 5)),
        panic in prop_oneof![Just(0), 0u32..=100],
    ) {
        let shares = divide(&parts, groups.as_deref(), panic);
        let total: u64 = shares.iter().sum();
        prop_assert!(u32::try_from(total).is_ok());
        let expected = model::fractions(&parts, groups.as_deref(), panic);
        for (share, expected) in shares.iter().zip(&expected) {
            prop_assert_eq!(*share > 0, *expected > 0.0, "{:?} {:?}", shares, expected);
            let found = *share as f64 / total.max(1) as f64;
            prop_assert!((found - expected).abs() < 2e-9, "{found} is not {expected}");
        }
    }

    #[test]
    fn shares_of_weights_are_exact(weights in proptest::collection::vec(1u32..100_000, 1..60)) {
        let parts: Vec<Part> = weights.iter().map(|weight| part(*weight)).collect();
        let shares = divide(&parts, None, 0);
        let total: u64 = shares.iter().sum();
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for (share, weight) in shares.iter().zip(weights) {
            prop_assert_eq!(share * sum, u64::from(weight) * total);
        }
    }

    #[test]
    fn the_greatest_common_divisor_divides_both(a: u64, b: u64, c in 1u64..1_000_000) {
        let (a, b) = (u128::from(a) * u128::from(c), u128::from(b) * u128::from(c));
        let common = gcd(a, b);
        prop_assert!(a.is_multiple_of(common) && b.is_multiple_of(common));
        prop_assert!(common.is_multiple_of(u128::from(c)));
    }
}
