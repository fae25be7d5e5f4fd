//! From weights, priorities, localities and health to one whole number per endpoint: its share of new connections.
//! Exact wherever the exact shares have a common unit that the kernel's 32 bits can hold.

use std::collections::BTreeMap;

use crate::model::Vital;

use super::load::{Health, Loads, effective_weights, loads};

/// What decides the share of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// 0 for one that is as good as not there.
    pub(super) weight: u32,
    pub(super) vital: Vital,
    /// From 0, without gaps.
    pub(super) priority: u32,
    /// Index of its locality among the weights given; of no meaning without them.
    pub(super) group: u32,
}

impl Part {
    /// What it counts among the healthy of its pool: its weight in thousandths, less while it warms up.
    fn drawn(&self) -> u64 {
        u64::from(self.weight) * u64::from(self.vital.thousandths())
    }
}

/// The kernel's totals are 32 bits wide.
const LIMIT: u128 = u32::MAX as u128;

/// The share of each part. `groups`: the weight of each locality where localities are weighted as such (then one of
/// weight 0 is as good as not there); without them the weights of endpoints alone decide within a priority.
/// `panic_percent`: where fewer of a priority's endpoints are healthy and the others cannot carry its load, all of its
/// endpoints share it by weight, healthy or not.
///
/// The shares have no common divisor, sum up to at most `u32::MAX`, and are all 0 if nothing is left that takes any.
pub(super) fn divide(parts: &[Part], groups: Option<&[u64]>, panic_percent: u32) -> Vec<u64> {
    let rules = Rules::new(parts, groups, panic_percent);
    let pools = pools(parts, &rules);
    let in_pool = |part: &Part| {
        let pool = pools.get(&rules.pool(part)).filter(|_| rules.takes(part));
        pool.map_or((0, Ratio::ZERO), |pool| (part.drawn(), pool.unit))
    };
    let drawn: Vec<(u64, Ratio)> = parts.iter().map(in_pool).collect();
    let wide = exact(&drawn).unwrap_or_else(|| {
        let near = |(weight, unit): &(u64, Ratio)| u128::from(*weight) * unit.fixed();
        drawn.iter().map(near).collect()
    });
    fit(wide)
}

/// Who takes part in what.
struct Rules<'g> {
    groups: Option<&'g [u64]>,
    loads: Loads,
}

/// Of a pool: its priority, and its locality where those are weighted.
type PoolKey = (u32, u32);

impl<'g> Rules<'g> {
    fn new(parts: &[Part], groups: Option<&'g [u64]>, panic_percent: u32) -> Self {
        let mut rules = Self {
            groups,
            loads: Loads::default(),
        };
        let last = parts.iter().map(|part| part.priority).max().unwrap_or(0);
        let mut priorities = vec![Health::default(); last as usize + 1];
        for part in parts.iter().filter(|part| rules.is_there(part)) {
            priorities[part.priority as usize].add(part.vital.is_healthy());
        }
        rules.loads = loads(&priorities, panic_percent);
        rules
    }

    fn is_there(&self, part: &Part) -> bool {
        let weight = |groups: &[u64]| groups[part.group as usize];
        part.weight > 0 && self.groups.is_none_or(|groups| weight(groups) > 0)
    }

    fn is_in_panic(&self, priority: u32) -> bool {
        self.loads.in_panic[priority as usize]
    }

    /// Localities do not count in panic.
    fn pool(&self, part: &Part) -> PoolKey {
        let is_one = self.groups.is_none() || self.is_in_panic(part.priority);
        (part.priority, if is_one { 0 } else { part.group })
    }

    fn takes(&self, part: &Part) -> bool {
        self.is_there(part) && (part.vital.is_healthy() || self.is_in_panic(part.priority))
    }

    fn weight_of(&self, (priority, group): PoolKey) -> u64 {
        let groups = self.groups.filter(|_| !self.is_in_panic(priority));
        groups.map_or(1, |groups| groups[group as usize])
    }
}

/// The shares of several pools of endpoints as parts of one whole: each pool comes with its weight and the shares within it.
/// What falls to pools in which nobody has a share is the second that is returned.
pub(super) fn join(pools: Vec<(u64, Vec<u64>)>) -> (Vec<Vec<u64>>, u64) {
    let sums: Vec<u64> = pools
        .iter()
        .map(|(_, shares)| shares.iter().sum())
        .collect();
    if let [_] | [] = pools[..] {
        return (pools.into_iter().map(|(_, shares)| shares).collect(), 0);
    }
    let served = || {
        sums.iter()
            .filter(|sum| **sum > 0)
            .map(|sum| u128::from(*sum))
    };
    let multiple = |unit: u128, sum: u128| (unit / gcd(unit, sum)).checked_mul(sum);
    let unit = served()
        .try_fold(1, multiple)
        .filter(|unit| *unit < 1 << 90)
        .unwrap_or(1 << 90);
    let mut wide = Vec::new();
    let mut unserved = 0;
    for ((weight, shares), sum) in pools.iter().zip(&sums) {
        if *sum == 0 {
            unserved += u128::from(*weight) * unit;
        }
        // Exact where `unit` is a multiple of the sum; else off by less than 2^-58.
        let factor = u128::from(*weight) * (unit / u128::from((*sum).max(1)));
        wide.extend(shares.iter().map(|share| u128::from(*share) * factor));
    }
    wide.push(unserved);
    let mut fitted = fit(wide);
    let unserved = fitted.pop().unwrap_or(0);
    let mut fitted = fitted.into_iter();
    let shares = pools
        .iter()
        .map(|(_, shares)| fitted.by_ref().take(shares.len()).collect());
    (shares.collect(), unserved)
}

