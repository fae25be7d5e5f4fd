//! How much load each priority, and each locality within one, takes when some endpoints are unhealthy: Envoy's
//! arithmetic. Knows nothing of what made an endpoint unhealthy.
//!
//! Sources: Envoy's `LoadBalancerBase::recalculatePerPriorityState` and `distributeLoad` for priorities,
//! `HostSetImpl::effectiveLocalityWeight` for localities, `recalculatePerPriorityPanic` for when health does not count any
//! more.

use super::shares::gcd;

/// Percent: an endpoint is taken to be able to carry 1.4 times its part, so that load spills over to the next
/// priority once less than 71 % are healthy.
const OVERPROVISIONING: u64 = 140;

/// The endpoints of a priority or of a locality, counted. Their weights do not matter here, as Istio leaves Envoy's
/// `weighted_priority_health` off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) healthy: u64,
    pub(super) total: u64,
}

impl Health {
    pub(super) fn add(&mut self, is_healthy: bool) {
        self.total += 1;
        self.healthy += u64::from(is_healthy);
    }

    /// 0 to 100: how much of the whole load these endpoints can carry.
    fn percent(self) -> u64 {
        let carried = OVERPROVISIONING.saturating_mul(self.healthy);
        carried.checked_div(self.total).unwrap_or(0).min(100)
    }
}

/// What each priority takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Loads {
    /// 100 in sum, or 0 when nothing can take any.
    pub(super) percent: Vec<u64>,
    /// Whether all endpoints of the priority share its load, healthy or not: so few are healthy that they would break
    /// under it.
    pub(super) in_panic: Vec<bool>,
}

/// The loads of the priorities. One is in panic that has less than `threshold` percent of its endpoints healthy while all
/// priorities together cannot carry the whole load.
pub(super) fn loads(priorities: &[Health], threshold: u32) -> Loads {
    let available: u64 = priorities.iter().map(|priority| priority.percent()).sum();
    let is_in_panic = |priority: &Health| {
        available < 100 && priority.healthy * 100 < priority.total * u64::from(threshold.min(100))
    };
    let in_panic: Vec<bool> = priorities.iter().map(is_in_panic).collect();
    let all: u64 = priorities.iter().map(|priority| priority.total).sum();
    let is_total = in_panic
        .iter()
        .zip(priorities)
        .all(|(panic, priority)| *panic || priority.total == 0);
    let percent = if threshold > 0 && all > 0 && is_total && available < 100 {
        by_sizes(priorities, all)
    } else {
        priority_loads(priorities)
    };
    Loads { percent, in_panic }
}

/// Where every priority is in panic, each takes a load by the number of its endpoints.
fn by_sizes(priorities: &[Health], all: u64) -> Vec<u64> {
    let mut percent: Vec<u64> = priorities.iter().map(|p| p.total * 100 / all).collect();
    let left = 100 - percent.iter().sum::<u64>();
    if let Some(first) = priorities.iter().position(|priority| priority.total > 0) {
        percent[first] += left;
    }
    percent
}

/// The load of each priority in percent: 100 in sum, or 0 when nothing is healthy.
fn priority_loads(priorities: &[Health]) -> Vec<u64> {
    let available: Vec<u64> = priorities.iter().map(|p| p.percent()).collect();
    let normalized = available.iter().sum::<u64>().min(100);
    let Some(first) = available.iter().position(|a| *a > 0) else {
        return last_resort(priorities);
    };
    let mut left = 100;
    let mut loads: Vec<u64> = available
        .iter()
        .map(|availability| {
            let load = (availability * 100 / normalized).min(left);
            left -= load;
            load
        })
        .collect();
    // What rounding left over goes to the first priority that can take it.
    loads[first] += left;
    loads
}

/// Where so few are healthy that they round to nothing, the first priority that has any takes all.
fn last_resort(priorities: &[Health]) -> Vec<u64> {
    let first = priorities.iter().position(|priority| priority.healthy > 0);
    let load = |index| if Some(index) == first { 100 } else { 0 };
    (0..priorities.len()).map(load).collect()
}

