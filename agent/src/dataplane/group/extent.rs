//! Which cells a group has that somebody else has written, and whom it names.

use std::collections::BTreeSet;

use agent_common::abi::{Cell, INDEXES};

use super::super::names::UNCOUNTED;
use super::super::space::Run;

/// What its cells tell of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Extent {
    pub(in crate::dataplane) run: Run,
    /// Index in COUNTERS, or `UNCOUNTED`.
    pub(in crate::dataplane) service_id: u32,
    /// Of those that have a slot.
    pub(in crate::dataplane) endpoint_ids: BTreeSet<u32>,
}

impl Extent {
    /// Of the group whose header is at cell `first`; `None` where none is.
    pub(in crate::dataplane) fn read<'a>(
        first: u32,
        cell: impl Fn(u32) -> Option<&'a Cell>,
    ) -> Option<Self> {
        let header = cell(first)?.as_header();
        let mut sections = BTreeSet::from([first]);
        sections.extend(header.v4(first));
        sections.extend(header.v6(first));
        let mut end = first;
        let mut endpoint_ids = BTreeSet::new();
        for at in sections {
            let section = cell(at)?.as_header();
            if !section.is_at(at) || section.service() != header.service() {
                return None;
            }
            section.action()?;
            let slots = section.table(at);
            end = end.max(slots.first.checked_add(slots.slots)?);
            for slot in slots.first..slots.first + slots.slots {
                endpoint_ids.insert(cell(slot)?.as_slot().endpoint());
            }
            if let Some(extra) = section.extra(at) {
                end = end.max(extra.checked_add(1)?);
                let extra = cell(extra)?.as_extra();
                let index = extra.index_len.div_ceil(INDEXES);
                end = end.max(at.checked_add(extra.index_first)?.checked_add(index)?);
            }
        }
        // All of it is in the arena.
        cell(end.checked_sub(1)?)?;
        let cells = (end - first).checked_next_multiple_of(2)?;
        endpoint_ids.remove(&UNCOUNTED);
        Some(Self {
            run: Run { first, cells },
            service_id: header.service(),
            endpoint_ids,
        })
    }
}
