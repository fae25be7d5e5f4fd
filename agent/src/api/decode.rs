//! From the text of a file to objects and diagnostics.

use super::diagnostic::Diagnostic;
use super::object::{Object, ObjectId};

/// A document that holds no usable object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// `None` when the document could not be read far enough to tell which object it was to be.
    pub id: Option<ObjectId>,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    pub objects: Vec<Object>,
    pub broken: Vec<Broken>,
    pub diagnostics: Vec<Diagnostic>,
    /// Whether some document is not YAML, or no object at all (exit status 65 of `analyze`).
    pub unparsable: bool,
}

/// Reads every document of `text`; `file` is named in origins and diagnostics.
pub fn decode(file: &str, text: &str) -> Decoded {
    let _ = (file, text);
    Decoded::default()
}
