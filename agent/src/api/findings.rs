//! Collects what is found wrong with one object, and with one file: within limits, as whoever reads a thousand findings reads
//! none.

use std::sync::Arc;

use super::codes::{self, Code};
use super::diagnostic::{Diagnostic, Severity};
use super::tree::Spot;

/// The object that findings are about, as far as it is known yet.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) file: Arc<str>,
}

/// How many findings about one object are listed.
const MAX_OF_OBJECT: usize = 100;
/// How many findings about one file are listed.
const MAX_OF_FILE: usize = 1_000;

/// The findings about one object, in the order in which they were made.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) subject: Subject,
    found: Listing,
}

impl Findings {
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            found: Listing::new(MAX_OF_OBJECT),
        }
    }

    pub(super) fn error(
        &mut self,
        code: Code,
        spot: Spot,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, code, spot, message.into(), hint.into());
    }

    pub(super) fn warning(
        &mut self,
        code: Code,
        spot: Spot,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Warning, code, spot, message.into(), hint.into());
    }

    pub(super) fn info(
        &mut self,
        code: Code,
        spot: Spot,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Info, code, spot, message.into(), hint.into());
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found
            .all()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found.into_diagnostics()
    }

    fn add(&mut self, severity: Severity, code: Code, spot: Spot, message: String, hint: String) {
        let subject = &self.subject;
        self.found.push(Diagnostic {
            file: subject.file.to_string(),
            line: spot.line,
            severity,
            code: code.id.to_owned(),
            message,
            hint,
            kind: subject.kind.clone(),
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
            field: spot.field,
        });
    }
}

/// As many findings as its limit, and what the others came to.
#[derive(Debug)]
pub(super) struct Listing {
    limit: usize,
    listed: Vec<Diagnostic>,
    unlisted: usize,
    /// The first of the worst of those that are not listed.
    worst: Option<Box<Diagnostic>>,
}

impl Listing {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            listed: Vec::new(),
            unlisted: 0,
            worst: None,
        }
    }

    pub(super) fn of_file() -> Self {
        Self::new(MAX_OF_FILE)
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.listed.len() < self.limit {
            self.listed.push(diagnostic);
            return;
        }
        self.unlisted += 1;
        let worst = self.worst.as_ref().map(|worst| worst.severity);
        if worst.is_none_or(|worst| diagnostic.severity < worst) {
            self.worst = Some(Box::new(diagnostic));
        }
    }

    /// Adds what another part of the same file has come to.
    pub(super) fn append(&mut self, other: Self) {
        let unlisted = other.unlisted - usize::from(other.worst.is_some());
        let worst = other.worst.map(|worst| *worst);
        for diagnostic in other.listed.into_iter().chain(worst) {
            self.push(diagnostic);
        }
        self.unlisted += unlisted;
    }

    fn all(&self) -> impl Iterator<Item = &Diagnostic> {
        self.listed.iter().chain(self.worst.as_deref())
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut all = self.listed;
        all.extend(self.worst.map(|worst| Diagnostic {
            code: codes::TOO_MANY_FINDINGS.id.to_owned(),
            message: format!(
                "{} more finding(s) from here on are not listed",
                self.unlisted
            ),
            hint: "mend those that are listed first".to_owned(),
            field: String::new(),
            ..*worst
        }));
        all
    }
}
