//! The maps as pins: one directory for each set of them, so that the next agent finds what its programs are to go on from.
//!
//! Which set is in force no file says: it is the one that the programs use which are attached. So a set of which an agent was
//! killed while it filled it is told from the one that it was to take the place of. What maps a program uses the kernel tells
//! only who has `CAP_SYS_ADMIN`; so programs are pinned beside their maps before they are attached, under their ids, which no
//! other can have meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agent_common::abi::{Identity, SOCKET_ABI_VERSION, TOTALS};
use aya::maps::{Array, MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use aya::{Ebpf, Pod};

use crate::dataplane::Limits;

use super::error::{LoadError, chain};

/// An element as aya makes a map of it, which nobody reads by aya.
type IdentityBytes = [u8; size_of::<Identity>()];

/// Of include/uapi/linux/bpf.h.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Why something cannot be read, or made, as the kernel says.
type Unread = Box<dyn Error + Send + Sync>;

/// The maps that have not as many elements as are wanted; each with why.
pub(super) type Misfits = BTreeMap<&'static str, String>;

/// How every directory of a set is named.
const PREFIX: &str = "maps-";
/// How every program in it is named; its id follows.
const PROGRAM: &str = "program-";

/// The maps that the next agent goes on from, and how many elements each has; `None` where that is the object's to say. What
/// is told of once (EVENTS, DENIALS) and what a living agent answers for (CAPTURE, `NAME_SERVERS`) is not handed on.
const fn kept(limits: &Limits) -> [(&'static str, Option<u32>); 14] {
    [
        ("FRONTENDS", Some(limits.frontends)),
        ("PREFIXES", Some(limits.prefixes)),
        ("EXEMPT", Some(limits.exempt)),
        ("SCOPES", Some(limits.cgroups)),
        ("ARENA", Some(limits.cells)),
        (FLOWS, Some(limits.flows)),
        (OWNERS, Some(limits.flows)),
        ("STORED", None),
        (REPLIES, Some(limits.replies)),
        ("ENDPOINTS", Some(limits.counters())),
        (IDENTITIES, Some(limits.counters())),
        ("COUNTERS", Some(limits.counters())),
        ("TOTALS", Some(TOTALS)),
        ("CONFIG", None),
    ]
}

pub(super) const FLOWS: &str = "FLOWS";
/// Goes with FLOWS, but tells of each line whose it is: where it does not, the record ends with its socket alone.
pub(super) const OWNERS: &str = "OWNERS";
pub(super) const REPLIES: &str = "REPLIES";
/// The agents' alone, so that the object has none.
pub(super) const IDENTITIES: &str = "IDENTITIES";

/// Those of the maps that the object has.
pub(super) fn of_object(limits: &Limits) -> impl Iterator<Item = (&'static str, Option<u32>)> {
    let kept = kept(limits).into_iter();
    kept.filter(|(name, _)| *name != IDENTITIES)
}

/// Where a set of maps is pinned, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapSet {
    path: PathBuf,
}

impl MapSet {
    /// Makes the directory of a new set in `directory`.
    pub(super) fn create(directory: &Path, has_lines: bool) -> io::Result<Self> {
        let taken = Self::all(directory)?;
        let number = taken.iter().filter_map(Self::number).max().unwrap_or(0) + 1;
        let path = directory.join(format!("{}{number}", kind(has_lines)));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// All in the directory.
    pub(super) fn all(directory: &Path) -> io::Result<Vec<Self>> {
        let mut sets = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                sets.push(Self { path: entry.path() });
            }
        }
        Ok(sets)
    }

    /// Those of `sets` in which a program is pinned that one of these links attaches.
    pub(super) fn in_force(sets: Vec<Self>, links: &[PathBuf]) -> Result<Vec<Self>, Unread> {
        let mut attached = BTreeSet::new();
        for link in links {
            let link = FdLink::from(PinnedLink::from_pin(link)?);
            attached.insert(link.info()?.program_id());
        }
        let mut in_force = Vec::new();
        for set in sets {
            let mut programs = set.programs()?.into_keys();
            let is_attached = programs.any(|id| attached.contains(&id));
            in_force.extend(is_attached.then_some(set));
        }
        Ok(in_force)
    }

    /// Pins the programs, which use these maps, so that it is known whose maps they are once they are attached.
    pub(super) fn hold_programs(&self, ebpf: &mut Ebpf) -> Result<(), Unread> {
        let held = self.programs()?;
        for (_, program) in ebpf.programs_mut() {
            if program.fd().is_err() {
                // It is not loaded.
                continue;
            }
            let id = program.info()?.id();
            if !held.contains_key(&id) {
                program.pin(self.pin(&format!("{PROGRAM}{id}")))?;
            }
        }
        Ok(())
    }

    /// Forgets the programs of an earlier agent, which are attached no more.
    pub(super) fn release_programs(&self, ebpf: &Ebpf) -> io::Result<()> {
        let own = ebpf.programs();
        let own = own.filter_map(|(_, program)| Some(program.info().ok()?.id()));
        let own: BTreeSet<u32> = own.collect();
        for (id, pin) in self.programs()? {
            if !own.contains(&id) {
                fs::remove_file(pin)?;
            }
        }
        Ok(())
    }

    /// The programs that are pinned here, by their ids.
    fn programs(&self) -> io::Result<BTreeMap<u32, PathBuf>> {
        let id = |pin: &Path| -> Option<u32> {
            let name = pin.file_name()?.to_str()?;
            name.strip_prefix(PROGRAM)?.parse().ok()
        };
        let pins = self.pins()?.into_iter();
        Ok(pins.filter_map(|pin| Some((id(&pin)?, pin))).collect())
    }

    /// Whether what it knows of sockets has the layout that we know, and is kept as ours is.
    pub(super) fn has_records_as(&self, has_lines: bool) -> bool {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(&kind(has_lines))
    }

    /// Compared with what an agent with these limits wants.
    pub(super) fn misfits(&self, limits: &Limits) -> Result<Misfits, Unread> {
        let mut misfits = Misfits::new();
        for (name, wanted) in kept(limits) {
            let Some(found) = self.elements(name)? else {
                misfits.insert(name, "it is missing".to_owned());
                continue;
            };
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                misfits.insert(name, format!("it has {found} elements, and not {wanted}"));
            }
        }
        Ok(misfits)
    }

    pub(super) fn directory(&self) -> Option<&Path> {
        self.path.parent()
    }

    /// All that is pinned.
    pub(super) fn pins(&self) -> io::Result<Vec<PathBuf>> {
        let pins = fs::read_dir(&self.path)?;
        pins.map(|pin| Ok(pin?.path())).collect()
    }

    pub(super) fn pin(&self, map: &str) -> PathBuf {
        self.path.join(map)
    }

    pub(super) fn map(&self, name: &str) -> io::Result<MapData> {
        MapData::from_pin(self.pin(name)).map_err(|error| io::Error::other(chain(&error)))
    }

    /// Pins the map in `other` as well, by that name.
    pub(super) fn share(&self, map: &str, other: &Self, name: &str) -> Result<(), LoadError> {
        let map = self.map(map).map_err(LoadError::unreadable)?;
        let path = other.pin(name);
        map.pin(&path).map_err(|error| LoadError::PinDirectory {
            path,
            error: io::Error::other(chain(&error)),
        })
    }

    /// How many elements the map has, if it is there.
    pub(super) fn elements(&self, name: &str) -> io::Result<Option<u32>> {
        let pin = self.pin(name);
        if !pin.try_exists()? {
            return Ok(None);
        }
        let info = MapInfo::from_pin(pin).map_err(|error| io::Error::other(chain(&error)))?;
        Ok(Some(info.max_entries()))
    }

    /// IDENTITIES, which is made where it is missing.
    pub(super) fn identities(&self, limits: &Limits) -> Result<MapData, LoadError> {
        self.array::<IdentityBytes>(IDENTITIES, limits.counters())
    }

    /// An array that no program uses, which is made where it is missing.
    pub(super) fn array<V: Pod>(&self, name: &str, elements: u32) -> Result<MapData, LoadError> {
        let pin = self.pin(name);
        if !pin.exists() {
            let made = Array::<_, V>::create(elements, BPF_F_MMAPABLE);
            let made = made.map_err(|error| LoadError::Unmade {
                name: name.to_owned(),
                error: Box::new(error),
            })?;
            made.pin(&pin).map_err(|error| LoadError::PinDirectory {
                path: pin.clone(),
                error: io::Error::other(error),
            })?;
        }
        Ok(MapData::from_pin(&pin)?)
    }

    /// Its maps go with the last program that uses them. Returns where it was.
    pub(super) fn remove(self) -> io::Result<PathBuf> {
        for pin in self.pins()? {
            fs::remove_file(pin)?;
        }
        fs::remove_dir(&self.path)?;
        Ok(self.path)
    }

    pub(super) fn number(&self) -> Option<u32> {
        let name = self.path.file_name()?.to_str()?;
        name.rsplit('-').next()?.parse().ok()
    }
}

/// How the directory of a set begins whose object has flow records there.
fn kind(has_lines: bool) -> String {
    let records = if has_lines { "lines" } else { "sockets" };
    format!("{PREFIX}{records}-v{SOCKET_ABI_VERSION}-")
}
