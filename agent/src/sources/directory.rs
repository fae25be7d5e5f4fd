//! A directory of YAML as a source: what it holds is told at the start, and again whenever it changes.
//!
//! `--config-dir` works as `conf.d` directories do: the files `*.yaml`, `*.yml` and `*.json` directly in it count, hidden
//! ones and sub-directories do not; a path may also name a single file. Symbolic links are followed, so a mounted
//! `ConfigMap` works; a `subPath` mount of one never changes, which is Kubernetes' doing.
//!
//! Notifications only say when to look; what is found decides. Whatever they miss (a link's target elsewhere, a network
//! file system, an overlay) is found by looking at everything twice a minute, or on [`Directory::rescan`].
//!
//! A source that cannot be listed says so and keeps its objects: a vanished mount must not take the services down. What cannot
//! be read at the start is as an earlier run of the agent knew it.
//! Deleting a file removes its objects, except where the file itself is the source.

mod changes;
mod memory;
mod scanner;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::RecommendedWatcher;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::model::{Fact, SourceId};

use super::LastGood;

use self::changes::Changes;
use self::memory::Memory;
use self::scanner::{CONFIRMATION, Extent, Scanner};

/// How often everything is read, whatever was notified.
const RESYNC: Duration = Duration::from_secs(30);
/// How often one checks that the watched directory is still the one at the path: one `stat`.
const IDENTITY_CHECK: Duration = Duration::from_secs(1);
/// The same of what could not be read, for want of a descriptor, say.
const RETRY: Duration = Duration::from_secs(5);

/// How a directory is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryStatus {
    pub path: PathBuf,
    /// Whether everything that was there at the start has been told.
    pub is_synced: bool,
    /// When it was last listed with success.
    pub last_read: Option<SystemTime>,
    pub files: usize,
    /// The files that cannot be read, with the reason.
    pub unreadable: BTreeMap<Arc<str>, String>,
    /// Why it cannot be listed; its objects stay in force.
    pub failure: Option<String>,
    /// Why changes are found by polling only, once a second.
    pub watch_failure: Option<String>,
}

