//! What is known of one file: the objects it holds in force, and what is wrong with it. Knows no other file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::{Decoded, Diagnostic, Object, ObjectId, Severity};

use super::codes;

/// One file's part of what is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldFile {
    /// In force, as the file lists them; what outlived its document comes last.
    pub(super) objects: Vec<Arc<Object>>,
    /// Objects that are in force although the file holds no good version of them now.
    outlived: BTreeSet<ObjectId>,
    /// What decoding found.
    found: Vec<Diagnostic>,
    /// Why the file cannot be read, where it cannot.
    unreadable: Option<String>,
}

impl HeldFile {
    /// What is known once the file holds `decoded`. An object that broke stays as it was.
    pub(super) fn read(&self, decoded: Decoded) -> Self {
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
        let present: BTreeSet<&ObjectId> = objects.iter().map(|o| &o.meta.id).collect();
        let unknown = decoded.broken.iter().any(|broken| broken.id.is_none());
        let broken: BTreeSet<&ObjectId> = decoded
            .broken
            .iter()
            .filter_map(|b| b.id.as_ref())
            .collect();
        let kept: Vec<Arc<Object>> = self
            .objects
            .iter()
            .filter(|old| unknown || broken.contains(&old.meta.id))
            .filter(|old| !present.contains(&old.meta.id))
            .cloned()
            .collect();
        let outlived = kept.iter().map(|object| object.meta.id.clone()).collect();
        objects.extend(kept);
        Self {
            objects,
            outlived,
            found: decoded.diagnostics,
            unreadable: None,
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
        let outlived = self
            .objects
            .iter()
            .filter(|object| self.outlived.contains(&object.meta.id));
        all.extend(outlived.map(|object| {
            let message = format!(
                "the last good version of {} is still in force",
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

/// A finding about a file as a whole: it names no object.
fn unreadable(path: &str, why: &str) -> Diagnostic {
    Diagnostic {
        file: path.to_owned(),
        line: 0,
        severity: Severity::Error,
        code: codes::FILE_UNREADABLE.to_owned(),
        message: format!("the file cannot be read ({why}); what it held stays in force"),
        hint: "make it a file of UTF-8 text, no larger than the limit, that the agent may read; divide one that is too large".to_owned(),
        kind: String::new(),
        namespace: String::new(),
        name: String::new(),
        field: String::new(),
    }
}
