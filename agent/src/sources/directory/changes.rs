//! When to look at a directory again: the kernel's notifications, held back until the writers are done.
//!
//! A notification is only a hint to look; which file it named decides nothing but how long to hold back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long nothing may happen before one looks: an editor's rename, create and delete come closer together.
const QUIET: Duration = Duration::from_millis(20);
/// How long one waits at most, whatever happens meanwhile.
const MAX_HOLD: Duration = Duration::from_secs(2);

/// What has been notified and not yet been looked at.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Files written to and not yet closed: their content is in between.
    open: Mutex<BTreeSet<PathBuf>>,
    happened: Notify,
}

impl Changes {
    /// Starts watching what is directly in `directory`, until the result is dropped.
    pub(super) fn watch(self: &Arc<Self>, directory: &Path) -> notify::Result<RecommendedWatcher> {
        let changes = Arc::clone(self);
        let mut watcher = notify::recommended_watcher(move |event| changes.note(event))?;
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }

    /// Ends when something happened and it has become quiet since, or has not for too long.
    pub(super) async fn settled(&self) {
        self.happened.notified().await;
        let deadline = Instant::now() + MAX_HOLD;
        loop {
            let is_being_written = !self.open().is_empty();
            let quiet = if is_being_written {
                deadline
            } else {
                deadline.min(Instant::now() + QUIET)
            };
            if timeout_at(quiet, self.happened.notified()).await.is_err() {
                self.open().clear();
                return;
            }
            if Instant::now() >= deadline {
                self.open().clear();
                return;
            }
        }
    }

    fn note(&self, event: notify::Result<Event>) {
        // An error (such as an overflow of the queue) is a reason to look, too.
        if let Ok(event) = event {
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) => self.open().extend(event.paths),
                EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => {
                    let mut open = self.open();
                    for path in &event.paths {
                        open.remove(path);
                    }
                }
                // Our own reading is among these.
                EventKind::Access(_) => return,
                _ => {}
            }
        }
        self.happened.notify_one();
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange};

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event::new(kind).add_path("/d/a.yaml".into())
    }

    #[tokio::test(start_paused = true)]
    async fn one_looks_as_soon_as_it_is_quiet() {
        let changes = Changes::default();
        let start = Instant::now();
        changes.note(Ok(event(EventKind::Create(CreateKind::File))));
        changes.settled().await;
        assert_eq!(start.elapsed().as_millis(), QUIET.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_open_for_writing_is_waited_for_but_not_for_ever() {
        let changes = Changes::default();
        let start = Instant::now();
        changes.note(Ok(event(EventKind::Modify(ModifyKind::Data(
            DataChange::Any,
        )))));
        changes.settled().await;
        assert_eq!(start.elapsed().as_millis(), MAX_HOLD.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_the_file_ends_the_wait() {
        let changes = Arc::new(Changes::default());
        let start = Instant::now();
        changes.note(Ok(event(EventKind::Modify(ModifyKind::Data(
            DataChange::Any,
        )))));
        let settled = tokio::spawn({
            let changes = Arc::clone(&changes);
            async move { changes.settled().await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        changes.note(Ok(event(EventKind::Access(AccessKind::Close(
            AccessMode::Write,
        )))));
        settled.await.unwrap();
        assert!(
            start.elapsed() < Duration::from_millis(530),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn reading_is_no_change() {
        let changes = Changes::default();
        changes.note(Ok(event(EventKind::Access(AccessKind::Close(
            AccessMode::Read,
        )))));
        let waited = tokio::time::timeout(MAX_HOLD * 2, changes.settled()).await;
        assert!(waited.is_err());
    }
}
