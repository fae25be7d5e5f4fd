//! The annotation that makes an `AuthorizationPolicy` only tell what it would do.

use super::super::codes;
use super::super::findings::Findings;
use super::super::tree::{Cursor, Spot};
use super::PolicyAction;

const ANNOTATION: &str = "istio.io/dry-run";

/// Reads the annotation of the policy `object`. Absent means no.
pub(super) fn read(object: &Cursor<'_>, action: PolicyAction, findings: &mut Findings) -> bool {
    let Some((value, spot)) = find(object) else {
        return false;
    };
    if !matches!(action, PolicyAction::Allow | PolicyAction::Deny) {
        let message = format!("only ALLOW and DENY can have the annotation {ANNOTATION}");
        findings.error(codes::DRY_RUN, spot, message, "remove the annotation");
        return false;
    }
    // What Go's `strconv.ParseBool` accepts.
    match value.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => {
            let message = format!("`{value}` is not a value of the annotation {ANNOTATION}");
            let hint = "write \"true\" or \"false\", in quotes";
            findings.error(codes::DRY_RUN, spot, message, hint);
            false
        }
    }
}

/// Reports the annotation on an object of another kind.
pub(in crate::api) fn refuse(object: &Cursor<'_>, findings: &mut Findings) {
    if let Some((_, spot)) = find(object) {
        let message = format!("only an AuthorizationPolicy can have the annotation {ANNOTATION}");
        findings.error(codes::DRY_RUN, spot, message, "remove the annotation");
    }
}

fn find(object: &Cursor<'_>) -> Option<(String, Spot)> {
    let metadata = object.field("metadata")?;
    let mut annotations = metadata.entries("annotations");
    let (_, value) = annotations.find(|(name, _)| *name == ANNOTATION)?;
    Some((value.as_text().to_owned(), value.spot()))
}
