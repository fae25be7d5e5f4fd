//! A diagnostic: what a user got wrong, or what shunt does not carry out, said at the place where it stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::object::{Meta, ObjectId, Origin};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object, or the named part of it, is not in effect.
    Error,
    /// The object is in effect, but not all that it says.
    Warning,
    Info,
}

/// One finding. The JSON form is stable: others script against it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Diagnostic {
    pub file: String,
    /// 1-based; 0 where the finding has no place in a file.
    pub line: u32,
    pub severity: Severity,
    /// Stable, such as `SH1001`.
    pub code: String,
    /// A sentence: what is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Empty where the document could not be read far enough to tell.
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// Path of the field, such as `spec.endpoints[0].address`.
    pub field: String,
}

impl Diagnostic {
    /// A finding about the object `id` at `origin`; refine it with [`Self::at`] and [`Self::hint`].
    pub fn new(
        severity: Severity,
        code: &str,
        id: &ObjectId,
        origin: &Origin,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: origin.file.to_string(),
            line: origin.line,
            severity,
            code: code.to_owned(),
            message: message.into(),
            hint: String::new(),
            kind: id.kind.to_string(),
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            field: String::new(),
        }
    }

    /// A finding about an object that was read.
    pub fn about(severity: Severity, code: &str, meta: &Meta, message: impl Into<String>) -> Self {
        Self::new(severity, code, &meta.id, &meta.origin, message)
    }

    /// Names the field, and its line where that is known (not 0).
    #[must_use]
    pub fn at(mut self, field: impl Into<String>, line: u32) -> Self {
        self.field = field.into();
        if line != 0 {
            self.line = line;
        }
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// `[SH1003] (ServiceEntry ns/name file.yaml:12) spec.hosts[0]: message`, as far as each is known.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.namespace.as_str(), self.name.as_str()) {
            (_, "") => String::new(),
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let place = match (self.file.as_str(), self.line) {
            ("", _) => String::new(),
            (file, 0) => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        };
        let mut parts = vec![self.kind.as_str(), &name, &place];
        parts.retain(|part| !part.is_empty());
        write!(f, "[{}] ({}) ", self.code, parts.join(" "))?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
