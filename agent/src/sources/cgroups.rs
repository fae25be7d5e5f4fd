//! Cgroups as a source: which there are, told at the start and whenever some come or go.
//!
//! Watches say where to look; all is looked at twice a minute, and when what they noted was lost.

mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

use crate::model::Fact;
use watches::Watches;

/// How often all is looked at, whatever was noted.
const RESYNC: Duration = Duration::from_secs(30);
/// The same while some cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// A cgroup's path, and its id or that it is gone.
pub type Change = (Arc<str>, Option<u64>);

/// A watch on cgroups, until this is dropped.
#[derive(Debug)]
pub struct Cgroups {
    /// The thread has the other end.
    _end: UnixStream,
}

/// Starts to watch the cgroups at and below `roots`; returns those that there are now. Their paths are as seen from `mount`, where
/// cgroup v2 is mounted: that of the root of the hierarchy is empty. `facts`, where the others are told, is asked for when there
/// is nothing left to fail but to start a thread.
///
/// Errors are those of `socketpair` and of the start of the thread. That a cgroup cannot be read or watched is none, and logged.
pub fn watch(
    mount: &Path,
    roots: &[PathBuf],
    facts: impl FnOnce() -> mpsc::Sender<Fact>,
) -> io::Result<(Cgroups, Vec<Change>)> {
    let (end, other_end) = UnixStream::pair()?;
    let mut follower = Follower {
        tree: Tree {
            mount: mount.to_owned(),
            roots: roots.to_owned(),
            known: BTreeMap::new(),
            is_read: true,
        },
        watches: None,
        is_watched: true,
        due: BTreeSet::new(),
        end: other_end,
    };
    let first = follower.look_at_all();
    let facts = facts();
    let run = move || follower.run(&facts);
    thread::Builder::new()
        .name("cgroups".to_owned())
        .spawn(run)?;
    Ok((Cgroups { _end: end }, first))
}

/// What knows the cgroups and watches them.
struct Follower {
    tree: Tree,
    /// None while there is no room for another inotify instance.
    watches: Option<Watches>,
    /// Whether all that are known are watched.
    is_watched: bool,
    /// Where to look.
    due: BTreeSet<PathBuf>,
    /// Closed at the other end when nobody wants to know any more.
    end: UnixStream,
}

impl Follower {
    /// Tells of changes until nobody listens, or the watch is dropped.
    fn run(mut self, facts: &mpsc::Sender<Fact>) {
        let mut next_resync = Instant::now() + RESYNC;
        loop {
            if !self.tree.is_read {
                next_resync = next_resync.min(Instant::now() + RETRY);
            }
            let patience = if self.due.is_empty() {
                next_resync.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            if self.has_ended(patience) {
                return;
            }
            let noted = self.watches.as_ref().map(Watches::read).unwrap_or_default();
            self.due.extend(noted.paths);
            let changes = if noted.is_incomplete || Instant::now() >= next_resync {
                next_resync = Instant::now() + RESYNC;
                self.look_at_all()
            } else {
                self.look_at_due()
            };
            if !changes.is_empty() && facts.blocking_send(Fact::Cgroups(changes)).is_err() {
                return;
            }
        }
    }

    /// Waits for something to be noted, no longer than `patience`. Returns whether this has ended meanwhile.
    fn has_ended(&self, patience: Duration) -> bool {
        let mut awaited = vec![PollFd::new(&self.end, PollFlags::IN)];
        if let Some(watches) = &self.watches {
            awaited.push(PollFd::from_borrowed_fd(watches.as_fd(), PollFlags::IN));
        }
        let timeout = Timespec::try_from(patience).expect("less than a minute is a time");
        // Where it fails, the signal or whatever was lacking is over when the loop comes back here.
        poll(&mut awaited, Some(&timeout)).is_ok() && !awaited[0].revents().is_empty()
    }

    fn look_at_all(&mut self) -> Vec<Change> {
        self.due.clear();
        let changes = self.tree.look_at_all();
        let gone = changes.iter().filter(|(_, id)| id.is_none()).cloned();
        let known = self.tree.known.iter();
        let known = known.map(|(cgroup, id)| (Arc::clone(cgroup), Some(*id)));
        let all: Vec<Change> = gone.chain(known).collect();
        if self.watches.is_none() {
            self.watches = Watches::new()
                .inspect_err(|error| self.tell_unwatched(*error, &self.tree.mount))
                .ok();
        }
        self.is_watched = self.follow(&all);
        changes
    }

    fn look_at_due(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut last: Option<PathBuf> = None;
        // What is below another stands after it, and has been looked at with it.
        for path in std::mem::take(&mut self.due) {
            if !last.as_ref().is_some_and(|last| path.starts_with(last)) {
                changes.extend(self.tree.look_at(&path));
                last = Some(path);
            }
        }
        self.is_watched &= self.follow(&changes);
        changes
    }

    /// Watches what has come, and nothing that has gone; returns whether all of it is watched. What is new to the watches is to be
    /// looked at once more: what came below it before was noted by nobody.
    fn follow(&mut self, changes: &[Change]) -> bool {
        let Some(watches) = &mut self.watches else {
            return false;
        };
        let mut failed = None;
        for (cgroup, id) in changes {
            let path = self.tree.path(cgroup);
            let Some(id) = id else {
                watches.remove(&path);
                continue;
            };
            match watches.add(&path, *id) {
                Ok(true) => {
                    self.due.insert(path);
                }
                Ok(false) => {}
                Err(error) if is_gone(&error.into()) => {}
                Err(error) => failed = Some((error, path)),
            }
        }
        if let Some((error, path)) = &failed {
            self.tell_unwatched(*error, path);
        }
        failed.is_none()
    }

    /// Says once that not all can be watched.
    fn tell_unwatched(&self, error: Errno, path: &Path) {
        if self.is_watched {
            let path = path.display();
            tracing::warn!(%error, %path, "cgroups cannot be watched: what comes there or goes is seen twice a minute");
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
    fn path(&self, cgroup: &str) -> PathBuf {
        self.mount.join(cgroup.trim_start_matches('/'))
    }

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
        let (watch, first) = watch(mount.path(), std::slice::from_ref(&root), || sender).unwrap();
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
    fn what_comes_before_its_parent_is_watched_is_told_all_the_same() {
        let mount = tempfile::tempdir().unwrap();
        let root = mount.path().join("r");
        fs::create_dir(&root).unwrap();
        let (sender, mut facts) = mpsc::channel(8);
        let (watch, _) = watch(mount.path(), std::slice::from_ref(&root), || sender).unwrap();
        let begun = Instant::now();
        let mut left = BTreeSet::from(["/r".to_owned()]);
        for name in 0..200 {
            fs::create_dir_all(root.join(format!("{name}/a/b/c"))).unwrap();
            if name % 10 == 0 {
                left.extend(["", "/a", "/a/b", "/a/b/c"].map(|below| format!("/r/{name}{below}")));
            } else {
                fs::remove_dir_all(root.join(name.to_string())).unwrap();
            }
        }
        let mut known = BTreeMap::from([("/r".to_owned(), 0)]);
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        wait_for(&mut facts, &mut known, &left);
        assert!(begun.elapsed() < RESYNC, "{:?}", begun.elapsed());
        drop(watch);
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
