//! Objects for the tests of single kinds, and what is found about them in one line each.

use super::decode::{Decoded, decode};
use super::header;

/// Reads an object of that kind and spec, which begins with two spaces; it is called `ns1/x`.
pub(super) fn decode_spec(kind: &str, spec: &str) -> Decoded {
    let api_version = header::carried_out(kind).map(|kind| header::group_of(kind).api_version());
    let api_version = api_version.expect("a kind that is carried out");
    decode(
        "test.yaml",
        &format!(
            "apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x, namespace: ns1}}\nspec:\n{spec}"
        ),
    )
}

/// `severity code field` of each finding.
pub(super) fn findings(decoded: &Decoded) -> Vec<String> {
    let found = decoded.diagnostics.iter();
    found
        .map(|d| format!("{:?} {} {}", d.severity, d.code, d.field))
        .collect()
}

/// `code field` of each error.
pub(super) fn errors(decoded: &Decoded) -> Vec<String> {
    findings(decoded)
        .into_iter()
        .filter_map(|finding| finding.strip_prefix("Error ").map(str::to_owned))
        .collect()
}
