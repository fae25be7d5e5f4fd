//! What files held when they were good, kept from one run of the agent to the next: so that a file that is broken, or a
//! directory that cannot be read, when the agent starts leaves in force what it did before.
//!
//! Of each file it keeps the texts that its objects were last good in: one where all are, more where some have outlived
//! their documents. How objects outlive is the model's to say.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use redb::{
    Database, Durability, ReadableDatabase as _, TableDefinition, TableError, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use crate::api::{Decoded, decode};
use crate::model::{UnixTime, outlives};

use super::store::{self, Outlives, StoreError};

/// By source and path: seconds since 1970 at which it was kept, and JSON of its [`Part`]s.
const FILES: TableDefinition<'_, (&str, &str), (u64, &str)> = TableDefinition::new("files");
/// The sources that were mount points.
const MOUNT_POINTS: TableDefinition<'_, &str, ()> = TableDefinition::new("mount_points");

/// Texts that are kept of one file. Beyond, the oldest goes: so many saves in a row each broke another object.
const MAX_PARTS: usize = 16;

/// A text, and which of its objects count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    text: String,
    /// All, unless given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    objects: Option<BTreeSet<String>>,
}

/// The store. Several sources share it.
#[derive(Debug)]
pub struct LastGood {
    path: PathBuf,
    /// `None` once it has failed.
    database: Mutex<Option<Database>>,
}

impl LastGood {
    /// Opens the store of an earlier run, or makes one.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join("last-good.redb");
        let loss = "what files held in earlier runs cannot be read: those that are broken now hold nothing";
        let database = store::open(&path, Outlives::Machine, loss)?;
        Ok(Self {
            path,
            database: Mutex::new(Some(database)),
        })
    }

    /// The files of a source of which something is kept.
    pub(super) fn files(&self, source: &str) -> BTreeSet<String> {
        let found = self.attempt(|database| {
            let transaction = database.begin_read()?;
            let table = match transaction.open_table(FILES) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeSet::new()),
                table => table?,
            };
            let mut files = BTreeSet::new();
            for entry in table.range((source, "")..)? {
                let (key, _) = entry?;
                let (of, file) = key.value();
                if of != source {
                    break;
                }
                files.insert(file.to_owned());
            }
            Ok(files)
        });
        found.unwrap_or_default()
    }

    /// The objects that a file held when they were good, and since when that is kept.
    pub(super) fn recall(&self, source: &str, file: &str) -> Option<(Decoded, UnixTime)> {
        let (since, parts) = self.attempt(|database| read(database, source, file))??;
        let mut all = Decoded::default();
        for part in parts {
            all.objects.extend(objects(file, &part).objects);
        }
        Some((all, since))
    }

    /// Keeps what is in force now that the file holds `text`; safe from a crash after [`Self::save`]. Returns whether that
    /// is something else than was kept.
    pub(super) fn remember(&self, source: &str, file: &str, text: &str, decoded: &Decoded) -> bool {
        let is_new = self.attempt(|database| {
            let known = read(database, source, file)?.map(|(_, parts)| parts);
            let parts = follow(file, known.as_deref().unwrap_or_default(), text, decoded);
            if known.as_ref() == Some(&parts) {
                return Ok(false);
            }
            let json = serde_json::to_string(&parts).map_err(io::Error::from)?;
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            write(database, |transaction| {
                let mut files = transaction.open_table(FILES)?;
                files.insert((source, file), (since.as_secs(), json.as_str()))?;
                Ok(())
            })?;
            Ok(true)
        });
        is_new.unwrap_or_default()
    }

    /// The file is gone.
    pub(super) fn forget(&self, source: &str, file: &str) {
        self.attempt(|database| {
            write(database, |transaction| {
                transaction.open_table(FILES)?.remove((source, file))?;
                Ok(())
            })
        });
    }

    pub(super) fn is_mount_point(&self, source: &str) -> bool {
        let found = self.attempt(|database| {
            let transaction = database.begin_read()?;
            match transaction.open_table(MOUNT_POINTS) {
                Err(TableError::TableDoesNotExist(_)) => Ok(false),
                table => Ok(table?.get(source)?.is_some()),
            }
        });
        found.unwrap_or_default()
    }

    pub(super) fn set_mount_point(&self, source: &str, is_mount_point: bool) {
        self.attempt(|database| {
            write(database, |transaction| {
                let mut table = transaction.open_table(MOUNT_POINTS)?;
                if is_mount_point {
                    table.insert(source, ())?;
                } else {
                    table.remove(source)?;
                }
                Ok(())
            })
        });
    }

    /// Makes all that was kept safe from a crash.
    pub(super) fn save(&self) {
        self.attempt(|database| {
            database.begin_write()?.commit()?;
            Ok(())
        });
    }

    /// Without a store that works everything goes on, and a restart finds what was kept before.
    fn attempt<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Option<T> {
        let mut database = self.lock();
        match work(database.as_ref()?) {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::error!(file = %self.path.display(), %error,
                    "what files hold is kept no more: files that are broken at the next start may hold older objects; \
                     see that there is room, and start again");
                *database = None;
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(
    database: &Database,
    source: &str,
    file: &str,
) -> Result<Option<(UnixTime, Vec<Part>)>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(FILES) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let Some(entry) = table.get((source, file))? else {
        return Ok(None);
    };
    let (since, json) = entry.value();
    let parts = serde_json::from_str(json).map_err(io::Error::from)?;
    Ok(Some((UnixTime(since), parts)))
}

/// Not on the disk before the next [`LastGood::save`].
fn write(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::None)?;
    work(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// The texts that hold what is in force once a file that was known by `known` holds `text`.
fn follow(file: &str, known: &[Part], text: &str, decoded: &Decoded) -> Vec<Part> {
    if decoded.broken.is_empty() {
        return vec![Part {
            text: text.to_owned(),
            objects: None,
        }];
    }
    let outlives = outlives(decoded);
    let part = |text: &str, ids: BTreeSet<String>| Part {
        text: text.to_owned(),
        objects: Some(ids),
    };
    let mut parts: Vec<Part> = known
        .iter()
        .map(|old| {
            let found = objects(file, old).objects;
            let kept = found.iter().map(|object| &object.meta.id);
            let kept = kept.filter(|id| outlives(id)).map(ToString::to_string);
            part(&old.text, kept.collect())
        })
        .collect();
    let good = decoded.objects.iter();
    parts.push(part(
        text,
        good.map(|object| object.meta.id.to_string()).collect(),
    ));
    parts.retain(|part| part.objects.as_ref().is_some_and(|ids| !ids.is_empty()));
    let excess = parts.len().saturating_sub(MAX_PARTS);
    parts.drain(..excess);
    parts
}

/// What of a part counts.
fn objects(file: &str, part: &Part) -> Decoded {
    let mut decoded = decode(file, &part.text);
    if let Some(ids) = &part.objects {
        let counts = |id: String| ids.contains(&id);
        decoded
            .objects
            .retain(|object| counts(object.meta.id.to_string()));
    }
    decoded
}

#[cfg(test)]
mod tests;
