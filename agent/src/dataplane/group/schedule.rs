//! Whose turn it is: a round in which every slot has as many turns as its share says, as evenly apart as can be.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::alias::common_divisor;

/// Turns of a round, unless there are more slots: longer ones are rounded to so many.
const LONGEST: u64 = 4096;

/// The round, as indexes into `shares`, all of which are above 0. After any number of turns, each has had its part of them, but
/// for less than one.
///
/// Of a round of `n` turns, the k-th of a slot that has `c` is not before ⌊k·n/c⌋ and ends by ⌈(k+1)·n/c⌉; of those that may
/// have a turn, the one that must have it first gets it. On one processor that always succeeds (Baruah et al.,
/// "Proportionate progress", Algorithmica 1996).
pub(super) fn schedule(shares: &[u64]) -> Vec<u16> {
    let counts = turns(shares);
    let length: u64 = counts.iter().sum();
    let job = |index: u16, turn: u64| {
        let count = counts.get(usize::from(index)).copied()?;
        (turn < count).then(|| {
            let (from, until) = (turn * length / count, ((turn + 1) * length).div_ceil(count));
            (from, until, index, turn)
        })
    };
    let slots = (0..=u16::MAX).zip(&counts).map(|(index, _)| index);
    let mut waiting: BinaryHeap<_> = slots.filter_map(|i| job(i, 0)).map(Reverse).collect();
    let mut ready = BinaryHeap::new();
    let mut round = Vec::new();
    for now in 0..length {
        while let Some(&Reverse((from, until, index, turn))) = waiting.peek()
            && from <= now
        {
            waiting.pop();
            ready.push(Reverse((until, index, turn)));
        }
        if let Some(Reverse((_, index, turn))) = ready.pop() {
            round.push(index);
            waiting.extend(job(index, turn + 1).map(Reverse));
        }
    }
    round
}

/// How many turns of a round each share is.
fn turns(shares: &[u64]) -> Vec<u64> {
    let divisor = common_divisor(shares);
    let total: u128 = shares.iter().map(|&share| u128::from(share)).sum();
    let length = LONGEST.max(shares.len() as u64);
    if total <= u128::from(length) * u128::from(divisor) {
        return shares.iter().map(|share| share / divisor).collect();
    }
    // Who would have less than one turn has one; the others divide what is left.
    let mut turns: Vec<Option<u64>> = vec![None; shares.len()];
    let (mut rest, mut room) = (total, u128::from(length));
    loop {
        let is_small = |share: u64| u128::from(share) * room < rest;
        let small: Vec<usize> = (0..shares.len())
            .filter(|&i| turns[i].is_none() && is_small(shares[i]))
            .collect();
        if small.is_empty() {
            break;
        }
        for i in small {
            turns[i] = Some(1);
            rest -= u128::from(shares[i]);
            room -= 1;
        }
    }
    divide(shares, &turns, rest, room)
}

/// Divides `room` turns by the largest remainder among those that have none yet, whose shares are `rest` together.
fn divide(shares: &[u64], turns: &[Option<u64>], rest: u128, room: u128) -> Vec<u64> {
    let mut left = room;
    let mut remainders = Vec::new();
    let mut result = Vec::new();
    for (index, (&share, turns)) in shares.iter().zip(turns).enumerate() {
        result.push(turns.unwrap_or_else(|| {
            let part = u128::from(share) * room;
            left -= part / rest;
            remainders.push((Reverse(part % rest), index));
            u64::try_from(part / rest).unwrap_or(LONGEST)
        }));
    }
    remainders.sort_unstable();
    let more = usize::try_from(left).unwrap_or(usize::MAX);
    for (_, index) in remainders.into_iter().take(more) {
        result[index] += 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn turns_are_interleaved() {
        assert_eq!(schedule(&[3, 1]), [0, 0, 0, 1]);
        assert_eq!(schedule(&[5, 1, 1]), [0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(schedule(&[20, 20, 20]), [0, 1, 2]);
        assert_eq!(schedule(&[]), Vec::<u16>::new());
    }

    #[test]
    fn a_long_round_is_shortened_and_leaves_nobody_out() {
        let shares = [u64::MAX, u64::MAX / 2, 1];
        let counts = turns(&shares);
        assert_eq!(counts.iter().sum::<u64>(), LONGEST);
        assert_eq!(counts, [2730, 1365, 1]);
        assert_eq!(turns(&vec![1; 5000]), vec![1; 5000]);
        assert_eq!(turns(&[vec![1; 5000], vec![2]].concat()), vec![1; 5001]);
    }

    proptest! {
        #[test]
        fn each_slot_has_its_share_of_every_beginning(
            shares in prop::collection::vec(prop_oneof![1u64..10, 1u64..5000], 1..20)
        ) {
            let counts = turns(&shares);
            let round = schedule(&shares);
            let length = round.len() as u64;
            let mut had = vec![0; shares.len()];
            for (now, index) in (1..).zip(&round) {
                had[usize::from(*index)] += 1;
                for (had, count) in had.iter().zip(&counts) {
                    // |had - now × count / length| < 1
                    prop_assert!((had * length).abs_diff(now * count) < length);
                }
            }
            prop_assert_eq!(&had, &counts);
            if shares.iter().sum::<u64>() <= LONGEST {
                let divisor = common_divisor(&shares);
                let exact: Vec<u64> = shares.iter().map(|share| share / divisor).collect();
                prop_assert_eq!(had, exact);
            }
        }
    }
}
