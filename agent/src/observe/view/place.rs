//! Which object something comes from, and where that is written.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::{ObjectId, Origin};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub file: String,
    /// 1-based.
    pub line: u32,
}

impl Place {
    pub fn new(object: &ObjectId, origin: &Origin) -> Self {
        Self {
            kind: object.kind.to_string(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            file: origin.file.to_string(),
            line: origin.line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
            file,
            line,
        } = self;
        write!(f, "{kind} {namespace}/{name}, {file}:{line}")
    }
}
