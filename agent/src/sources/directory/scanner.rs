//! What changed in a directory since the last look: listings turned into facts.
//!
//! It does not know when to look. What it tells depends on what it finds and on what it told before, not on what
//! happened in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::decode;
use crate::model::{Fact, FileFact, SourceId};
use crate::sources::file::{self, Listing, Reading, Shape, Stamp};

use super::memory::Memory;

/// How long a file that had objects has to stay away before its objects go: some editors delete first and write afterwards.
pub(super) const CONFIRMATION: Duration = Duration::from_millis(150);
/// The same where it stays empty. Whoever writes in place truncates first, and waits there for the file system where that is
/// busy, or for a processor.
const EMPTINESS: Duration = Duration::from_secs(2);

/// Which files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those whose stamp is not the one they had.
    Changed,
    /// All, for file systems whose stamps are not to be trusted.
    All,
}

/// What was last told of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// What an earlier run of the agent knew.
    Remembered,
    Text {
        hash: u64,
        is_blank: bool,
    },
    Unreadable(String),
}

#[derive(Debug)]
struct Known {
    path: PathBuf,
    told: Told,
    /// `told` is still what the file holds as long as it has this stamp.
    stamp: Option<Stamp>,
    doubt: Option<Doubt>,
}

/// A file was found empty, or away, and this has not been told yet.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    /// Of the empty file; another one means that it has been written to meanwhile. `None` when it was away.
    stamp: Option<Stamp>,
}

/// The state of one source.
#[derive(Debug)]
pub(super) struct Scanner {
    root: PathBuf,
    source: SourceId,
    files: BTreeMap<Arc<str>, Known>,
    /// What was at the path when it was last listed.
    shape: Option<Shape>,
    /// What is known from earlier runs of the agent.
    memory: Memory,
    /// Why the last listing failed.
    failure: Option<String>,
    is_synced: bool,
}

impl Scanner {
    pub(super) fn new(root: PathBuf, source: SourceId, memory: Memory) -> Self {
        Self {
            root,
            source,
            files: BTreeMap::new(),
            shape: memory.shape(),
            memory,
            failure: None,
            is_synced: false,
        }
    }

    /// Looks once, and tells what is different. Returns whether something has to be looked at again after
    /// [`CONFIRMATION`].
    pub(super) fn scan(
        &mut self,
        extent: Extent,
        now: Instant,
        tell: &mut dyn FnMut(Fact),
    ) -> bool {
        let found = match self.list() {
            Ok(found) => found,
            Err(why) => {
                self.fail(why, tell);
                return false;
            }
        };
        self.recover(tell);
        let mut is_doubtful = false;
        let mut is_missing = false;
        let mut present = BTreeSet::new();
        for path in found {
            let name: Arc<str> = path.display().to_string().into();
            is_doubtful |= self.look_at(&name, path, extent, now, tell);
            let known = self.files.get(&name);
            is_missing |= known.is_some_and(|known| known.told == Told::Nothing);
            present.insert(name);
        }
        let away: Vec<_> = self
            .files
            .keys()
            .filter(|name| !present.contains(*name))
            .cloned()
            .collect();
        for name in away {
            is_doubtful |= self.miss(&name, now, tell);
        }
        self.memory.keep_to(&present);
        self.memory.save();
        // What is being written right now belongs to the whole, too.
        if !self.is_synced && !is_missing {
            self.is_synced = true;
            tell(Fact::Synced(self.source.clone()));
        }
        is_doubtful
    }

    /// The error says why what is there is not what the source was.
    fn list(&mut self) -> Result<Vec<PathBuf>, String> {
        let Listing { files, shape } = file::list(&self.root).map_err(|error| error.to_string())?;
        let is_known = !self.files.is_empty() || self.memory.is_waiting();
        let was = self.shape.filter(|_| is_known);
        match (was, shape) {
            (Some(Shape::File), Shape::Directory | Shape::MountPoint) => {
                Err("a directory is where a file was".to_owned())
            }
            (Some(Shape::Directory | Shape::MountPoint), Shape::File) => {
                Err("a file is where a directory was".to_owned())
            }
            (Some(Shape::MountPoint), Shape::Directory) if files.is_empty() => {
                Err("what was mounted there is gone, and nothing is in its place".to_owned())
            }
            _ => {
                self.memory.note_shape(shape);
                self.shape = Some(shape);
                Ok(files)
            }
        }
    }

    /// How many files there are.
    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The files that cannot be read, with the reason.
    pub(super) fn unreadable(&self) -> BTreeMap<Arc<str>, String> {
        let reason = |known: &Known| match &known.told {
            Told::Unreadable(why) => Some(why.clone()),
            Told::Nothing | Told::Remembered | Told::Text { .. } => None,
        };
        self.files
            .iter()
            .filter_map(|(name, known)| Some((Arc::clone(name), reason(known)?)))
            .collect()
    }

    /// Why the last listing failed.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Whether everything that was there at the start has been told.
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Nothing is removed because the source failed; the source itself is told as a file that cannot be read.
    fn fail(&mut self, why: String, tell: &mut dyn FnMut(Fact)) {
        if self.failure.as_ref() != Some(&why) {
            tell(self.fact(self.root_name(), FileFact::Unreadable(why.clone())));
            self.failure = Some(why);
        }
        // What was away before the source failed may be back when it recovers.
        for known in self.files.values_mut() {
            known.doubt = None;
        }
        for name in self.memory.waiting() {
            self.remember(&name, tell);
        }
        if !self.is_synced && !self.files.is_empty() {
            self.is_synced = true;
            tell(Fact::Synced(self.source.clone()));
        }
    }