/// A directory that is being watched, until this is dropped.
#[derive(Debug)]
pub struct Directory {
    id: SourceId,
    status: watch::Receiver<DirectoryStatus>,
    rescan: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Directory {
    pub fn id(&self) -> &SourceId {
        &self.id
    }

    pub fn status(&self) -> DirectoryStatus {
        self.status.borrow().clone()
    }

    /// The status, whenever it changes.
    pub fn watch_status(&self) -> watch::Receiver<DirectoryStatus> {
        self.status.clone()
    }

    /// Has everything read again soon.
    pub fn rescan(&self) {
        self.rescan.notify_one();
    }

    /// Ends when the source does: because nobody receives its facts any more, or because it panicked.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.task).await
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to watch `path`, which need not exist yet. Must be called within a Tokio runtime. What cannot be read at the start is
/// told from `memory`, where there is one.
pub fn watch(path: PathBuf, memory: Option<Arc<LastGood>>, facts: mpsc::Sender<Fact>) -> Directory {
    let id = SourceId(path.display().to_string().into());
    let (status_sender, status) = watch::channel(DirectoryStatus {
        path: path.clone(),
        ..DirectoryStatus::default()
    });
    let rescan = Arc::new(Notify::new());
    let memory = memory.map_or_else(Memory::default, |store| Memory::new(store, &id));
    let source = Source {
        scanner: Scanner::new(path.clone(), id.clone(), memory),
        path,
        facts,
        changes: Arc::default(),
        rescan: Arc::clone(&rescan),
        status: status_sender,
        watched: None,
        watch_failure: None,
        next_resync: Instant::now(),
    };
    Directory {
        id,
        status,
        rescan,
        task: tokio::spawn(source.run()),
    }
}

/// Device and inode, which tell one directory from another at the same path.
type Identity = (u64, u64);

struct Source {
    path: PathBuf,
    scanner: Scanner,
    facts: mpsc::Sender<Fact>,
    changes: Arc<Changes>,
    rescan: Arc<Notify>,
    status: watch::Sender<DirectoryStatus>,
    /// What is watched now. Dropping the watcher ends the watch.
    watched: Option<(Identity, RecommendedWatcher)>,
    watch_failure: Option<String>,
    next_resync: Instant,
}

impl Source {
    async fn run(mut self) {
        let mut extent = Extent::All;
        loop {
            if extent == Extent::All {
                self.next_resync = Instant::now() + RESYNC;
            }
            let is_doubtful;
            (self, is_doubtful) = match spawn_blocking(move || self.scan(extent)).await {
                Ok(result) => result,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return,
            };
            match self.wait(is_doubtful).await {
                Some(next) => extent = next,
                None => return,
            }
        }
    }

    /// Watches the directory that is at the path now, if it is not the one that is watched.
    fn attach(&mut self) {
        let directory = watch_root(&self.path);
        let identity = identity(&directory);
        if identity == self.watched_identity() {
            return;
        }
        self.watched = None;
        self.watch_failure = None;
        let Some(identity) = identity else {
            return;
        };
        match self.changes.watch(&directory) {
            Ok(watcher) => self.watched = Some((identity, watcher)),
            Err(error) => {
                tracing::warn!(path = %directory.display(), %error, "cannot watch; polling");
                self.watch_failure = Some(error.to_string());
            }
        }
    }

    fn watched_identity(&self) -> Option<Identity> {
        self.watched.as_ref().map(|(identity, _)| *identity)
    }

    /// Blocks, on the file system and on whoever takes the facts.
    fn scan(mut self, extent: Extent) -> (Self, bool) {
        // In this order, or a change between the two would be missed.
        self.attach();
        let facts = &self.facts;
        let is_doubtful = self
            .scanner
            .scan(extent, std::time::Instant::now(), &mut |fact| {
                // When nobody receives any more, `wait` ends the source.
                let _ = facts.blocking_send(fact);
            });
        self.report();
        (self, is_doubtful)
    }

    fn report(&self) {
        let failure = self.scanner.failure().map(str::to_owned);
        self.status.send_modify(|status| {
            if failure != status.failure
                && let Some(why) = &failure
            {
                tracing::warn!(path = %self.path.display(), error = %why, "cannot list; its objects stay");
            }
            if failure.is_none() {
                status.last_read = Some(SystemTime::now());
            }
            status.is_synced = self.scanner.is_synced();
            status.files = self.scanner.file_count();
            status.unreadable = self.scanner.unreadable();
            status.failure = failure;
            status.watch_failure.clone_from(&self.watch_failure);
        });
    }

    /// Waits for a reason to look again; `None` when there will be no more.
    async fn wait(&self, is_doubtful: bool) -> Option<Extent> {
        let is_read = {
            let status = self.status.borrow();
            status.failure.is_none() && status.unreadable.is_empty()
        };
        tokio::select! {
            () = self.facts.closed() => None,
            () = self.rescan.notified() => Some(Extent::All),
            () = sleep_until(self.next_resync) => Some(Extent::All),
            () = self.changes.settled() => Some(Extent::Changed),
            () = sleep(CONFIRMATION), if is_doubtful => Some(Extent::Changed),
            () = sleep(RETRY), if !is_read => Some(Extent::Changed),
            () = self.replaced() => Some(Extent::Changed),
        }
    }

    /// Ends when another directory than the watched one is at the path.
    async fn replaced(&self) {
        let mut ticks = interval(IDENTITY_CHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let path = self.path.clone();
            let now = spawn_blocking(move || identity(&watch_root(&path))).await;
            if now.is_ok_and(|identity| identity != self.watched_identity()) {
                return;
            }
        }
    }
}

/// The directory whose entries are to be watched: `path`, or its parent when it is a file.
fn watch_root(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if path.is_file() => {
            if parent.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                parent.to_owned()
            }
        }
        _ => path.to_owned(),
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
