//! What is known of one file: the objects it holds in force, and what is wrong with it. Knows no other file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::{Decoded, Diagnostic, Object, ObjectId, Severity};

use super::codes;
use super::time::UnixTime;

/// One file's part of what is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldFile {
    /// In force, as the file lists them; what outlived its document comes last.
    pub(super) objects: Vec<Arc<Object>>,
    /// Objects that are in force although the file holds no good version of them now; and as of when, where an earlier run
    /// of the agent has read them.
    outlived: BTreeMap<ObjectId, Option<UnixTime>>,
    /// When an earlier run of the agent has read the file, where this one has not.
    remembered: Option<UnixTime>,
    /// What decoding found.
    found: Vec<Diagnostic>,
    /// Why the file cannot be read, where it cannot.
    unreadable: Option<String>,
}

impl HeldFile {
    /// What is known before the file has been read: what an earlier run of the agent knew.
    pub(super) fn remembered(decoded: Decoded, since: UnixTime) -> Self {
        Self {
            objects: decoded.objects.into_iter().map(Arc::new).collect(),
            remembered: Some(since),
            ..Self::default()
        }
    }

    /// What is known once the file holds `decoded`. An object that broke stays as it was.
    pub(super) fn read(&self, decoded: Decoded) -> Self {
        let kept: Vec<Arc<Object>> = {
            let is_kept = outlives(&decoded);
            let old = self.objects.iter();
            old.filter(|old| is_kept(&old.meta.id)).cloned().collect()
        };
        let since = |id| match self.outlived.get(id) {
            Some(since) => *since,
            None => self.remembered,
        };
        let outlived = kept
            .iter()
            .map(|object| (object.meta.id.clone(), since(&object.meta.id)))
            .collect();
        let known: BTreeMap<&ObjectId, &Arc<Object>> =
            self.objects.iter().map(|o| (&o.meta.id, o)).collect();
        let mut objects: Vec<Arc<Object>> = decoded
            .objects
            .into_iter()
            .map(|object| match known.get(&object.meta.id) {
                Some(old) if ***old == object => Arc::clone(old),
                _ => Arc::new(object),
            })
            .collect();
        objects.extend(kept);
        Self {
            objects,
            outlived,
            found: decoded.diagnostics,
            ..Self::default()
        }
    }

    /// What is known once the file cannot be read: all that was.
    pub(super) fn unreadable(&self, why: String) -> Self {
        Self {
            unreadable: Some(why),
            ..self.clone()
        }
    }

    pub(super) fn diagnostics(&self, path: &str) -> Vec<Diagnostic> {
        let mut all = self.found.clone();
        if let Some(why) = &self.unreadable {
            all.push(unreadable(path, why));
        }
        if let Some(since) = self.remembered {
            all.push(remembered(path, since));
        }
        let outlived = self.objects.iter().filter_map(|object| {
            let since = self.outlived.get(&object.meta.id)?;
            Some((object, since))
        });
        all.extend(outlived.map(|(object, since)| {
            let of = since.map_or_else(String::new, |since| format!(" of {since}"));
            let message = format!(
                "the last good version of {}{of} is still in force",
                object.meta.id
            );
            Diagnostic::about(
                Severity::Info,
                codes::LAST_GOOD_IN_FORCE,
                &object.meta,
                message,
            )
            .hint("repair the document to replace it, or delete the document to remove it")
        }));
        all
    }
}

/// Which of the objects that a file held outlive it, now that it holds `decoded`: those whose document broke, and where it
/// cannot be told which did, all that it does not hold.
pub fn outlives(decoded: &Decoded) -> impl Fn(&ObjectId) -> bool {
    let broken = decoded.broken.iter().map(|broken| broken.id.as_ref());
    let broken: BTreeSet<Option<&ObjectId>> = broken.collect();
    let is_any = !broken.is_empty();
    let objects = decoded.objects.iter().filter(|_| is_any);
    let present: BTreeSet<&ObjectId> = objects.map(|object| &object.meta.id).collect();
    move |id| {
        let is_broken = broken.contains(&None) || broken.contains(&Some(id));
        is_broken && !present.contains(id)
    }
}

fn remembered(path: &str, since: UnixTime) -> Diagnostic {
    let message =
        format!("the file has not been read yet: its last good objects of {since} are in force");
    Diagnostic {
        severity: Severity::Info,
        code: codes::LAST_GOOD_IN_FORCE.to_owned(),
        message,
        hint: "make it readable, or delete it to remove them".to_owned(),
        ..of_file(path)
    }
}

/// A finding about a file as a whole: it names no object.
fn unreadable(path: &str, why: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: codes::FILE_UNREADABLE.to_owned(),
        message: format!("the file cannot be read ({why}); what it held stays in force"),
        hint: "make it a file of UTF-8 text, no larger than the limit, that the agent may read; divide one that is too large".to_owned(),
        ..of_file(path)
    }
}

fn of_file(path: &str) -> Diagnostic {
    Diagnostic {
        file: path.to_owned(),
        line: 0,
        severity: Severity::Info,
        code: String::new(),
        message: String::new(),
        hint: String::new(),
        kind: String::new(),
        namespace: String::new(),
        name: String::new(),
        field: String::new(),
    }
}
