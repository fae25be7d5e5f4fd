//! Collects what is found wrong with one object.

use std::sync::Arc;

use super::codes::Code;
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

/// The findings about one object, in the order in which they were made.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) subject: Subject,
    found: Vec<Diagnostic>,
}

impl Findings {
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            found: Vec::new(),
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
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found
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
