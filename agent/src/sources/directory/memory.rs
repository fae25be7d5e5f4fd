//! What one source remembers from one run of the agent to the next, and what of it has not been asked for yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::Decoded;
use crate::model::{SourceId, UnixTime};
use crate::sources::LastGood;
use crate::sources::file::Shape;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// `None`: nothing is remembered.
    store: Option<Arc<LastGood>>,
    source: Arc<str>,
    /// The files of earlier runs that this one has not seen.
    waiting: BTreeSet<Arc<str>>,
    was_mount_point: bool,
    /// Something is not yet safe from a crash.
    is_unsaved: bool,
}

impl Memory {
    pub(super) fn new(store: Arc<LastGood>, source: &SourceId) -> Self {
        let source = Arc::clone(&source.0);
        let files = store.files(&source);
        Self {
            waiting: files.into_iter().map(Into::into).collect(),
            was_mount_point: store.is_mount_point(&source),
            store: Some(store),
            source,
            is_unsaved: false,
        }
    }

    /// What was at the path, where that matters over a restart.
    pub(super) fn shape(&self) -> Option<Shape> {
        self.was_mount_point.then_some(Shape::MountPoint)
    }

    pub(super) fn note_shape(&mut self, shape: Shape) {
        let is_mount_point = shape == Shape::MountPoint;
        if let Some(store) = &self.store
            && is_mount_point != self.was_mount_point
        {
            store.set_mount_point(&self.source, is_mount_point);
            self.was_mount_point = is_mount_point;
            self.is_unsaved = true;
        }
    }

    pub(super) fn waiting(&self) -> Vec<Arc<str>> {
        self.waiting.iter().cloned().collect()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether earlier runs knew objects of a file that this one has not asked for.
    pub(super) fn has_objects(&self, file: &str) -> bool {
        let recall = |store: &Arc<LastGood>| store.recall(&self.source, file);
        let known = self.store.as_ref().filter(|_| self.waiting.contains(file));
        known
            .and_then(recall)
            .is_some_and(|(decoded, _)| !decoded.objects.is_empty())
    }

    /// What earlier runs knew of a file, where this one has not asked before and knows no better.
    pub(super) fn recall(&mut self, file: &str) -> Option<(Decoded, UnixTime)> {
        if !self.waiting.remove(file) {
            return None;
        }
        self.store.as_ref()?.recall(&self.source, file)
    }

    pub(super) fn read(&mut self, file: &str, text: &str, decoded: &Decoded) {
        self.waiting.remove(file);
        if let Some(store) = &self.store {
            self.is_unsaved |= store.remember(&self.source, file, text, decoded);
        }
    }

    pub(super) fn gone(&mut self, file: &str) {
        self.waiting.remove(file);
        if let Some(store) = &self.store {
            store.forget(&self.source, file);
            self.is_unsaved = true;
        }
    }

    /// Forgets the files that are gone since the earlier run.
    pub(super) fn keep_to(&mut self, present: &BTreeSet<Arc<str>>) {
        let gone: Vec<_> = self.waiting.difference(present).cloned().collect();
        for file in gone {
            self.gone(&file);
        }
    }

    pub(super) fn save(&mut self) {
        if let Some(store) = &self.store
            && std::mem::take(&mut self.is_unsaved)
        {
            store.save();
        }
    }
}
