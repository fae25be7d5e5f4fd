//! A table of limited size that gives up what was not heard of for the longest. Knows nothing of what it holds.

use std::collections::BTreeMap;
use std::iter;

/// One part in this many is given up at once: giving up costs more than taking in.
const BATCH: usize = 16;

/// What telling the table something came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told<K> {
    /// It was not known.
    pub(super) new: bool,
    /// What was given up for it.
    pub(super) evicted: Vec<K>,
}

#[derive(Clone, Debug)]
pub(super) struct Recent<K, V> {
    limit: usize,
    entries: BTreeMap<K, (u64, V)>,
    /// By when it was told last, in steps of this table.
    order: BTreeMap<u64, K>,
    step: u64,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            step: 0,
        }
    }

    /// Takes `key` in as the newest, with the value that `value` makes of the one that it has.
    pub(super) fn tell(&mut self, key: K, value: impl FnOnce(Option<&V>) -> V) -> Told<K> {
        self.step += 1;
        let known = self.entries.get(&key);
        let next = (self.step, value(known.map(|(_, value)| value)));
        let known = self.entries.insert(key.clone(), next);
        if let Some((step, _)) = &known {
            self.order.remove(step);
        }
        self.order.insert(self.step, key);
        Told {
            new: known.is_none(),
            evicted: self.evict(),
        }
    }

    fn evict(&mut self) -> Vec<K> {
        if self.entries.len() <= self.limit {
            return Vec::new();
        }
        // The newest one stays, whatever the limit.
        let surplus = self.entries.len() - self.limit;
        let batch = surplus
            .max(self.limit / BATCH)
            .min(self.entries.len().saturating_sub(1));
        let oldest = iter::from_fn(|| self.order.pop_first());
        let evicted: Vec<K> = oldest.take(batch).map(|(_, key)| key).collect();
        for key in &evicted {
            self.entries.remove(key);
        }
        evicted
    }

    /// Keeps what `keep` says, and returns whether anything went.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) -> bool {
        let before = self.entries.len();
        let order = &mut self.order;
        self.entries.retain(|key, (step, value)| {
            let keep = keep(key, value);
            if !keep {
                order.remove(step);
            }
            keep
        });
        self.entries.len() < before
    }

    /// In the order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_told_last_stays() {
        let mut recent = Recent::new(3);
        for key in [1, 2, 3, 1] {
            assert!(recent.tell(key, |_| ()).evicted.is_empty());
        }
        let told = recent.tell(4, |_| ());
        assert_eq!(
            told,
            Told {
                new: true,
                evicted: vec![2]
            }
        );
        let kept: Vec<i32> = recent.iter().map(|(key, ())| *key).collect();
        assert_eq!(kept, [1, 3, 4]);
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_the_newest_are_there(
            keys in proptest::collection::vec(0u8..60, 1..200),
            limit in 1usize..40,
        ) {
            let mut recent = Recent::new(limit);
            for (i, key) in keys.iter().enumerate() {
                let was_known = recent.iter().any(|(known, _)| known == key);
                let told = recent.tell(*key, |_| i);
                prop_assert_eq!(told.new, !was_known);
                prop_assert!(recent.iter().count() <= limit);
                prop_assert_eq!(recent.iter().count(), recent.order.len());
                let oldest = recent.iter().map(|(_, at)| *at).min().unwrap();
                // Nothing that is gone was told after anything that is there.
                for (at, told) in keys[..=i].iter().enumerate().skip(oldest) {
                    prop_assert!(recent.iter().any(|(k, _)| k == told), "{} of {}", at, i);
                }
            }
        }
    }
}
