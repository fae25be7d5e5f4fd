//! What of what happens must the next agent know that comes after one that was killed? What clients were told of names, and how
//! endpoints are. It is kept before anybody can go by it.
//!
//! All this is of use only while clients, sockets and maps are there, which end with the machine: nothing waits for the disk, and
//! what another boot has left is nothing. Times are those of the kernel's monotonic clock, so that none is earlier or later for
//! the next agent because somebody set the clock.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use redb::{
    Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    TableDefinition, TableError, Value, WriteTransaction,
};

use crate::health::{KeptHealth, KeptService};
use crate::model::{LearnedChanges, LearnedEnds, ServiceKey};
use crate::sources::store::{self, Outlives, StoreError};

use super::clock::Clock;
use super::core::Core;

/// By name and address, as IPv6: until when it is learned, in seconds.
const ADDRESSES: TableDefinition<'_, (&str, u128), u64> = TableDefinition::new("addresses");
/// By name: until when it is asked for, in seconds.
const ASKED: TableDefinition<'_, &str, u64> = TableDefinition::new("asked");
/// By service: JSON of its [`KeptService`].
const HEALTH: TableDefinition<'_, Service<'static>, &str> = TableDefinition::new("health");
/// Which boot all this is of.
const BOOT: TableDefinition<'_, (), &str> = TableDefinition::new("boot");

/// A [`ServiceKey`]: namespace, host, port, transport, route and clients.
type Service<'a> = (&'a str, &'a str, u16, u8, Option<&'a str>, Option<&'a str>);

/// Where the kernel tells one boot from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What an earlier agent knew.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    pub(super) learned: LearnedEnds,
    pub(super) health: KeptHealth,
}

/// The store.
#[derive(Debug)]
pub(super) struct Kept {
    clock: Clock,
    /// `None` once it has failed.
    database: Option<Database>,
}

impl Kept {
    /// Opens the store, and reads what an earlier agent has left in it.
    pub(super) fn open(state_dir: &Path, clock: Clock) -> Result<(Self, Recalled), StoreError> {
        let path = state_dir.join("kept.redb");
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_else(|error| {
            tracing::warn!(file = BOOT_ID, %error, "boots cannot be told apart: nothing of earlier agents is recalled");
            String::new()
        });
        let loss = "what clients were told of names, and who is ejected, cannot be read: some of what they connect to may not be \
                    recognised";
        let database = store::open(&path, Outlives::Process, loss)?;
        let recalled = recall(&database, clock, boot.trim());
        let recalled = recalled.map_err(|error| StoreError::new(&path, &error))?;
        let database = Some(database);
        Ok((Self { clock, database }, recalled))
    }

    /// Keeps these changes. Without a store that works everything goes on.
    fn keep(&mut self, learned: &LearnedChanges, health: &KeptHealth) {
        let Some(database) = &self.database else {
            return;
        };
        if let Err(error) = write(database, |to| put(to, self.clock, learned, health)) {
            tracing::error!(%error,
                "what clients are told of names, and who is ejected, is kept no more: after a restart some of what they connect \
                 to may not be recognised; see that there is room, and start again");
            self.database = None;
        }
    }
}

impl Core {
    /// Keeps what the next agent must know, before anybody goes by it.
    pub(super) fn keep(&mut self) {
        let learned = self.registry.take_learned_changes();
        let health = self.watch.take_changes();
        let is_empty =
            learned.addresses.is_empty() && learned.asked.is_empty() && health.is_empty();
        if let Some(kept) = &mut self.kept
            && !is_empty
        {
            kept.keep(&learned, &health);
        }
    }
}

fn write(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    work(&transaction)?;
    transaction.commit()?;
    Ok(())
}

fn put(
    to: &WriteTransaction,
    clock: Clock,
    learned: &LearnedChanges,
    health: &KeptHealth,
) -> Result<(), redb::Error> {
    if !learned.addresses.is_empty() {
        let mut table = to.open_table(ADDRESSES)?;
        for ((name, address), until) in &learned.addresses {
            let key = (&**name, to_bits(*address));
            match until {
                Some(until) => table.insert(key, clock.to_monotonic(*until))?,
                None => table.remove(key)?,
            };
        }
    }
    if !learned.asked.is_empty() {
        let mut table = to.open_table(ASKED)?;
        for (name, until) in &learned.asked {
            match until {
                Some(until) => table.insert(&**name, clock.to_monotonic(*until))?,
                None => table.remove(&**name)?,
            };
        }
    }
    if !health.is_empty() {
        let mut table = to.open_table(HEALTH)?;
        for (key, kept) in health {
            if kept.is_empty() {
                table.remove(service(key))?;
            } else {
                let json = serde_json::to_string(kept).map_err(io::Error::from)?;
                table.insert(service(key), &*json)?;
            }
        }
    }
    Ok(())
}

