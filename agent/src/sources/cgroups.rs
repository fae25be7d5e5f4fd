//! Cgroups as a source: which there are, told at the start and whenever some come or go.
//!
//! Notifications say where to look; all is looked at twice a minute, and when notifications were lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{CreateKind, Event, EventKind, RemoveKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::model::Fact;

/// How often all is looked at, whatever was notified.
const RESYNC: Duration = Duration::from_secs(30);
/// The same while some cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// A cgroup's path, and its id or that it is gone.
pub type Change = (Arc<str>, Option<u64>);

/// A watch on cgroups, until this is dropped.
#[derive(Debug)]
pub struct Cgroups {
    /// Held so that the thread ends with it.
    _watcher: Option<RecommendedWatcher>,
    stop: blocking::Sender<Noted>,
}

/// What was notified.
#[derive(Debug)]
enum Noted {
    /// Something at or below this path.
    At(PathBuf),
    /// Nobody knows what.
    Anything,
    /// Nothing will be any more.
    End,
}

/// Starts to watch the cgroups at and below `roots`; returns those that there are now. Their paths are as seen from `mount`, where
/// cgroup v2 is mounted: that of the root of the hierarchy is empty.
pub fn watch(mount: &Path, roots: &[PathBuf], facts: mpsc::Sender<Fact>) -> (Cgroups, Vec<Change>) {
    let (sender, receiver) = blocking::channel();
    let teller = sender.clone();
    let note = move |event: notify::Result<Event>| {
        for noted in read(event) {
            // The thread that is told ends last.
            let _ = teller.send(noted);
        }
    };
    let watcher = notify::recommended_watcher(note).and_then(|mut watcher| {
        for root in roots {
            watcher.watch(root, RecursiveMode::Recursive)?;
        }
        Ok(watcher)
    });
    let watcher = watcher
        .inspect_err(|error| tracing::warn!(%error, "cgroups cannot be watched: they are looked at twice a minute"))
        .ok();
    let mut tree = Tree {
        mount: mount.to_owned(),
        roots: roots.to_owned(),
        known: BTreeMap::new(),
        is_read: true,
    };
    let first = tree.look_at_all();
    let run = move || tell(tree, &receiver, &facts);
    let thread = thread::Builder::new().name("cgroups".to_owned()).spawn(run);
    if let Err(error) = thread {
        tracing::error!(%error, "cgroups that come from now on are not known");
    }
    let cgroups = Cgroups {
        _watcher: watcher,
        stop: sender,
    };
    (cgroups, first)
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let _ = self.stop.send(Noted::End);
    }
}

fn read(event: notify::Result<Event>) -> Vec<Noted> {
    let Ok(event) = event else {
        return vec![Noted::Anything];
    };
    if event.need_rescan() {
        return vec![Noted::Anything];
    }
    match event.kind {
        // Files of a cgroup come with it and go with it, and are written to all the time.
        EventKind::Create(CreateKind::Folder | CreateKind::Any)
        | EventKind::Remove(RemoveKind::Folder | RemoveKind::Any)
        | EventKind::Modify(notify::event::ModifyKind::Name(_)) => {
            event.paths.into_iter().map(Noted::At).collect()
        }
        _ => Vec::new(),
    }
}

/// Tells of changes until nobody listens, or the watch is dropped.
fn tell(mut tree: Tree, noted: &blocking::Receiver<Noted>, facts: &mpsc::Sender<Fact>) {
    let mut next_resync = Instant::now() + RESYNC;
    loop {
        let first = match noted.recv_timeout(next_resync.saturating_duration_since(Instant::now()))
        {
            Ok(noted) => noted,
            Err(blocking::RecvTimeoutError::Timeout) => Noted::Anything,
            Err(blocking::RecvTimeoutError::Disconnected) => return,
        };
        let mut paths = BTreeSet::new();
        let mut is_all = false;
        for noted in std::iter::once(first).chain(noted.try_iter()) {
            match noted {
                Noted::At(path) => {
                    paths.insert(path);
                }
                Noted::Anything => is_all = true,
                Noted::End => return,
            }
        }
        let changes = if is_all {
            next_resync = Instant::now() + RESYNC;
            tree.look_at_all()
        } else {
            let changes = paths.iter().flat_map(|path| tree.look_at(path));
            changes.collect()
        };
        if !tree.is_read {
            next_resync = next_resync.min(Instant::now() + RETRY);
        }
        if !changes.is_empty() && facts.blocking_send(Fact::Cgroups(changes)).is_err() {
            return;
        }
    }
}

