//! The maps as pins: one directory for each set of them, so that the next agent finds what its programs are to go on from.
//!
//! Which set is in force no file says: it is the one that the programs use which are attached. So a set of which an agent was
//! killed while it filled it is told from the one that it was to take the place of. What maps a program uses the kernel tells
//! only who has `CAP_SYS_ADMIN`; so programs are pinned beside their maps before they are attached, under their ids, which no
//! other can have meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agent_common::abi::{Identity, SOCKET_ABI_VERSION, TOTALS};
use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{CgroupSockAddr, ProgramError};

use crate::dataplane::Limits;

use super::error::LoadError;
use super::load::Hook;
use super::tables::Plain;

/// Of include/uapi/linux/bpf.h.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// How every directory of a set is named.
const PREFIX: &str = "maps-";
/// How every program in it is named; its id follows.
const PROGRAM: &str = "program-";
/// Whose programs decide on connects.
const DECIDING: [Hook; 2] = [Hook::Connect4, Hook::Connect6];

/// The maps that the next agent goes on from, and how many elements each has; `None` where that is the object's to say. What
/// is told of once (EVENTS, DENIALS) and what a living agent answers for (CAPTURE, `NAME_SERVERS`) is not handed on.
const fn kept(limits: &Limits) -> [(&'static str, Option<u32>); 13] {
    [
        ("FRONTENDS", Some(limits.frontends)),
        ("PREFIXES", Some(limits.prefixes)),
        ("EXEMPT", Some(limits.exempt)),
        ("SCOPES", Some(limits.cgroups)),
        ("ARENA", Some(limits.cells)),
        ("FLOWS", Some(limits.flows)),
        ("STORED", None),
        ("REPLIES", Some(limits.replies)),
        ("ENDPOINTS", Some(limits.counters())),
        (IDENTITIES, Some(limits.counters())),
        ("COUNTERS", Some(limits.counters())),
        ("TOTALS", Some(TOTALS)),
        ("CONFIG", None),
    ]
}

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

    /// Those of `sets` that the programs use which these links attach.
    pub(super) fn in_force(sets: Vec<Self>, links: &[PathBuf]) -> Vec<Self> {
        let decides = |link: &&PathBuf| {
            let name = link.file_name().unwrap_or_default().to_string_lossy();
            DECIDING.iter().any(|hook| name.starts_with(hook.program()))
        };
        let attached = links.iter().filter(decides).filter_map(|l| program_of(l));
        let attached: BTreeSet<u32> = attached.collect();
        let is_used = |set: &Self| set.programs().keys().any(|id| attached.contains(id));
        sets.into_iter().filter(is_used).collect()
    }

    /// Pins the programs that decide, which use these maps, so that it is known whose maps they are once they are attached.
    pub(super) fn hold_programs(&self, ebpf: &mut Ebpf) -> Result<(), ProgramError> {
        let held = self.programs();
        for hook in DECIDING {
            let program = ebpf
                .program_mut(hook.program())
                .expect("every program was found when it was loaded");
            let program = <&mut CgroupSockAddr>::try_from(program)?;
            let id = program.info()?.id();
            if !held.contains_key(&id) {
                let pin = self.pin(&format!("{PROGRAM}{id}"));
                program
                    .pin(pin)
                    .map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
            }
        }
        Ok(())
    }

    /// Forgets the programs of an earlier agent, which are attached no more.
    pub(super) fn release_programs(&self, ebpf: &Ebpf) -> io::Result<()> {
        let own = DECIDING.iter().filter_map(|hook| {
            let program = ebpf.program(hook.program())?;
            Some(program.info().ok()?.id())
        });
        let own: BTreeSet<u32> = own.collect();
        for (id, pin) in self.programs() {
            if !own.contains(&id) {
                fs::remove_file(pin)?;
            }
        }
        Ok(())
    }

    /// The programs that are pinned here, by their ids.
    fn programs(&self) -> BTreeMap<u32, PathBuf> {
        let pins = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let programs = pins.filter_map(|pin| {
            let name = pin.file_name().into_string().ok()?;
            Some((name.strip_prefix(PROGRAM)?.parse().ok()?, pin.path()))
        });
        programs.collect()
    }

    /// Whether what it knows of sockets has the layout that we know, and is kept as ours is.
    pub(super) fn has_records_as(&self, has_lines: bool) -> bool {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(&kind(has_lines))
    }

    /// The maps that have not as many elements as an agent with these limits wants; each with why.
    pub(super) fn misfits(&self, limits: &Limits) -> BTreeMap<&'static str, String> {
        let misfit = |(name, wanted): (&'static str, Option<u32>)| {
            let found = match MapInfo::from_pin(self.pin(name)) {
                Ok(map) => map.max_entries(),
                Err(error) => return Some((name, format!("it is missing: {error}"))),
            };
            let wanted = wanted.filter(|wanted| *wanted != found)?;
            Some((name, format!("it has {found} elements, and not {wanted}")))
        };
        kept(limits).into_iter().filter_map(misfit).collect()
    }

    pub(super) fn directory(&self) -> Option<&Path> {
        self.path.parent()
    }

    pub(super) fn pin(&self, map: &str) -> PathBuf {
        self.path.join(map)
    }

    /// IDENTITIES, which is made where it is missing.
    pub(super) fn identities(&self, limits: &Limits) -> Result<Map, LoadError> {
        let pin = self.pin(IDENTITIES);
        if !pin.exists() {
            let made = Array::<_, Plain<Identity>>::create(limits.counters(), BPF_F_MMAPABLE)?;
            made.pin(&pin).map_err(|error| LoadError::PinDirectory {
                path: pin.clone(),
                error: io::Error::other(error),
            })?;
        }
        Ok(Map::from_map_data(MapData::from_pin(&pin)?)?)
    }

    /// Its maps go with the last program that uses them. Returns where it was.
    pub(super) fn remove(self) -> io::Result<PathBuf> {
        for pin in fs::read_dir(&self.path)? {
            fs::remove_file(pin?.path())?;
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

/// The id of the program that this link attaches.
fn program_of(link: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(link).ok()?);
    Some(link.info().ok()?.program_id())
}
