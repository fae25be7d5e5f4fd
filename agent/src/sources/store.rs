//! How are the stores opened that the agent keeps in its state directory? For their owner alone, and whatever is in their place.

use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend, StorageError};

/// What an agent keeps is nobody else's to read.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Memory for pages of a store, in bytes; it is read at the start alone.
const CACHE: usize = 1 << 20;
/// What is damaged is set aside under this ending, as it must not cost what it holds twice.
pub const DAMAGED: &str = "damaged";

#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}; the state directory must exist, be writable, and be no other agent's", path.display())]
pub struct StoreError {
    path: PathBuf,
    reason: String,
}

impl StoreError {
    pub fn new(path: &Path, error: &dyn Error) -> Self {
        Self {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// What a commit must outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlives {
    /// The machine: it waits for the disk.
    Machine,
    /// The process: it waits for nothing.
    Process,
}

/// Makes the state directory, unless it is there.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let mut directory = DirBuilder::new();
    directory.recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Opens the store of an earlier run, or makes one. One that is damaged is set aside, and told with what is lost by it.
pub fn open(path: &Path, outlives: Outlives, loss: &str) -> Result<Database, StoreError> {
    let database = match open_undamaged(path, outlives) {
        Err(error) if is_damage(&error) => {
            let aside = path.with_extension(DAMAGED);
            tracing::error!(file = %path.display(), %error, aside = %aside.display(), "{loss}");
            fs::rename(path, &aside).map_err(|error| StoreError::new(path, &error))?;
            open_undamaged(path, outlives)
        }
        other => other,
    };
    database.map_err(|error| StoreError::new(path, &error))
}

fn open_undamaged(path: &Path, outlives: Outlives) -> Result<Database, DatabaseError> {
    if let Some(directory) = path.parent() {
        make_directory(directory).map_err(StorageError::from)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(StorageError::from)?;
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    match outlives {
        Outlives::Machine => builder.create_with_backend(FileBackend::new(file)?),
        Outlives::Process => builder.create_with_backend(Unsynced::new(file)?),
    }
}

fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::RepairAborted
        | DatabaseError::UpgradeRequired(_)
        | DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        // What is no store at all, or ends too soon.
        DatabaseError::Storage(StorageError::Io(error)) => matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

/// A file that nobody waits for: what was written is the kernel's to keep, which outlives the process.
#[derive(Debug)]
struct Unsynced(FileBackend);

impl Unsynced {
    fn new(file: File) -> Result<Self, DatabaseError> {
        Ok(Self(FileBackend::new(file)?))
    }
}

type Range = Bound<u64>;

impl StorageBackend for Unsynced {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
}
