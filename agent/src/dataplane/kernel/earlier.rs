//! What becomes of records of sockets where an agent keeps more or fewer of them than the one before it? They stay where they are,
//! and programs look there as well: flow records until their sockets are closed, replies until they have been copied.
//!
//! So the arrays of lines are two at most. While sockets have lines in both, neither goes, and a third number of lines must wait.

use std::fs;
use std::io;

use agent_common::abi::{Flow, PairKey, PairValue};
use aya::maps::{HashMap, Map, MapData, MapError};

use super::map_set::{FLOWS, MapSet, Misfits, REPLIES};
use super::mapping::Mapping;
use super::tables::Plain;

/// What FLOWS was, while some of its lines are in use.
pub(super) const EARLIER_FLOWS: &str = "EARLIER_FLOWS";
/// What REPLIES was, until it is copied.
pub(super) const EARLIER_REPLIES: &str = "EARLIER_REPLIES";

/// Of include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// How many elements each of these maps has in the set; 0 where it has none such.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Earlier {
    pub flows: u32,
    pub replies: u32,
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

    pub(super) const fn maps(self) -> [(&'static str, u32); 2] {
        [(EARLIER_FLOWS, self.flows), (EARLIER_REPLIES, self.replies)]
    }
}

/// How many lines there can be after those of `left`: as many as are wanted, unless sockets have lines in two arrays of other sizes.
pub(super) fn lines_after(left: &MapSet, wanted: u32) -> io::Result<u32> {
    let (now, earlier) = (left.elements(FLOWS)?, left.elements(EARLIER_FLOWS)?);
    if [0, wanted].contains(&now) || [0, wanted].contains(&earlier) || !has_lines_in_use(left)? {
        return Ok(wanted);
    }
    tracing::warn!(
        lines = now,
        wanted,
        "the flow records cannot be {wanted} yet: connections are open that are recorded among {earlier}, of before the last change; \
         they are at a start after these have ended"
    );
    Ok(now)
}

/// Whether a socket has something in the earlier lines. Once none has, none will.
fn has_lines_in_use(set: &MapSet) -> io::Result<bool> {
    let elements = set.elements(EARLIER_FLOWS)?;
    if elements == 0 {
        return Ok(false);
    }
    let map = set.map(EARLIER_FLOWS)?;
    let lines = Mapping::<Flow>::new(map.fd(), elements)?;
    let mut lines = (0..elements).filter_map(|line| lines.copy(line));
    Ok(lines.any(|line| line.cookie != 0 || line.displaced != 0))
}

/// Pins in `new` what is to be looked at beside its own replies, and its own `lines` if it has any. It has none yet where they are
/// `misfits`.
pub(super) fn hand_on(
    left: &MapSet,
    misfits: &Misfits,
    new: &MapSet,
    lines: Option<u32>,
) -> io::Result<()> {
    let share = |map: &str, name: &str| -> io::Result<()> {
        left.map(map)?.pin(new.pin(name)).map_err(io::Error::other)
    };
    if let Some(lines) = lines {
        let is_in_use = has_lines_in_use(left)?;
        if misfits.contains_key(FLOWS) {
            share(FLOWS, EARLIER_FLOWS)?;
            if is_in_use && left.elements(EARLIER_FLOWS)? == lines {
                share(EARLIER_FLOWS, FLOWS)?;
            }
        } else if is_in_use {
            share(EARLIER_FLOWS, EARLIER_FLOWS)?;
        }
    }
    // An agent that was killed before it had copied them.
    merge_replies(left)?;
    if misfits.contains_key(REPLIES) && left.pin(REPLIES).exists() {
        share(REPLIES, EARLIER_REPLIES)?;
    }
    Ok(())
}

/// Forgets the earlier lines where no socket has any of them, nor may get one: by a program of another set, where an agent was killed
/// before all of its programs were attached.
pub(super) fn drop_unused(set: &MapSet) -> io::Result<()> {
    let pin = set.pin(EARLIER_FLOWS);
    let sets = set.directory().map(MapSet::all).transpose()?;
    let is_only = sets.is_some_and(|sets| sets.len() == 1);
    if pin.try_exists()? && is_only && !has_lines_in_use(set)? {
        fs::remove_file(pin)?;
    }
    Ok(())
}

/// Copies what programs remembered in the earlier replies until now, when none does so any more.
pub(super) fn merge_replies(set: &MapSet) -> io::Result<()> {
    let pin = set.pin(EARLIER_REPLIES);
    if !pin.try_exists()? {
        return Ok(());
    }
    let earlier = replies(set, EARLIER_REPLIES)?;
    let mut now = replies(set, REPLIES)?;
    for reply in &earlier {
        // The least recently used ones may go at any time.
        let Ok((key, value)) = reply else {
            continue;
        };
        match now.insert(key, value, BPF_NOEXIST) {
            Err(MapError::SyscallError(failed))
                if failed.io_error.kind() != io::ErrorKind::AlreadyExists =>
            {
                return Err(failed.io_error);
            }
            _ => {}
        }
    }
    fs::remove_file(pin)
}

type Replies = HashMap<MapData, Plain<PairKey>, Plain<PairValue>>;

fn replies(set: &MapSet, map: &str) -> io::Result<Replies> {
    let map = Map::from_map_data(set.map(map)?).and_then(HashMap::try_from);
    map.map_err(io::Error::other)
}
