//! What does an agent have of the maps that another has left in force? All of them, where they fit. Where it needs others, as of
//! another capacity or layout, those that know of sockets: these keep the names of their peers, and count where they counted.
//!
//! What knows of sockets is in both sets of maps while programs are exchanged. Counts that need more room are carried over before the
//! first program is exchanged, and what the old programs count meanwhile after the first half of ours, and after the last.

use std::io;

use agent_common::abi::Identity;
use aya::maps::MapError;

use crate::dataplane::Limits;
use crate::dataplane::store::Store as _;

use super::counts::{COUNTS, EarlierCounts};
use super::earlier::{self, EARLIER_FLOWS};
use super::error::LoadError;
use super::load::Hook;
use super::map_set::{FLOWS, IDENTITIES, MapSet, Misfits, OWNERS, REPLIES};
use super::mapping::Mapping;
use super::tables::KernelTables;

/// Without these nothing of a socket is known.
const RECORDS: [&str; 2] = [FLOWS, "STORED"];
/// The rest of what outlives a change of all else, but for IDENTITIES, which is the agents' and copied.
const OTHERS: [&str; 3] = [OWNERS, REPLIES, "TOTALS"];

/// The maps that another agent has left in force.
#[derive(Debug)]
pub(super) struct Left {
    pub maps: MapSet,
    /// They are of this ABI.
    pub is_own: bool,
    /// Maps of a second agent are there, some of whose programs may be attached: it was killed before all were.
    pub is_mixed: bool,
}

/// What can be had of the maps that are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Legacy {
    Everything,
    /// What knows of sockets. These are ours, and of records of sockets both are.
    Sockets(Misfits),
    Nothing,
}

impl Legacy {
    /// What one has of `left` that wants these limits, which are made those that it can have.
    pub(super) fn of(left: &Left, limits: &mut Limits, has_lines: bool) -> Result<Self, LoadError> {
        if !left.maps.has_records_as(has_lines) {
            tracing::info!(
                "the maps of an earlier agent are replaced: flow records are kept in another way now"
            );
            return Ok(Self::Nothing);
        }
        let is_known = knows_sockets(&left.maps, limits).map_err(LoadError::unreadable)?;
        if is_known {
            let limited = earlier::limit(left, limits, has_lines);
            limited.map_err(LoadError::unreadable)?;
        }
        let misfits = left.maps.misfits(limits).map_err(LoadError::Unreadable)?;
        if misfits.is_empty() && left.is_own {
            return Ok(Self::Everything);
        }
        let reason = misfits.iter().next();
        let reason = reason.map_or_else(
            || "they have another layout".to_owned(),
            |(map, reason)| format!("{map}: {reason}"),
        );
        tracing::info!(%reason, sockets_are_known = is_known, "the maps of an earlier agent are replaced by new ones");
        Ok(if is_known {
            Self::Sockets(misfits)
        } else {
            Self::Nothing
        })
    }
}

/// Whether the maps know of sockets what maps with these limits can.
fn knows_sockets(left: &MapSet, limits: &Limits) -> io::Result<bool> {
    for map in RECORDS.into_iter().chain(COUNTS).chain([IDENTITIES]) {
        if !left.pin(map).try_exists()? {
            return Ok(false);
        }
    }
    has_room(left, limits)
}

/// Whether every number that somebody has is one in maps with these limits, too.
fn has_room(left: &MapSet, limits: &Limits) -> io::Result<bool> {
    let identities = identities(left)?;
    let mut ids = (0..identities.len()).rev();
    let largest = ids.find(|&id| {
        let identity = identities.copy(id);
        identity.is_some_and(|identity| identity.get().is_some())
    });
    Ok(largest.is_none_or(|id| id < limits.counters()))
}

fn identities(set: &MapSet) -> io::Result<Mapping<Identity>> {
    let elements = set.elements(IDENTITIES)?.unwrap_or(0);
    Mapping::new(set.map(IDENTITIES)?.fd(), elements)
}