/// The cgroups that are known.
struct Tree {
    mount: PathBuf,
    roots: Vec<PathBuf>,
    known: BTreeMap<Arc<str>, u64>,
    /// Whether all could be read.
    is_read: bool,
}

impl Tree {
    fn look_at_all(&mut self) -> Vec<Change> {
        let mut found = Found::default();
        for root in &self.roots {
            found.collect(&self.mount, root);
        }
        found.tell(self.is_read);
        self.is_read = found.unread.is_empty();
        let found = found.or_known(&self.known);
        let known = std::mem::replace(&mut self.known, found);
        changes(&known, &self.known)
    }

    /// Looks at the cgroup at `path` and those below it.
    fn look_at(&mut self, path: &Path) -> Vec<Change> {
        let Some(name) = name(&self.mount, path) else {
            return Vec::new();
        };
        let mut found = Found::default();
        found.collect(&self.mount, path);
        found.tell(self.is_read);
        self.is_read &= found.unread.is_empty();
        let below = format!("{name}/");
        let of_path = self.known.range(Arc::clone(&name)..);
        let of_path = of_path.take_while(|(known, _)| known.starts_with(&*name));
        let known: BTreeMap<Arc<str>, u64> = of_path
            .filter(|(known, _)| **known == name || known.starts_with(&below))
            .map(|(known, id)| (Arc::clone(known), *id))
            .collect();
        let changes = changes(&known, &found.or_known(&known));
        for (path, id) in &changes {
            match id {
                Some(id) => self.known.insert(Arc::clone(path), *id),
                None => self.known.remove(path),
            };
        }
        changes
    }
}

fn changes(before: &BTreeMap<Arc<str>, u64>, now: &BTreeMap<Arc<str>, u64>) -> Vec<Change> {
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    let gone = gone.map(|path| (Arc::clone(path), None));
    let new = now
        .iter()
        .filter(|(path, id)| before.get(*path) != Some(*id));
    gone.chain(new.map(|(path, id)| (Arc::clone(path), Some(*id))))
        .collect()
}

/// What a look has found.
#[derive(Default)]
struct Found {
    ids: BTreeMap<Arc<str>, u64>,
    /// Of these, and of what is below them, nothing can be told.
    unread: Vec<(Arc<str>, io::Error)>,
}

impl Found {
    /// Adds the cgroup at `path` and those below it. What vanishes meanwhile is not there.
    fn collect(&mut self, mount: &Path, path: &Path) {
        let Some(name) = name(mount, path) else {
            return;
        };
        if let Err(error) = self.try_collect(mount, path, &name)
            && !is_gone(&error)
        {
            self.unread.push((name, error));
        }
    }

    fn try_collect(&mut self, mount: &Path, path: &Path, name: &Arc<str>) -> io::Result<()> {
        self.ids.insert(Arc::clone(name), id(path)?);
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.collect(mount, &entry.path());
            }
        }
        Ok(())
    }

    /// Says so once where something cannot be read.
    fn tell(&self, was_read: bool) {
        if was_read && let Some((cgroup, error)) = self.unread.first() {
            let count = self.unread.len();
            tracing::warn!(%error, %cgroup, count, "cgroups cannot be read: what was known of them and of those below them stays");
        }
    }

    /// What there is, as far as this can be told, and else what was known.
    fn or_known(self, known: &BTreeMap<Arc<str>, u64>) -> BTreeMap<Arc<str>, u64> {
        let Self { mut ids, unread } = self;
        let is_unread = |path: &str| {
            let mut rests = unread
                .iter()
                .filter_map(|(name, _)| path.strip_prefix(&**name));
            rests.any(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        for (path, id) in known {
            if is_unread(path) {
                ids.entry(Arc::clone(path)).or_insert(*id);
            }
        }
        ids
    }
}

/// Whether a cgroup could not be read because it is none, or is one no more.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::ENOTDIR)
    ) || error.kind() == io::ErrorKind::NotADirectory
}

