//! Where do open connections count that began while another agent's programs counted in other maps than ours? There, and here: what is
//! counted there is carried over, before our programs count and after those have run for the last time.
//!
//! How much was carried is pinned beside our maps. So nothing is carried twice, nor lost, when an agent is killed while programs are
//! exchanged, be it again and again: the next finds a chain of maps, of which each is carried into the one after it, and the last
//! into ours.

use std::ffi::OsStr;
use std::fs;
use std::io;

use agent_common::abi::{Counter, EndpointState};
use aya::maps::{Map, MapData, MapError, PerCpuArray};

use super::error::LoadError;
use super::map_set::MapSet;
use super::mapping::Mapping;
use super::tables::{KernelTables, Plain};

/// Elements are of one service or endpoint each.
pub(super) const COUNTS: [&str; 2] = [ENDPOINTS, "COUNTERS"];
const ENDPOINTS: &str = "ENDPOINTS";

/// ENDPOINTS of others; the place in the chain follows, from 1 on.
const EARLIER: &str = "EARLIER_ENDPOINTS-";
/// How much of `open` there was carried over, by number.
const CARRIED: &str = "EARLIER_CARRIED-";

/// The kernel rounds elements up to 8 bytes.
type Carried = [u32; 2];

/// Maps where programs of others may count.
#[derive(Default)]
pub(super) struct EarlierCounts {
    /// The oldest first.
    chain: Vec<Link>,
    /// What else is to be copied of the last, until it is.
    others: Option<PerCpuArray<MapData, Plain<Counter>>>,
}

struct Link {
    endpoints: Mapping<EndpointState>,
    carried: Mapping<Carried>,
}

impl EarlierCounts {
    /// Those from which an agent that was killed has carried into these maps.
    pub(super) fn of(maps: &MapSet) -> Result<Self, LoadError> {
        let mut chain = Vec::new();
        while let Some(link) = Link::find(maps, chain.len() + 1)? {
            chain.push(link);
        }
        Ok(Self {
            chain,
            others: None,
        })
    }

    /// Pins in `new` those of `left`, and, if ours are others, also where the programs of `left` count.
    pub(super) fn hand_on(left: &MapSet, new: &MapSet, is_other: bool) -> Result<Self, LoadError> {
        let known = Self::of(left)?.chain.len();
        for place in 1..=known {
            for map in [EARLIER, CARRIED] {
                let name = format!("{map}{place}");
                left.share(&name, new, &name)?;
            }
        }
        if !is_other {
            for map in COUNTS {
                left.share(map, new, map)?;
            }
            return Self::of(new);
        }
        let place = known + 1;
        left.share(ENDPOINTS, new, &format!("{EARLIER}{place}"))?;
        let elements = left.elements(ENDPOINTS).map_err(LoadError::unreadable)?;
        new.array::<Carried>(&format!("{CARRIED}{place}"), elements.unwrap_or(0))?;
        let counters = left.map(COUNTS[1]).map_err(LoadError::unreadable)?;
        Ok(Self {
            others: Some(PerCpuArray::try_from(Map::from_map_data(counters)?)?),
            ..Self::of(new)?
        })
    }

    pub(super) fn is_none(&self) -> bool {
        self.chain.is_empty()
    }

    /// Before a program of ours is attached. `ids` are those that are somebody's.
    pub(super) fn begin(&mut self, ours: &mut KernelTables, ids: &[u32]) -> Result<(), MapError> {
        if let (Some(counters), Some(last)) = (&self.others, self.chain.last()) {
            for &id in ids {
                if let Some(state) = last.endpoints.copy(id) {
                    let state = EndpointState { open: 0, ..state };
                    ours.go_on_counting(id, &state, counters.get(&id, 0)?)?;
                }
            }
            self.others = None;
        }
        self.carry(ours);
        Ok(())
    }

    /// Adds what has been counted since it was carried last.
    pub(super) fn carry(&mut self, ours: &KernelTables) {
        let mut rest = &mut *self.chain;
        while let Some((link, later)) = rest.split_first_mut() {
            let next = later.first().map(|next| &next.endpoints);
            link.carry(|id, difference| match next {
                Some(next) => next.change_open(id, difference),
                None => ours.change_open(id, difference),
            });
            rest = later;
        }
    }

    /// Once ours alone count.
    pub(super) fn forget(maps: &MapSet) -> io::Result<()> {
        let is_ours = |name: &OsStr| {
            let name = name.to_string_lossy();
            name.starts_with(EARLIER) || name.starts_with(CARRIED)
        };
        for pin in maps.pins()? {
            if pin.file_name().is_some_and(is_ours) {
                fs::remove_file(pin)?;
            }
        }
        Ok(())
    }
}

impl Link {
    /// At that place of the chain, if it has one. One of which a part is gone has nothing left to carry.
    fn find(maps: &MapSet, place: usize) -> Result<Option<Self>, LoadError> {
        let mapped = |map: &str| {
            let name = format!("{map}{place}");
            let elements = maps.elements(&name).map_err(LoadError::unreadable)?;
            let elements = elements.map(|elements| Ok((maps.map(&name)?, elements)));
            elements.transpose().map_err(LoadError::unreadable)
        };
        let (Some(endpoints), Some(carried)) = (mapped(EARLIER)?, mapped(CARRIED)?) else {
            return Ok(None);
        };
        let failed = |error| LoadError::Mapping {
            name: ENDPOINTS,
            error,
        };
        Ok(Some(Self {
            endpoints: Mapping::new(endpoints.0.fd(), endpoints.1).map_err(failed)?,
            carried: Mapping::new(carried.0.fd(), carried.1).map_err(failed)?,
        }))
    }

    fn carry(&mut self, change: impl Fn(u32, u32)) {
        for id in 0..self.carried.len() {
            let (Some(state), Some(carried)) = (self.endpoints.copy(id), self.carried.copy(id))
            else {
                continue;
            };
            if state.open != carried[0] {
                self.carried.write(id, &[[state.open, 0]]);
                change(id, state.open.wrapping_sub(carried[0]));
            }
        }
    }
}