/// What was kept since `boot`, which all that is kept from now on is of.
fn recall(database: &Database, clock: Clock, boot: &str) -> Result<Recalled, redb::Error> {
    let from = database.begin_read()?;
    if !boot.is_empty()
        && let Some(table) = table(&from, BOOT)?
        && table.get(())?.is_some_and(|known| known.value() == boot)
    {
        return read(&from, clock);
    }
    write(database, |to| {
        to.delete_table(ADDRESSES)?;
        to.delete_table(ASKED)?;
        to.delete_table(HEALTH)?;
        to.open_table(BOOT)?.insert((), boot)?;
        Ok(())
    })?;
    Ok(Recalled::default())
}

fn read(from: &ReadTransaction, clock: Clock) -> Result<Recalled, redb::Error> {
    let mut all = Recalled::default();
    if let Some(table) = table(from, ADDRESSES)? {
        for entry in table.iter()? {
            let (key, until) = entry?;
            let (name, bits) = key.value();
            let until = clock.of_monotonic(until.value());
            let addresses = &mut all.learned.addresses;
            addresses.insert((name.into(), of_bits(bits)), until);
        }
    }
    if let Some(table) = table(from, ASKED)? {
        for entry in table.iter()? {
            let (name, until) = entry?;
            let until = clock.of_monotonic(until.value());
            all.learned.asked.insert(name.value().into(), until);
        }
    }
    if let Some(table) = table(from, HEALTH)? {
        for entry in table.iter()? {
            let (key, json) = entry?;
            let key = service_key(key.value());
            match serde_json::from_str::<KeptService>(json.value()) {
                Ok(kept) => {
                    all.health.insert(key, kept);
                }
                Err(error) => tracing::warn!(service = %key, %error, "who is ejected is not known"),
            }
        }
    }
    Ok(all)
}

/// A table, if anything was ever put into it.
fn table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, redb::Error> {
    match from.open_table(definition) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn of_bits(bits: u128) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()
}

fn service(key: &ServiceKey) -> Service<'_> {
    let ServiceKey {
        namespace,
        host,
        port,
        transport,
        route,
        clients,
    } = key;
    let (route, clients) = (route.as_deref(), clients.as_deref());
    (namespace, host, *port, *transport, route, clients)
}

fn service_key((namespace, host, port, transport, route, clients): Service<'_>) -> ServiceKey {
    ServiceKey {
        namespace: namespace.into(),
        host: host.into(),
        port,
        transport,
        route: route.map(Arc::from),
        clients: clients.map(Arc::from),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use crate::model::{Fact, Registry, UnixTime};

    use super::*;

    fn registry(now: UnixTime) -> Registry {
        let mut registry = Registry::default();
        registry.set_time(now);
        registry
    }

    fn learned(name: &str, address: IpAddr) -> Fact {
        Fact::Learned {
            name: name.into(),
            addresses: vec![address],
            ttl: Duration::from_mins(5),
        }
    }

    /// What the next agent recalls once what is new in `registry` was kept.
    fn keep(dir: &TempDir, clock: Clock, registry: &mut Registry) -> Recalled {
        let (mut kept, _) = Kept::open(dir.path(), clock).unwrap();
        kept.keep(&registry.take_learned_changes(), &KeptHealth::new());
        drop(kept);
        Kept::open(dir.path(), clock).unwrap().1
    }

    #[test]
    fn what_was_learned_is_recalled_of_both_families_and_what_went_is_not() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::new());
        let mut before = registry(clock.now());
        let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        for address in addresses {
            before.apply(learned("a.test", address));
        }
        before.apply(Fact::Asked {
            name: "b.test".into(),
            answer: crate::model::Answer::default(),
        });
        let recalled = keep(&dir, clock, &mut before);

        let mut after = registry(clock.now());
        after.recall(recalled.learned);
        let (before, now) = (before.snapshot(), after.snapshot());
        assert_eq!((now.learned, now.asked), (before.learned, before.asked));

        after.retain_learned(|_| false, |_| false);
        let recalled = keep(&dir, clock, &mut after);
        assert_eq!(recalled.learned, LearnedEnds::default());
    }

    #[test]
    fn what_another_boot_has_left_is_nothing() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::new());
        let mut before = registry(clock.now());
        before.apply(learned("a.test", "192.0.2.1".parse().unwrap()));
        let recalled = keep(&dir, clock, &mut before);
        assert_eq!(recalled.learned.addresses.len(), 1);
        let path = dir.path().join("kept.redb");
        let database = store::open(&path, Outlives::Process, "").unwrap();
        let of = |boot| recall(&database, clock, boot).unwrap().learned;
        assert_eq!(of("another"), LearnedEnds::default());
        assert_eq!(of("another"), LearnedEnds::default());
    }

    #[test]
    fn whatever_is_in_place_of_the_store_does_not_stop_the_agent() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::new());
        for text in ["", "no store"] {
            fs::write(dir.path().join("kept.redb"), text).unwrap();
            let (_, recalled) = Kept::open(dir.path(), clock).unwrap();
            assert_eq!(recalled.learned, LearnedEnds::default());
        }
        assert!(dir.path().join("kept.damaged").exists());
    }
}
