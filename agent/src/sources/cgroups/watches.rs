//! Watches on the directories of cgroups: each is told when one in it comes or goes.
//!
//! A directory of a cgroup that goes takes no watch with it, as those of other file systems do: who has seen it go removes
//! its watch. Nothing is noted but that directories come and go: if reading files were, the queue of events would be full of
//! what monitoring does every few seconds.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// What is noted of a directory.
const NOTED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ONLYDIR);

/// As many bytes of events as are read at once: some hundreds of them.
const READ_AT_ONCE: usize = 8192;

/// What the events that are there say.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Directories that came or went.
    pub paths: Vec<PathBuf>,
    /// Events were lost.
    pub is_incomplete: bool,
}

/// The watches there are.
#[derive(Debug)]
pub(super) struct Watches {
    inotify: OwnedFd,
    by_path: BTreeMap<PathBuf, Watched>,
    paths: HashMap<i32, PathBuf>,
}

#[derive(Debug)]
struct Watched {
    /// Of the directory, which another one may follow at its path.
    id: u64,
    watch: i32,
}

impl Watches {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            by_path: BTreeMap::new(),
            paths: HashMap::new(),
        })
    }

    /// Watches the directory `id` at `path`, in the place of an earlier one there. Says whether this is new, in which case what
    /// came into it before was noted by nobody.
    pub(super) fn add(&mut self, path: &Path, id: u64) -> Result<bool, Errno> {
        if self.by_path.get(path).is_some_and(|known| known.id == id) {
            return Ok(false);
        }
        self.remove(path);
        let watch = inotify::add_watch(&self.inotify, path, NOTED)?;
        self.paths.insert(watch, path.to_owned());
        self.by_path.insert(path.to_owned(), Watched { id, watch });
        Ok(true)
    }

    /// Removes the watch at `path` if there is one.
    pub(super) fn remove(&mut self, path: &Path) {
        if let Some(Watched { watch, .. }) = self.by_path.remove(path) {
            self.paths.remove(&watch);
            // Elsewhere than in cgroups it may have gone with its directory.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Takes all events that are there.
    pub(super) fn read(&self) -> Noted {
        let mut noted = Noted::default();
        let mut buffer = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    noted.is_incomplete = true;
                }
                // Files of a cgroup come with it and go with it.
                Ok(event) if event.events().contains(ReadFlags::ISDIR) => {
                    // Without one the directory has gone, and is told by what it was in.
                    if let (Some(directory), Some(name)) =
                        (self.paths.get(&event.wd()), event.file_name())
                    {
                        let name = OsStr::from_bytes(name.to_bytes());
                        noted.paths.push(directory.join(name));
                    }
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return noted,
                Err(_) => {
                    noted.is_incomplete = true;
                    return noted;
                }
            }
        }
    }
}

impl AsFd for Watches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