/// What goes on of the maps that are in force, while programs of others are attached.
pub(super) struct Succession {
    counts: EarlierCounts,
    /// Sockets are recorded in other lines than those that the others look in.
    has_new_lines: bool,
}

impl Succession {
    /// Pins in `new`, which is empty, what of `left` is shared, which `misfits` are not, and copies who is counted under which number.
    pub(super) fn prepare(
        left: &Left,
        misfits: &Misfits,
        new: &MapSet,
        limits: &Limits,
        has_lines: bool,
    ) -> Result<Self, LoadError> {
        for map in RECORDS.iter().chain(&OTHERS) {
            if !misfits.contains_key(map) {
                left.maps.share(map, new, map)?;
            }
        }
        if has_lines {
            earlier::hand_on_lines(left, misfits, new, limits)?;
        }
        earlier::hand_on_replies(left, misfits, new)?;
        let left = &left.maps;
        copy_identities(left, new, limits)?;
        let is_elsewhere = COUNTS.iter().any(|map| misfits.contains_key(map));
        Ok(Self {
            counts: EarlierCounts::hand_on(left, new, is_elsewhere)?,
            has_new_lines: has_lines && misfits.contains_key(FLOWS),
        })
    }

    /// That of an agent that was killed before it had ended, if there is one.
    pub(super) fn resume(left: &Left) -> Result<Option<Self>, LoadError> {
        let counts = EarlierCounts::of(&left.maps)?;
        if counts.is_none() && !left.is_mixed {
            return Ok(None);
        }
        let earlier_lines = left.maps.elements(EARLIER_FLOWS);
        Ok(Some(Self {
            counts,
            has_new_lines: earlier_lines.map_err(LoadError::unreadable)?.is_some(),
        }))
    }

    /// Whether the program takes the place of the other before the rest do.
    ///
    /// What shows records finds those of both, so that it may come before any that ours make. What ends records comes last:
    /// connections that ours count as open end there or here, but none ends here that is still counted there, and ours never come
    /// below zero.
    ///
    /// Where new records are in lines that the others do not know, what frees lines must come first, and connects before datagrams:
    /// a connect ends what datagrams of the socket have left.
    pub(super) fn is_first(&self, hook: Hook) -> bool {
        if self.has_new_lines {
            !hook.sends()
        } else {
            hook.shows() || hook.remembers()
        }
    }

    /// Before a program of ours is attached: has ours go on from what has been counted. `ids` are those that are somebody's.
    pub(super) fn begin(&mut self, ours: &mut KernelTables, ids: &[u32]) -> Result<(), MapError> {
        self.counts.begin(ours, ids)
    }

    /// After programs of others have run for the last time: adds what they have counted meanwhile.
    pub(super) fn catch_up(&mut self, ours: &mut KernelTables) -> io::Result<()> {
        if !self.counts.is_none() {
            ours.wait_for_readers()?;
            self.counts.carry(ours);
        }
        Ok(())
    }

    /// Once ours alone are attached. Where it fails, the next start ends what is left.
    pub(super) fn end(mut self, ours: &mut KernelTables, maps: &MapSet) -> io::Result<()> {
        self.catch_up(ours)?;
        EarlierCounts::forget(maps)
    }
}

fn copy_identities(left: &MapSet, new: &MapSet, limits: &Limits) -> Result<(), LoadError> {
    let copy = new.identities(limits)?;
    let failed = |error| LoadError::Mapping {
        name: IDENTITIES,
        error,
    };
    let known = identities(left).map_err(failed)?;
    let mut copy = Mapping::<Identity>::new(copy.fd(), limits.counters()).map_err(failed)?;
    for id in 0..known.len().min(copy.len()) {
        if let Some(identity) = known.copy(id) {
            copy.write(id, &[identity]);
        }
    }
    Ok(())
}