    /// Tells what an earlier run of the agent knew of a file that cannot be taken as it is now.
    fn remember(&mut self, name: &Arc<str>, tell: &mut dyn FnMut(Fact)) {
        let Some((decoded, since)) = self.memory.recall(name) else {
            return;
        };
        let known = self.files.entry(Arc::clone(name));
        let known = known.or_insert_with(|| Known::new((&**name).into()));
        if known.told == Told::Nothing {
            known.told = Told::Remembered;
        }
        tell(self.fact(Arc::clone(name), FileFact::Remembered { decoded, since }));
    }

    fn tell_text(&mut self, name: &Arc<str>, text: &str, tell: &mut dyn FnMut(Fact)) {
        let decoded = decode(name, text);
        if !decoded.broken.is_empty() {
            self.remember(name, tell);
        }
        self.memory.read(name, text, &decoded);
        tell(self.fact(Arc::clone(name), FileFact::Read(decoded)));
    }

    fn recover(&mut self, tell: &mut dyn FnMut(Fact)) {
        if self.failure.take().is_some() && !self.files.contains_key(&self.root_name()) {
            tell(self.fact(self.root_name(), FileFact::Gone));
        }
    }

    /// Returns whether it has to be looked at again.
    fn look_at(
        &mut self,
        name: &Arc<str>,
        path: PathBuf,
        extent: Extent,
        now: Instant,
        tell: &mut dyn FnMut(Fact),
    ) -> bool {
        let known = self.files.entry(Arc::clone(name));
        let known = known.or_insert_with(|| Known::new(path));
        if extent == Extent::Changed && known.has_same_stamp() {
            known.doubt = None;
            return false;
        }
        match file::read(&known.path) {
            Reading::Text {
                text,
                stamp,
                is_conclusive,
            } => {
                let told = Told::of_text(&text);
                let lasting = is_conclusive.then_some(stamp);
                if told == known.told {
                    known.settle(told, lasting);
                    return false;
                }
                let had_content = || match known.told {
                    Told::Nothing => self.memory.has_objects(name),
                    _ => known.told.has_content(),
                };
                let is_emptied = text.trim().is_empty() && had_content();
                if is_emptied && !known.is_confirmed(Some(stamp), now) {
                    self.remember(name, tell);
                    return true;
                }
                known.settle(told, lasting);
                self.tell_text(name, &text, tell);
                false
            }
            Reading::Unreadable(why) => {
                let told = Told::Unreadable(why.clone());
                if told != known.told {
                    known.settle(told, None);
                    self.remember(name, tell);
                    tell(self.fact(Arc::clone(name), FileFact::Unreadable(why)));
                }
                false
            }
            Reading::Unsettled => {
                self.remember(name, tell);
                true
            }
            Reading::Missing => self.miss(name, now, tell),
        }
    }

    /// Returns whether it has to be looked at again.
    fn miss(&mut self, name: &Arc<str>, now: Instant, tell: &mut dyn FnMut(Fact)) -> bool {
        let Some(known) = self.files.get_mut(name) else {
            return false;
        };
        if known.told != Told::Nothing {
            if !known.is_confirmed(None, now) {
                return true;
            }
            tell(self.fact(Arc::clone(name), FileFact::Gone));
            self.memory.gone(name);
        }
        self.files.remove(name);
        false
    }

    fn fact(&self, path: Arc<str>, fact: FileFact) -> Fact {
        Fact::File {
            source: self.source.clone(),
            path,
            fact,
        }
    }

    fn root_name(&self) -> Arc<str> {
        self.root.display().to_string().into()
    }
}

impl Known {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            told: Told::Nothing,
            stamp: None,
            doubt: None,
        }
    }

    fn has_same_stamp(&self) -> bool {
        self.stamp.is_some() && stamp_of(&self.path) == self.stamp
    }

    fn settle(&mut self, told: Told, stamp: Option<Stamp>) {
        self.told = told;
        self.stamp = stamp;
        self.doubt = None;
    }

    /// Whether it has been in this questionable state for long enough.
    fn is_confirmed(&mut self, stamp: Option<Stamp>, now: Instant) -> bool {
        let patience = if stamp.is_some() {
            EMPTINESS
        } else {
            CONFIRMATION
        };
        match self.doubt {
            Some(doubt) if doubt.stamp == stamp => now.duration_since(doubt.since) >= patience,
            _ => {
                self.doubt = Some(Doubt { since: now, stamp });
                false
            }
        }
    }
}

impl Told {
    fn of_text(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self::Text {
            hash: hasher.finish(),
            is_blank: text.trim().is_empty(),
        }
    }

    /// Whether objects may be in force because of what was told. A file that became unreadable keeps its own.
    fn has_content(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Text { is_blank, .. } => !is_blank,
            Self::Remembered | Self::Unreadable(_) => true,
        }
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().as_ref().map(Stamp::of)
}

#[cfg(test)]
mod tests;
