//! Which maps are the programs loaded over? Those that another agent has left in force, new ones that have a part of them, or new
//! ones.

use aya::Ebpf;

use crate::dataplane::Limits;
use crate::dataplane::engine::Engine;
use crate::dataplane::inheritance::Damage;

use super::LoadOptions;
use super::earlier;
use super::error::LoadError;
use super::load;
use super::map_set::{MapSet, Misfits};
use super::pins::PinDirectory;
use super::succession::{Left, Legacy, Succession};
use super::tables::KernelTables;

/// The programs and the maps below them.
pub(super) struct Loaded {
    pub ebpf: Ebpf,
    pub engine: Engine<KernelTables>,
    /// Where the maps are pinned, if they are.
    pub maps: Option<MapSet>,
    /// Another agent has filled them.
    pub goes_on: bool,
    /// They have something of others that are in force.
    pub succession: Option<Succession>,
    /// Of records of sockets there may be more or fewer than were asked for.
    pub limits: Limits,
}

impl Loaded {
    pub(super) fn get(
        options: &LoadOptions,
        pins: Option<&PinDirectory>,
    ) -> Result<Self, LoadError> {
        let has_lines = load::has_lines(options);
        let Some(pins) = pins else {
            return Self::anew(options, None);
        };
        let mut options = options.clone();
        let legacy = match pins.maps_in_force()? {
            Some(left) => Some((Legacy::of(&left, &mut options.limits, has_lines)?, left)),
            None => None,
        };
        let options = &options;
        if let Some((Legacy::Everything, left)) = &legacy {
            match Self::going_on(options, left)? {
                Ok(loaded) => return Ok(loaded),
                Err(damage) => {
                    tracing::error!(%damage, "the maps of an earlier agent are replaced by new ones");
                }
            }
        }
        let maps = pins.new_maps(has_lines);
        let maps = maps.map_err(|error| LoadError::PinDirectory {
            path: pins.path().to_owned(),
            error,
        })?;
        let loaded = match legacy {
            Some((Legacy::Sockets(misfits), left)) => {
                Self::succeeding(options, &left, &misfits, maps.clone())
            }
            _ => Self::anew(options, Some(maps.clone())),
        };
        if loaded.is_err()
            && let Err(error) = maps.remove()
        {
            tracing::warn!(%error, "the next agent removes the new maps");
        }
        loaded
    }

    /// Over the maps that another has filled, unless they are damaged.
    fn going_on(options: &LoadOptions, left: &Left) -> Result<Result<Self, Damage>, LoadError> {
        earlier::drop_unused(left).map_err(LoadError::unreadable)?;
        let succession = Succession::resume(left)?;
        let left = &left.maps;
        let mut ebpf = load::load(options, Some(left))?;
        let tables = KernelTables::take(&mut ebpf, &options.limits, Some(left))?;
        match Engine::adopt(tables, &options.limits) {
            Err(Damage::Unreadable(error)) => Err(LoadError::unreadable(error)),
            adopted => Ok(adopted.map(|mut engine| {
                if succession.is_some() {
                    engine.share_ids();
                }
                Self {
                    ebpf,
                    engine,
                    maps: Some(left.clone()),
                    goes_on: true,
                    succession,
                    limits: options.limits,
                }
            })),
        }
    }

    /// Over new maps, but for what the others know of sockets.
    fn succeeding(
        options: &LoadOptions,
        left: &Left,
        misfits: &Misfits,
        maps: MapSet,
    ) -> Result<Self, LoadError> {
        let (limits, has_lines) = (&options.limits, load::has_lines(options));
        let succession = Succession::prepare(left, misfits, &maps, limits, has_lines)?;
        let mut ebpf = load::load(options, Some(&maps))?;
        let tables = KernelTables::take(&mut ebpf, limits, Some(&maps))?;
        let engine = Engine::succeed(tables, limits);
        Ok(Self {
            ebpf,
            engine: engine.map_err(LoadError::unreadable)?,
            maps: Some(maps),
            goes_on: false,
            succession: Some(succession),
            limits: options.limits,
        })
    }

    fn anew(options: &LoadOptions, maps: Option<MapSet>) -> Result<Self, LoadError> {
        let mut ebpf = load::load(options, maps.as_ref())?;
        let tables = KernelTables::take(&mut ebpf, &options.limits, maps.as_ref())?;
        Ok(Self {
            ebpf,
            engine: Engine::new(tables, &options.limits),
            maps,
            goes_on: false,
            succession: None,
            limits: options.limits,
        })
    }
}
