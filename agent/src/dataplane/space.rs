//! Where in ARENA a group can stand: even-aligned runs of cells, best fit, coalesced when freed.

use std::collections::{BTreeMap, BTreeSet};

/// The first cells are never handed out: a zeroed word of FRONTENDS points there.
const RESERVED: u32 = 2;

/// A run of cells that one group owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    /// Even, so that a header and its first slot share a cache line.
    pub first: u32,
    /// Even: what was asked for, rounded up.
    pub cells: u32,
}

/// The free cells.
#[derive(Clone, Debug)]
pub(super) struct Space {
    capacity: u32,
    free: BTreeMap<u32, u32>,
    by_size: BTreeSet<(u32, u32)>,
    used: u32,
}

impl Space {
    /// All of `capacity` cells are free, but for the reserved ones.
    pub(super) fn new(capacity: u32) -> Self {
        let mut space = Self {
            capacity,
            free: BTreeMap::new(),
            by_size: BTreeSet::new(),
            used: RESERVED.min(capacity),
        };
        let usable = (capacity & !1).saturating_sub(RESERVED);
        if usable > 0 {
            space.insert(RESERVED, usable);
        }
        space
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Cells in use, the reserved ones included.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// `None` when no free run is long enough.
    pub(super) fn allocate(&mut self, cells: u32) -> Option<Run> {
        let cells = cells.max(1).checked_add(1)? & !1;
        let &(size, first) = self.by_size.range((cells, 0)..).next()?;
        self.take(first, size);
        if size > cells {
            self.insert(first + cells, size - cells);
        }
        self.used += cells;
        Some(Run { first, cells })
    }

    /// Takes this run, which somebody has; `false` where any of it is taken.
    pub(super) fn reserve(&mut self, run: Run) -> bool {
        let Some((&first, &size)) = self.free.range(..=run.first).next_back() else {
            return false;
        };
        let (before, end) = (run.first - first, run.first + run.cells);
        if end > first + size {
            return false;
        }
        self.take(first, size);
        if before > 0 {
            self.insert(first, before);
        }
        if end < first + size {
            self.insert(end, first + size - end);
        }
        self.used += run.cells;
        true
    }

    /// Gives back what [`Self::allocate`] gave.
    pub(super) fn release(&mut self, run: Run) {
        self.used -= run.cells;
        let Run {
            mut first,
            mut cells,
        } = run;
        if let Some((&before, &size)) = self.free.range(..first).next_back()
            && before + size == first
        {
            self.take(before, size);
            first = before;
            cells += size;
        }
        if let Some((&after, &size)) = self.free.range(first..).next()
            && first + cells == after
        {
            self.take(after, size);
            cells += size;
        }
        self.insert(first, cells);
    }

    fn insert(&mut self, first: u32, cells: u32) {
        self.free.insert(first, cells);
        self.by_size.insert((cells, first));
    }

    fn take(&mut self, first: u32, cells: u32) {
        self.free.remove(&first);
        self.by_size.remove(&(cells, first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_arena_gives_nothing_and_takes_cells_back() {
        let mut space = Space::new(6);
        let run = space.allocate(3).unwrap();
        assert_eq!(run, Run { first: 2, cells: 4 });
        assert_eq!(space.allocate(1), None);
        space.release(run);
        assert_eq!(space.allocate(4), Some(run));
    }

    #[test]
    fn an_arena_smaller_than_its_reserve_is_always_full() {
        for capacity in 0..4 {
            assert_eq!(Space::new(capacity).allocate(1), None);
        }
    }

    proptest! {
        #[test]
        fn runs_never_overlap_and_all_cells_come_back(
            steps in prop::collection::vec((any::<bool>(), 1u32..40, any::<prop::sample::Index>()), 1..200)
        ) {
            let mut space = Space::new(512);
            let mut held: Vec<Run> = Vec::new();
            for (allocate, cells, index) in steps {
                if allocate {
                    if let Some(run) = space.allocate(cells) {
                        prop_assert!(run.first >= RESERVED && run.first % 2 == 0);
                        prop_assert!(run.cells >= cells && run.first + run.cells <= 512);
                        for other in &held {
                            prop_assert!(run.first + run.cells <= other.first || other.first + other.cells <= run.first);
                        }
                        held.push(run);
                    }
                } else if !held.is_empty() {
                    space.release(held.swap_remove(index.index(held.len())));
                }
                let sum: u32 = held.iter().map(|r| r.cells).sum();
                prop_assert_eq!(space.used(), sum + RESERVED);
            }
            let mut again = Space::new(512);
            for run in held.iter().rev() {
                prop_assert!(again.reserve(*run));
                prop_assert!(!again.reserve(*run));
            }
            prop_assert_eq!((again.used(), &again.free), (space.used(), &space.free));
            for run in held {
                space.release(run);
            }
            prop_assert_eq!(space.allocate(510).map(|r| r.first), Some(RESERVED));
        }
    }
}
