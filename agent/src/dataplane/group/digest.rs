//! What the cells of a group say, in one number: so it can be told whether they still say it, without a copy of them.

use std::hash::{DefaultHasher, Hash, Hasher};

use agent_common::abi::Cell;

/// `None` stands for a cell that the arena has not.
pub(in crate::dataplane) fn digest<'a>(cells: impl Iterator<Item = Option<&'a Cell>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    cells.for_each(|cell| cell.hash(&mut hasher));
    hasher.finish()
}