/// The kernel's id of a cgroup, which is the number of its directory's inode.
fn id(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        Ok(metadata.ino())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

fn name(mount: &Path, path: &Path) -> Option<Arc<str>> {
    let inner = path.strip_prefix(mount).ok()?.to_str()?;
    Some(if inner.is_empty() {
        "".into()
    } else {
        format!("/{inner}").into()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Takes facts until what they say is `expected`.
    fn wait_for(
        facts: &mut mpsc::Receiver<Fact>,
        known: &mut BTreeMap<String, u64>,
        expected: &[&str],
    ) {
        while known.keys().map(String::as_str).collect::<Vec<_>>() != expected {
            let Some(Fact::Cgroups(changes)) = facts.blocking_recv() else {
                panic!("no fact, but {known:?} is known");
            };
            learn(known, changes);
        }
    }

    fn learn(known: &mut BTreeMap<String, u64>, changes: Vec<Change>) {
        for (path, id) in changes {
            match id {
                Some(id) => known.insert(path.to_string(), id),
                None => known.remove(&*path),
            };
        }
    }

    #[test]
    fn directories_are_told_as_they_come_and_go_however_deep() {
        let mount = tempfile::tempdir().unwrap();
        let root = mount.path().join("r");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(mount.path().join("elsewhere")).unwrap();
        let (sender, mut facts) = mpsc::channel(8);
        let (watch, first) = watch(mount.path(), std::slice::from_ref(&root), sender);
        let mut known = BTreeMap::new();
        learn(&mut known, first);
        wait_for(&mut facts, &mut known, &["/r", "/r/a", "/r/a/b"]);
        assert_eq!(known["/r/a/b"], id(&root.join("a/b")).unwrap());
        fs::create_dir_all(root.join("c/d/e")).unwrap();
        fs::write(root.join("c/file"), "").unwrap();
        let all = ["/r", "/r/a", "/r/a/b", "/r/c", "/r/c/d", "/r/c/d/e"];
        wait_for(&mut facts, &mut known, &all);
        fs::remove_dir_all(root.join("a")).unwrap();
        wait_for(
            &mut facts,
            &mut known,
            &["/r", "/r/c", "/r/c/d", "/r/c/d/e"],
        );
        // A name that begins alike is another cgroup's.
        fs::create_dir(root.join("c-d")).unwrap();
        fs::remove_dir_all(root.join("c")).unwrap();
        wait_for(&mut facts, &mut known, &["/r", "/r/c-d"]);
        drop(watch);
        assert!(facts.blocking_recv().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_not_gone() {
        let mount = tempfile::tempdir().unwrap();
        let root = mount.path().join("r");
        fs::create_dir_all(root.join("a/b")).unwrap();
        let mut tree = Tree {
            mount: mount.path().to_owned(),
            roots: vec![root.clone()],
            known: BTreeMap::new(),
            is_read: true,
        };
        assert_eq!(tree.look_at_all().len(), 3);
        fs::remove_dir_all(&root).unwrap();
        // What leads to itself is neither there nor not there.
        std::os::unix::fs::symlink(&root, &root).unwrap();
        assert_eq!((tree.look_at_all(), tree.is_read), (Vec::new(), false));
        assert_eq!(tree.look_at(&root), Vec::new());
        fs::remove_file(&root).unwrap();
        assert_eq!(tree.look_at_all().len(), 3);
        assert!(tree.is_read);
    }
}
