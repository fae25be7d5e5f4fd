//! What holds until an end that may move, and what of it the next run of the agent must know. Knows nothing of what it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::recent::{Recent, Told};
use super::time::UnixTime;

/// What is kept ends up to so much later, so that not each move of an end has to be kept.
const SLACK: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub(super) struct Ends<K> {
    entries: Recent<K, End>,
    /// By which what is kept differs; `None` for what has gone.
    changes: BTreeMap<K, Option<UnixTime>>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    until: UnixTime,
    /// Until when the next run would know of it.
    kept: UnixTime,
}

impl<K: Ord + Clone> Ends<K> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: Recent::new(limit),
            changes: BTreeMap::new(),
        }
    }

    /// Has `key` hold until then at least.
    pub(super) fn tell(&mut self, key: &K, until: UnixTime) -> Told<K> {
        let changes = &mut self.changes;
        let told = self.entries.tell(key.clone(), |known| {
            let none = UnixTime(0);
            let mut end = known.copied().unwrap_or(End { until, kept: none });
            end.until = end.until.max(until);
            end.keep(key, changes);
            end
        });
        self.forget(&told);
        told
    }

    /// Takes in what an earlier run has kept: what ends first counts as told first.
    pub(super) fn recall(&mut self, kept: BTreeMap<K, UnixTime>) {
        let mut kept: Vec<(K, UnixTime)> = kept.into_iter().collect();
        kept.sort_by_key(|(_, until)| *until);
        for (key, until) in kept {
            let told = self.entries.tell(key, |_| End { until, kept: until });
            self.forget(&told);
        }
    }

    fn forget(&mut self, told: &Told<K>) {
        let evicted = told.evicted.iter();
        self.changes.extend(evicted.map(|key| (key.clone(), None)));
    }

    /// Whether anything has ended.
    pub(super) fn is_due(&self, now: UnixTime) -> bool {
        self.entries.iter().any(|(_, end)| end.until <= now)
    }

    /// Keeps what `keep` says, which may move the end. Returns whether anything went.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut UnixTime) -> bool) -> bool {
        let changes = &mut self.changes;
        self.entries.retain(|key, end| {
            let stays = keep(key, &mut end.until);
            if stays {
                end.keep(key, changes);
            } else {
                changes.insert(key.clone(), None);
            }
            stays
        })
    }

    /// In order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// What is to be kept of it that was not yet at the last call: until when each holds, a bit later at most; `None` for what
    /// has gone.
    pub(super) fn take_changes(&mut self) -> BTreeMap<K, Option<UnixTime>> {
        std::mem::take(&mut self.changes)
    }
}

impl End {
    fn keep<K: Ord + Clone>(&mut self, key: &K, changes: &mut BTreeMap<K, Option<UnixTime>>) {
        if self.kept < self.until {
            self.kept = self.until.after(SLACK);
            changes.insert(key.clone(), Some(self.kept));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a store holds that has taken in all changes.
    fn keep(store: &mut BTreeMap<u8, UnixTime>, ends: &mut Ends<u8>) -> usize {
        let changes = ends.take_changes();
        let count = changes.len();
        for (key, until) in changes {
            match until {
                Some(until) => store.insert(key, until),
                None => store.remove(&key),
            };
        }
        count
    }

    #[test]
    fn an_end_that_moves_a_little_is_not_kept_anew() {
        let (mut ends, mut store) = (Ends::new(8), BTreeMap::new());
        let written: Vec<usize> = (0..120)
            .map(|second| {
                ends.tell(&1, UnixTime(100 + second));
                keep(&mut store, &mut ends)
            })
            .collect();
        assert_eq!(written.iter().sum::<usize>(), 2);
        assert_eq!(written[0], 1, "the first is kept at once");
    }

    proptest! {
        /// Whatever happened: an agent that is killed leaves what it knew, each with its end or a bit later, and no more.
        #[test]
        fn what_is_kept_is_what_is_known(
            events in proptest::collection::vec((0u8..20, 0u64..300, 0u64..20), 1..100),
            limit in 1usize..20,
        ) {
            let (mut ends, mut store) = (Ends::new(limit), BTreeMap::new());
            let mut now = 0;
            for (key, lasts, wait) in events {
                now += wait;
                ends.tell(&key, UnixTime(now + lasts));
                // Some are in use.
                ends.retain(|key, until| {
                    if *until <= UnixTime(now) && key % 3 == 0 {
                        *until = UnixTime(now + 60);
                    }
                    *until > UnixTime(now)
                });
                keep(&mut store, &mut ends);

                let known: BTreeMap<u8, UnixTime> =
                    ends.entries.iter().map(|(key, end)| (*key, end.until)).collect();
                prop_assert!(store.keys().eq(known.keys()), "{store:?} of {known:?}");
                for (key, until) in &known {
                    prop_assert!(store[key] >= *until && store[key] <= until.after(SLACK));
                }

                let mut next = Ends::new(limit);
                next.recall(store.clone());
                prop_assert!(next.keys().eq(known.keys()));
                prop_assert!(next.take_changes().is_empty(), "what is kept is kept already");
            }
            // A later agent with less room gives up what ends first, and what is kept of it.
            let mut least = Ends::new(1);
            least.recall(store.clone());
            let last = store.values().max().copied();
            keep(&mut store, &mut least);
            prop_assert!(store.len() <= 1 && store.values().max().copied() == last);
        }
    }
}
