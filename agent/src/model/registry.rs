//! The one owner of what is known.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::{Diagnostic, MeshConfig, Object, ObjectId, Severity};

use super::codes;
use super::fact::{Answer, Fact, FileFact, SourceId};
use super::file::HeldFile;
use super::snapshot::{Node, Snapshot};
use super::vip::{self, VipRanges, VipTable};

/// Folds facts into what is known now.
#[derive(Debug, Default)]
pub struct Registry {
    node: Node,
    mesh: MeshConfig,
    ranges: VipRanges,
    vips: VipTable,
    /// Hosts that got no VIP at the last snapshot.
    exhausted: Vec<Diagnostic>,
    /// By path first, which decides between two files that declare the same object.
    files: BTreeMap<(Arc<str>, SourceId), HeldFile>,
    synced: BTreeSet<SourceId>,
    answers: BTreeMap<Arc<str>, Answer>,
    /// The objects of all files in the order of a snapshot; `None` once a file changed.
    merged: Option<Vec<Arc<Object>>>,
}

impl Registry {
    /// `vips` are those of an earlier run, which stay with their hosts as far as they are within `ranges`.
    pub fn new(node: Node, ranges: VipRanges, vips: VipTable) -> Self {
        Self {
            node,
            ranges,
            vips,
            ..Self::default()
        }
    }

    /// Returns whether anything is different now.
    pub fn apply(&mut self, fact: Fact) -> bool {
        match fact {
            Fact::File { source, path, fact } => self.apply_file((path, source), fact),
            Fact::Synced(source) => self.synced.insert(source),
            Fact::Resolved { host, answer } => {
                self.answers.insert(host, answer.clone()).as_ref() != Some(&answer)
            }
            Fact::Mesh(mesh) => {
                let changed = self.mesh != mesh;
                self.mesh = mesh;
                changed
            }
        }
    }

    fn apply_file(&mut self, key: (Arc<str>, SourceId), fact: FileFact) -> bool {
        let known = self.files.get(&key);
        let next = match fact {
            FileFact::Read(decoded) => Some(known.unwrap_or(&HeldFile::default()).read(decoded)),
            FileFact::Unreadable(why) => {
                Some(known.unwrap_or(&HeldFile::default()).unreadable(why))
            }
            FileFact::Gone => None,
        };
        if known == next.as_ref() {
            return false;
        }
        match next {
            Some(file) => self.files.insert(key, file),
            None => self.files.remove(&key),
        };
        self.merged = None;
        true
    }

    /// Whether every one of `sources` has told what it held at its start. Until then a snapshot lacks objects that
    /// exist, and nothing may be removed on its word.
    pub fn is_synced(&self, sources: &[SourceId]) -> bool {
        sources.iter().all(|source| self.synced.contains(source))
    }

    /// Forgets the answers for names that nobody asks for any more.
    pub fn retain_answers(&mut self, demand: &BTreeSet<Arc<str>>) {
        self.answers.retain(|host, _| demand.contains(host));
    }

    /// Allocates VIPs where they are missing, and freezes.
    pub fn snapshot(&mut self) -> Snapshot {
        let objects = if let Some(objects) = &self.merged {
            objects.clone()
        } else {
            let (mut objects, _) = self.merge();
            objects.sort_by(|a, b| {
                let by_age = a.meta.age_key().cmp(&b.meta.age_key());
                by_age.then_with(|| a.meta.id.cmp(&b.meta.id))
            });
            self.exhausted = vip::allocate(&mut self.vips, &self.ranges, &objects);
            self.merged = Some(objects.clone());
            objects
        };
        Snapshot {
            objects,
            mesh: self.mesh.clone(),
            node: self.node.clone(),
            answers: self.answers.clone(),
            vips: self.vips.clone(),
            vip_ranges: self.ranges,
        }
    }

    /// What is wrong with the files, and with objects as parts of the whole (duplicates).
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let (_, duplicates) = self.merge();
        let files = self.files.iter();
        files
            .flat_map(|((path, _), file)| file.diagnostics(path))
            .chain(duplicates)
            .chain(self.exhausted.iter().cloned())
            .collect()
    }

    /// One object per id: the first by path and place in the file. The others are reported.
    fn merge(&self) -> (Vec<Arc<Object>>, Vec<Diagnostic>) {
        let mut first: BTreeMap<&ObjectId, &Arc<Object>> = BTreeMap::new();
        let mut duplicates = Vec::new();
        for object in self.files.values().flat_map(|file| &file.objects) {
            match first.entry(&object.meta.id) {
                Entry::Vacant(vacant) => {
                    vacant.insert(object);
                }
                Entry::Occupied(occupied) => duplicates.push(duplicate(object, occupied.get())),
            }
        }
        (first.into_values().cloned().collect(), duplicates)
    }
}

fn duplicate(object: &Object, first: &Object) -> Diagnostic {
    let message = format!(
        "{} is declared at {} already; this one is not in effect",
        object.meta.id, first.meta.origin
    );
    Diagnostic::about(
        Severity::Error,
        codes::DUPLICATE_OBJECT,
        &object.meta,
        message,
    )
    .at("metadata.name", 0)
    .hint("rename one of them, or delete it")
}

#[cfg(test)]
mod tests;
