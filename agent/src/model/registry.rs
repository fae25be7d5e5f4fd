//! The one owner of what is known.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;

use crate::api::{Diagnostic, MeshConfig, Object, ObjectId, Severity, Spec};

use super::codes;
use super::fact::{Answer, Fact, FileFact, SourceId};
use super::file::HeldFile;
use super::health::Vitals;
use super::learned::{Expired, Learned, LearnedChanges, LearnedEnds, Told};
use super::snapshot::{Node, Snapshot, Surroundings};
use super::time::UnixTime;
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
    now: UnixTime,
    vitals: Vitals,
    learned: Learned,
    /// What was learned is less than it was at the last snapshot.
    lost: bool,
    /// Who needs a VIP may be different since the last snapshot.
    unallocated: bool,
    /// The objects of all files in the order of a snapshot; `None` once a file changed.
    merged: Option<Vec<Arc<Object>>>,
    cgroups: OrdMap<Arc<str>, u64>,
    surroundings: Surroundings,
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
            Fact::Learned {
                name,
                addresses,
                ttl,
            } => {
                let told = self.learned.learn(&name, &addresses, ttl, self.now);
                self.was_told(told)
            }
            Fact::Asked { name, answer } => {
                let told = self.learned.ask(&name, self.now);
                self.unallocated |= told.new;
                self.answers.entry(name).or_insert(answer);
                self.was_told(told)
            }
            Fact::Vitals { service, vitals } => {
                let known = self.vitals.get(&service);
                if known.map_or(vitals.is_empty(), |known| **known == vitals) {
                    return false;
                }
                if vitals.is_empty() {
                    self.vitals.remove(&service);
                } else {
                    self.vitals.insert(service, Arc::new(vitals));
                }
                true
            }
            Fact::Cgroups(changes) => {
                let mut is_new = false;
                for (path, id) in changes {
                    let known = match id {
                        Some(id) => self.cgroups.insert(path, id),
                        None => self.cgroups.remove(&path),
                    };
                    is_new |= known != id;
                }
                is_new
            }
            Fact::Surroundings(surroundings) => {
                let changed = self.surroundings != surroundings;
                self.surroundings = surroundings;
                changed
            }
            Fact::Mesh(mesh) => {
                let changed = self.mesh != *mesh;
                self.mesh = *mesh;
                changed
            }
        }
    }

    fn apply_file(&mut self, key: (Arc<str>, SourceId), fact: FileFact) -> bool {
        let known = self.files.get(&key);
        let next = match fact {
            FileFact::Remembered { .. } if known.is_some() => return false,
            FileFact::Remembered { decoded, since } => Some(HeldFile::remembered(decoded, since)),
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
        self.unallocated = true;
        true
    }

    fn was_told(&mut self, told: Told) -> bool {
        self.lost |= told.evicted;
        told.new || told.evicted
    }

    /// Says what time it is. It never runs backwards.
    pub fn set_time(&mut self, now: UnixTime) {
        self.now = self.now.max(now);
    }

    /// Whether something that was learned has been given up since the last snapshot, for want of room.
    pub fn has_lost(&self) -> bool {
        self.lost
    }

    /// Takes in what an earlier run has kept of what was learned, also what has ended since: [`Self::expire`] tells.
    pub fn recall(&mut self, kept: LearnedEnds) {
        self.learned.recall(kept);
        self.unallocated = true;
    }

    /// What is to be kept of what was learned that was not yet at the last call.
    pub fn take_learned_changes(&mut self) -> LearnedChanges {
        self.learned.take_changes()
    }

    /// Gives up what was learned and has ended, unless a connection uses it. Returns whether anything went.
    pub fn expire(&mut self, in_use: impl FnOnce() -> HashSet<IpAddr>) -> bool {
        if !self.learned.is_due(self.now) {
            return false;
        }
        let in_use = in_use();
        let names: HashSet<&str> = self
            .vips
            .iter()
            .filter(|(_, _, vips)| {
                in_use.contains(&vips.v4.into()) || in_use.contains(&vips.v6.into())
            })
            .map(|(_, host, _)| host)
            .collect();
        let expired = self
            .learned
            .expire(self.now, &in_use, |name| names.contains(name));
        self.gave_up(expired)
    }

    /// Gives up the names that no host covers any more, as these two say.
    pub fn retain_learned(
        &mut self,
        is_learned: impl Fn(&str) -> bool,
        is_asked: impl Fn(&str) -> bool,
    ) {
        let expired = self.learned.retain(is_learned, is_asked);
        self.gave_up(expired);
    }

    fn gave_up(&mut self, expired: Expired) -> bool {
        self.unallocated |= expired.asked;
        expired.addresses || expired.asked
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
            self.merged = Some(objects.clone());
            objects
        };
        let asked = self.learned.asked();
        if std::mem::take(&mut self.unallocated) {
            let wanted = vip::wanted(&objects, &asked);
            self.exhausted =
                vip::allocate(&mut self.vips, &self.ranges, &objects, &wanted, self.now);
        }
        self.lost = false;
        Snapshot {
            objects,
            mesh: self.mesh.clone(),
            node: self.node.clone(),
            answers: self.answers.clone(),
            learned: self.learned.addresses(),
            asked,
            vips: self.vips.clone(),
            vip_ranges: self.ranges,
            vitals: self.vitals.clone(),
            cgroups: self.cgroups.clone(),
            surroundings: self.surroundings.clone(),
        }
    }

    /// Whether there is a workload that cgroups are to be known for.
    pub fn has_workloads(&self) -> bool {
        let mut objects = self.files.values().flat_map(|file| &file.objects);
        objects.any(|object| matches!(object.spec, Spec::LocalWorkload(_)))
    }

    pub fn cgroups(&self) -> &OrdMap<Arc<str>, u64> {
        &self.cgroups
    }

    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
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
