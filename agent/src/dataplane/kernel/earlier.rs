//! What becomes of records of sockets where an agent keeps more or fewer of them than the one before it? They stay where they are,
//! and programs look there as well: flow records until their sockets are closed, replies until they have been moved.
//!
//! So there are two arrays of lines at most, and two hashes of replies.

use std::fs;
use std::io;

use agent_common::abi::{Flow, PairKey, PairValue};
use aya::maps::{HashMap, Map, MapData, MapError};

use crate::dataplane::Limits;

use super::error::LoadError;
use super::map_set::{FLOWS, MapSet, Misfits, REPLIES};
use super::mapping::Mapping;
use super::succession::Left;
use super::tables::Plain;

/// What FLOWS was, while some of its lines are in use.
pub(super) const EARLIER_FLOWS: &str = "EARLIER_FLOWS";
/// What REPLIES was, until all of it is moved.
pub(super) const EARLIER_REPLIES: &str = "EARLIER_REPLIES";

/// Of include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// How many elements each of these maps has in the set, if it is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Earlier {
    pub flows: Option<u32>,
    pub replies: Option<u32>,
}

impl Earlier {
    pub(super) fn of(set: Option<&MapSet>) -> io::Result<Self> {
        let Some(set) = set else {
            return Ok(Self::default());
        };
        Ok(Self {
            flows: set.elements(EARLIER_FLOWS)?,
            replies: set.elements(EARLIER_REPLIES)?,
        })
    }

    /// Those that are there.
    pub(super) fn maps(self) -> impl Iterator<Item = (&'static str, Option<u32>)> {
        let maps = [(EARLIER_FLOWS, self.flows), (EARLIER_REPLIES, self.replies)];
        maps.into_iter().filter(|(_, elements)| elements.is_some())
    }
}

/// Makes `limits` of records those that one can have after `left`. While sockets are recorded in maps of two sizes, a third must wait.
pub(super) fn limit(left: &Left, limits: &mut Limits, has_lines: bool) -> io::Result<()> {
    let maps = &left.maps;
    if has_lines
        && let Some(now) = maps.elements(FLOWS)?
        && let Some(earlier) = maps.elements(EARLIER_FLOWS)?
        && ![now, earlier].contains(&limits.flows)
        && may_be_in_use(left)?
    {
        tracing::warn!(
            now,
            earlier,
            wanted = limits.flows,
            "--max-flows waits: connections are open that are recorded in maps of two other sizes; a start after they have \
             ended takes it"
        );
        limits.flows = now;
    }
    if let Some(now) = maps.elements(REPLIES)?
        && let Some(earlier) = maps.elements(EARLIER_REPLIES)?
        && now != limits.replies
    {
        tracing::warn!(
            now,
            earlier,
            wanted = limits.replies,
            "--max-replies waits: not all replies are moved yet; a start after that takes it"
        );
        limits.replies = now;
    }
    Ok(())
}

/// Whether a socket has something in the earlier lines, or may get it: by a program of another set that is still attached. Else none
/// ever will.
fn may_be_in_use(left: &Left) -> io::Result<bool> {
    let Some(elements) = left.maps.elements(EARLIER_FLOWS)? else {
        return Ok(false);
    };
    if left.is_mixed {
        return Ok(true);
    }
    let map = left.maps.map(EARLIER_FLOWS)?;
    let lines = Mapping::<Flow>::new(map.fd(), elements)?;
    let mut lines = (0..elements).filter_map(|line| lines.copy(line));
    Ok(lines.any(|line| line.cookie != 0 || line.displaced != 0))
}

/// Pins in `new` the lines that are looked in beside its own, which it has none of yet where they are among `misfits`.
pub(super) fn hand_on_lines(
    left: &Left,
    misfits: &Misfits,
    new: &MapSet,
    limits: &Limits,
) -> Result<(), LoadError> {
    let is_in_use = may_be_in_use(left).map_err(LoadError::unreadable)?;
    let left = &left.maps;
    if !misfits.contains_key(FLOWS) {
        return if is_in_use {
            left.share(EARLIER_FLOWS, new, EARLIER_FLOWS)
        } else {
            Ok(())
        };
    }
    left.share(FLOWS, new, EARLIER_FLOWS)?;
    let earlier = left.elements(EARLIER_FLOWS);
    let earlier = earlier.map_err(LoadError::unreadable)?;
    if is_in_use && earlier == Some(limits.flows) {
        left.share(EARLIER_FLOWS, new, FLOWS)?;
    }
    Ok(())
}

/// Pins in `new` the replies that are looked up beside its own.
pub(super) fn hand_on_replies(
    left: &Left,
    misfits: &Misfits,
    new: &MapSet,
) -> Result<(), LoadError> {
    let left = &left.maps;
    let from = if misfits.contains_key(REPLIES) {
        REPLIES
    } else {
        EARLIER_REPLIES
    };
    match left.elements(from).map_err(LoadError::unreadable)? {
        None => Ok(()),
        Some(_) => left.share(from, new, EARLIER_REPLIES),
    }
}

/// Forgets the earlier lines where no socket has any of them.
pub(super) fn drop_unused(left: &Left) -> io::Result<()> {
    let pin = left.maps.pin(EARLIER_FLOWS);
    if pin.try_exists()? && !may_be_in_use(left)? {
        fs::remove_file(pin)?;
    }
    Ok(())
}

/// Moves what programs remembered in the earlier replies, which are there, once none does so any more: up to half of what there is
/// room for, so that those stay that were used last. The rest is looked up where it is.
pub(super) fn merge_replies(set: &MapSet) -> io::Result<()> {
    let mut earlier = replies(set, EARLIER_REPLIES)?;
    let mut now = replies(set, REPLIES)?;
    let all: Result<Vec<_>, MapError> = earlier.iter().collect();
    let all = all.map_err(io::Error::other)?;
    let room = set.elements(REPLIES)?.unwrap_or(0) as usize / 2;
    for (key, value) in all.iter().take(room) {
        match now.insert(key, value, BPF_NOEXIST) {
            Err(MapError::SyscallError(failed))
                if failed.io_error.kind() != io::ErrorKind::AlreadyExists =>
            {
                return Err(failed.io_error);
            }
            _ => earlier.remove(key).map_err(io::Error::other)?,
        }
    }
    if all.len() <= room {
        fs::remove_file(set.pin(EARLIER_REPLIES))?;
    }
    Ok(())
}

type Replies = HashMap<MapData, Plain<PairKey>, Plain<PairValue>>;

fn replies(set: &MapSet, map: &str) -> io::Result<Replies> {
    let map = Map::from_map_data(set.map(map)?).and_then(HashMap::try_from);
    map.map_err(io::Error::other)
}
