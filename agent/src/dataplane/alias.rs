//! Alias tables (Vose 1991): any shares, drawn in constant time, in exact integer arithmetic.

/// One column: of `total` equally likely draws that hit it, `threshold` are its own and the others `alias`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Index into the shares that the table was built from.
    pub own: usize,
    pub threshold: u32,
    /// Index of another column.
    pub alias: usize,
}

/// What the columns say together: every column is equally likely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub columns: Vec<Column>,
    pub total: u32,
}

impl Table {
    /// A table with one column for each share above 0. Exact where the shares, divided by their greatest common divisor,
    /// sum to less than 2³²; larger ones are rounded to that by the largest remainder.
    pub(super) fn new(shares: &[u64]) -> Self {
        let reduced = reduce(shares);
        let owners: Vec<usize> = (0..reduced.len()).filter(|&i| reduced[i] > 0).collect();
        let total: u64 = reduced.iter().map(|&s| u64::from(s)).sum();
        let count = owners.len() as u64;
        // In units in which every column holds `total`.
        let mut left: Vec<u64> = owners
            .iter()
            .map(|&i| u64::from(reduced[i]) * count)
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..left.len()).rev().partition(|&c| left[c] < total);
        let mut columns: Vec<Column> = owners
            .iter()
            .enumerate()
            .map(|(c, &own)| Column {
                own,
                threshold: narrow(total),
                alias: c,
            })
            .collect();
        while let (Some(c), Some(&donor)) = (small.pop(), large.last()) {
            columns[c].threshold = narrow(left[c]);
            columns[c].alias = donor;
            left[donor] -= total - left[c];
            if left[donor] < total {
                large.pop();
                small.push(donor);
            }
        }
        Self {
            columns,
            total: narrow(total),
        }
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).expect("shares are reduced to sum to less than 2^32")
}

/// Shares of the same proportions that sum to less than 2³².
fn reduce(shares: &[u64]) -> Vec<u32> {
    let divisor = common_divisor(shares);
    let total: u128 = shares.iter().map(|&s| u128::from(s / divisor)).sum();
    let limit = u128::from(u32::MAX);
    if total <= limit {
        return shares.iter().map(|&s| narrow(s / divisor)).collect();
    }
    // No endpoint that has a share may lose all of it, so each gets one unit before the rest is divided.
    let served = shares.iter().filter(|&&s| s > 0).count() as u128;
    let room = limit - served;
    shares
        .iter()
        .map(|&s| {
            let part = u128::from(s / divisor) * room / total;
            u32::try_from(part + u128::from(s > 0)).expect("at most the limit")
        })
        .collect()
}

/// The greatest common divisor of all; 1 where all are 0.
pub(super) fn common_divisor(shares: &[u64]) -> u64 {
    shares.iter().copied().fold(0, gcd).max(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Probability of each share, in units of 1 / (columns × total).
    fn probabilities(table: &Table, shares: usize) -> Vec<u128> {
        let mut result = vec![0; shares];
        for column in &table.columns {
            result[column.own] += u128::from(column.threshold);
            result[table.columns[column.alias].own] += u128::from(table.total - column.threshold);
        }
        result
    }

    #[test]
    fn one_share_needs_one_column() {
        let table = Table::new(&[0, 7, 0]);
        assert_eq!(table.total, 1);
        assert_eq!(
            table.columns,
            [Column {
                own: 1,
                threshold: 1,
                alias: 0
            }]
        );
    }

    #[test]
    fn no_share_gives_no_column() {
        assert_eq!(Table::new(&[0, 0]), Table::default());
        assert_eq!(Table::new(&[]), Table::default());
    }

    #[test]
    fn shares_too_large_for_the_kernel_keep_their_proportions() {
        let shares = [u64::MAX, u64::MAX / 2, 1];
        let table = Table::new(&shares);
        let parts = probabilities(&table, 3);
        assert!(parts[2] > 0);
        let millionths = parts[0] * 1_000_000 / parts[1];
        assert!(
            (1_999_999..=2_000_001).contains(&millionths),
            "{millionths}"
        );
    }

    proptest! {
        #[test]
        fn the_probability_of_every_endpoint_equals_its_share(
            shares in prop::collection::vec(prop_oneof![0u64..5, 0u64..10_000, Just(1_000_000)], 0..60)
        ) {
            let table = Table::new(&shares);
            let total: u64 = shares.iter().sum();
            let parts = probabilities(&table, shares.len());
            let columns = table.columns.len() as u128;
            for (part, share) in parts.iter().zip(&shares) {
                // part / (columns × table.total) == share / total
                prop_assert_eq!(
                    part * u128::from(total),
                    u128::from(*share) * columns * u128::from(table.total)
                );
            }
        }
    }
}