/// The weight of each locality of one priority, diminished by what its unhealthy endpoints cannot carry: in units
/// that are the same for all localities given.
pub(super) fn effective_weights(localities: &[(u64, Health)]) -> Vec<u128> {
    // A common multiple of the denominators keeps the weights exact; with more localities of odd sizes than fit, a
    // fixed one is as near as matters.
    let unit = localities
        .iter()
        .filter(|(_, health)| health.percent() < 100 && health.total > 0)
        .map(|(_, health)| 100 * u128::from(health.total))
        .try_fold(1_u128, |unit, total| {
            let multiple = unit / gcd(unit, total) * total;
            (multiple < 1 << 48).then_some(multiple)
        })
        .unwrap_or(1 << 48);
    let weigh = |(weight, health): &(u64, Health)| {
        let carried = u128::from(OVERPROVISIONING * health.healthy);
        let whole = 100 * u128::from(health.total);
        if carried >= whole {
            u128::from(*weight) * unit * u128::from(health.total > 0)
        } else {
            u128::from(*weight) * unit * carried / whole
        }
    };
    localities.iter().map(weigh).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(healthy_percent: &[u64]) -> Vec<u64> {
        let health = healthy_percent.iter().map(|healthy| Health {
            healthy: *healthy,
            total: 100,
        });
        priority_loads(&health.collect::<Vec<_>>())
    }

    /// The table of Envoy's "Priority levels" page, and its rounding.
    #[test]
    fn load_spills_over_as_priorities_lose_endpoints() {
        for (healthy, expected) in [
            (vec![100, 100], vec![100, 0]),
            (vec![72, 72], vec![100, 0]),
            (vec![71, 71], vec![99, 1]),
            (vec![50, 50], vec![70, 30]),
            (vec![25, 100], vec![35, 65]),
            (vec![25, 25], vec![50, 50]),
            (vec![0, 100], vec![0, 100]),
            (vec![5, 65], vec![8, 92]),
            (vec![20, 20, 10], vec![40, 40, 20]),
            (vec![25, 25, 0, 20], vec![37, 35, 0, 28]),
            (vec![0, 0], vec![0, 0]),
        ] {
            let found = loads(&healthy);
            let sum: u64 = found.iter().sum();
            assert!(sum == 100 || healthy.iter().all(|h| *h == 0));
            assert_eq!(found, expected, "healthy: {healthy:?}");
        }
    }

    #[test]
    fn one_healthy_endpoint_of_very_many_takes_all_rather_than_nobody() {
        let health = |healthy, total| Health { healthy, total };
        assert_eq!(priority_loads(&[health(0, 9), health(1, 200)]), [0, 100]);
        assert_eq!(priority_loads(&[health(1, 200), health(1, 1)]), [0, 100]);
    }

    #[test]
    fn a_priority_without_endpoints_takes_no_load() {
        let empty = Health::default();
        let full = Health {
            healthy: 3,
            total: 3,
        };
        assert_eq!(priority_loads(&[empty, full]), [0, 100]);
        assert_eq!(priority_loads(&[]), Vec::<u64>::new());
    }

    #[test]
    fn a_locality_loses_weight_only_once_less_than_the_overprovisioned_part_is_healthy() {
        let health = |healthy, total| Health { healthy, total };
        // 1.4 × 1/2 = 0.7 of the first, all of the second, none of the third.
        let weights =
            effective_weights(&[(10, health(1, 2)), (10, health(5, 7)), (10, health(0, 4))]);
        assert_eq!(weights[0] * 10, weights[1] * 7);
        assert!(weights[1] > 0);
        assert_eq!(weights[2], 0);
    }

    fn panicking(healthy: &[(u64, u64)], threshold: u32) -> (Vec<u64>, Vec<bool>) {
        let health = healthy.iter().map(|(healthy, total)| Health {
            healthy: *healthy,
            total: *total,
        });
        let health: Vec<Health> = health.collect();
        let loads = super::loads(&health, threshold);
        (loads.percent, loads.in_panic)
    }

    /// The table of Envoy's "Panic threshold" page.
    #[test]
    fn a_priority_with_too_few_healthy_endpoints_panics_unless_the_others_carry_the_load() {
        let of = |first, second| panicking(&[(first, 100), (second, 100)], 50);
        assert_eq!(of(72, 72), (vec![100, 0], vec![false, false]));
        assert_eq!(of(71, 71), (vec![99, 1], vec![false, false]));
        assert_eq!(of(25, 100), (vec![35, 65], vec![false, false]));
        assert_eq!(of(5, 65), (vec![8, 92], vec![true, false]));
        assert_eq!(of(0, 25).1, [true, true]);
        assert_eq!(of(0, 0), (vec![50, 50], vec![true, true]));
    }

    #[test]
    fn in_total_panic_priorities_share_by_their_sizes() {
        assert_eq!(panicking(&[(0, 2), (0, 1)], 50).0, [67, 33]);
        assert_eq!(panicking(&[(0, 0), (0, 3)], 50).0, [0, 100]);
    }

    #[test]
    fn without_a_threshold_nothing_healthy_takes_no_load() {
        assert_eq!(
            panicking(&[(0, 3), (0, 3)], 0),
            (vec![0, 0], vec![false, false])
        );
    }

    #[test]
    fn healthy_localities_keep_their_weights_as_they_are() {
        let full = Health {
            healthy: 2,
            total: 2,
        };
        assert_eq!(effective_weights(&[(7, full), (3, full)]), [7, 3]);
    }

    #[test]
    fn many_localities_of_odd_sizes_stay_within_bounds() {
        let sizes = [101_u64, 103, 107, 109, 113, 127, 131, 137, 139, 149];
        let localities = sizes.map(|total| (u64::from(u32::MAX), Health { healthy: 1, total }));
        let weights = effective_weights(&localities);
        let (first, last) = (weights[0] * 101, weights[9] * 149);
        assert!(first.abs_diff(last) < first / 1_000_000_000, "{weights:?}");
    }
}