/// Endpoints among which only weights decide: one priority, or one locality of it.
struct Pool {
    health: Health,
    /// What those count who take a part.
    weight: u64,
    /// The share of one unit of weight.
    unit: Ratio,
}

fn pools(parts: &[Part], rules: &Rules) -> BTreeMap<PoolKey, Pool> {
    let mut pools: BTreeMap<PoolKey, Pool> = BTreeMap::new();
    for part in parts.iter().filter(|part| rules.is_there(part)) {
        let pool = pools.entry(rules.pool(part)).or_insert(Pool {
            health: Health::default(),
            weight: 0,
            unit: Ratio::ZERO,
        });
        let takes = rules.takes(part);
        pool.health.add(takes);
        pool.weight += if takes { part.drawn() } else { 0 };
    }
    for (priority, load) in (0..).zip(&rules.loads.percent) {
        let of_priority: Vec<(PoolKey, &mut Pool)> = pools
            .range_mut((priority, 0)..=(priority, u32::MAX))
            .map(|(key, pool)| (*key, pool))
            .collect();
        let weighted = of_priority.iter();
        let weighted = weighted.map(|(key, pool)| (rules.weight_of(*key), pool.health));
        let effective = effective_weights(&weighted.collect::<Vec<_>>());
        let whole: u128 = effective.iter().sum();
        for ((_, pool), part) in of_priority.into_iter().zip(effective) {
            pool.unit = Ratio::of(part, whole, *load, pool.weight);
        }
    }
    pools
}

/// A fraction in lowest terms, from 0 to 1; the denominator is below 2^127.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    numerator: u128,
    denominator: u128,
}

impl Ratio {
    const ZERO: Self = Self {
        numerator: 0,
        denominator: 1,
    };

    /// `part / whole × percent / 100 / weight`.
    fn of(part: u128, whole: u128, percent: u64, weight: u64) -> Self {
        if part == 0 || percent == 0 || weight == 0 {
            return Self::ZERO;
        }
        let common = gcd(part, whole);
        let (mut part, mut whole) = (part / common, whole / common);
        // Room for the percentage and for a weight of 48 bits; nothing is lost of any whole that localities have in
        // earnest.
        let excess = (128 - whole.leading_zeros()).saturating_sub(70);
        part >>= excess;
        whole >>= excess;
        let numerator = part.max(1) * u128::from(percent);
        let denominator = whole * 100 * u128::from(weight);
        let common = gcd(numerator, denominator);
        Self {
            numerator: numerator / common,
            denominator: denominator / common,
        }
    }

    /// In units of 2^-80, rounded down.
    fn fixed(self) -> u128 {
        let mut quotient = 0;
        let mut remainder = self.numerator;
        for _ in 0..80 {
            remainder <<= 1;
            quotient <<= 1;
            if remainder >= self.denominator {
                remainder -= self.denominator;
                quotient |= 1;
            }
        }
        quotient
    }
}

/// The shares in their least common unit, if that leaves room to go on with.
fn exact(drawn: &[(u64, Ratio)]) -> Option<Vec<u128>> {
    let mut unit: u128 = 1;
    let mut last = 1;
    for (_, ratio) in drawn.iter().filter(|(weight, _)| *weight > 0) {
        if ratio.denominator != last {
            last = ratio.denominator;
            unit = (unit / gcd(unit, last)).checked_mul(last)?;
        }
    }
    // The whole is one, so `unit` is also what the shares sum up to.
    (unit < 1 << 90).then(|| {
        let mut factor = (Ratio::ZERO, 0);
        let share = |(weight, ratio): &(u64, Ratio)| {
            // Neighbours are mostly of one pool: wide divisions are slow.
            if factor.0 != *ratio {
                factor = (*ratio, ratio.numerator * (unit / ratio.denominator));
            }
            u128::from(*weight) * factor.1
        };
        drawn.iter().map(share).collect()
    })
}

/// Brings shares down to the kernel's width: by their common divisor, and if that is not enough by the largest
/// remainder, where what is not nothing stays at least 1.
fn fit(mut shares: Vec<u128>) -> Vec<u64> {
    let common = shares.iter().copied().fold(0, gcd).max(1);
    if common > 1 {
        for share in &mut shares {
            *share /= common;
        }
    }
    let total: u128 = shares.iter().sum();
    if total > LIMIT {
        scale(&mut shares, total);
    }
    let narrow = |share| u64::try_from(share).expect("a share is at most the limit of 32 bits");
    shares.into_iter().map(narrow).collect()
}

fn scale(shares: &mut [u128], total: u128) {
    let mut remainders: Vec<(u128, usize)> = Vec::with_capacity(shares.len());
    for (i, share) in shares.iter_mut().enumerate().filter(|(_, s)| **s > 0) {
        let wide = *share * LIMIT;
        *share = (wide / total).max(1);
        remainders.push((wide % total, i));
    }
    let sum: u128 = shares.iter().sum();
    if let Some(mut left) = LIMIT.checked_sub(sum) {
        remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        for (_, i) in remainders {
            if left == 0 {
                break;
            }
            shares[i] += 1;
            left -= 1;
        }
    } else {
        // Those that were lifted to 1 are paid for by the largest, which has billions.
        let largest = (0..shares.len()).max_by_key(|i| (shares[*i], usize::MAX - i));
        if let Some(largest) = largest {
            shares[largest] -= sum - LIMIT;
        }
    }
}

/// The greatest common divisor; of 0 and `b`, `b`.
pub(super) fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        if let (Ok(x), Ok(y)) = (u64::try_from(a), u64::try_from(b)) {
            return u128::from(gcd_narrow(x, y));
        }
        (a, b) = (b, a % b);
    }
    a
}

/// 64-bit division is many times as fast as 128-bit division.
fn gcd_narrow(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
