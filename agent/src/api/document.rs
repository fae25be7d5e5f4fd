//! From text to trees: where documents begin, what they hold, and at which line each value stands.
//!
//! Documents are split beforehand so that a broken one does not hide those after it. Whatever the text is, reading it takes
//! time in proportion to its length, and no more memory than its limits allow.

mod json;
mod scalar;
mod yaml;

use super::tree::Node;

/// How many values a document may hold, what aliases stand for included.
const MAX_VALUES: usize = 1_000_000;
/// How deep values may be within each other.
const MAX_DEPTH: usize = 128;
/// How many characters a value may have that YAML does not let one look into before its end: a text, or all that is between
/// a bracket and the one that closes it.
const MAX_SPAN: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    /// Line of the file on which the text begins, 1-based.
    pub(super) first_line: u32,
}

/// Why a document is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ParseError {
    Syntax {
        line: u32,
        message: String,
        tab: bool,
    },
    /// It is beyond a limit.
    TooLarge { line: u32, excess: Excess },
}

/// Which limit a document is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    Values,
    Depth,
    Span,
}

impl Excess {
    /// What is wrong, and what to do about it.
    pub(super) fn sentences(self) -> (String, &'static str) {
        match self {
            Self::Values => (
                format!(
                    "the document holds more than {MAX_VALUES} values, with what aliases stand for"
                ),
                "divide it among several documents, and write out what aliases repeat",
            ),
            Self::Depth => (
                format!("values are more than {MAX_DEPTH} deep within each other"),
                "no object needs that; check the brackets and the indentation",
            ),
            Self::Span => (
                format!(
                    "a text, or a list or mapping in brackets, has more than {MAX_SPAN} characters"
                ),
                "close the bracket or quote, or write the list or mapping with indentation",
            ),
        }
    }
}

/// Splits at the lines `---` and `...`, which YAML forbids within any value. Documents without content are left out.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut offset, mut has_content) = (0, false);
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        let marker = line.trim_end_matches(['\n', '\r']);
        let begins = is_marker(marker, "---");
        if (begins && has_content) || is_marker(marker, "...") {
            if has_content {
                documents.push(Document {
                    text: &text[start..offset],
                    first_line: start_line,
                });
            }
            has_content = false;
            (start, start_line) = if begins {
                (offset, number)
            } else {
                (offset + line.len(), number + 1)
            };
        }
        has_content |= holds_content(if begins { &marker[3..] } else { marker });
        offset += line.len();
    }
    if has_content {
        documents.push(Document {
            text: &text[start..],
            first_line: start_line,
        });
    }
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// Directives (`%YAML`) belong to the document after them, so they count as none.
fn holds_content(line: &str) -> bool {
    !line.starts_with('%') && !matches!(line.trim_start().as_bytes().first(), None | Some(b'#'))
}

/// Reads one document.
pub(super) fn parse(document: Document<'_>) -> Result<Node, ParseError> {
    let mut node = match json::parse(document) {
        Some(node) => node,
        None => yaml::parse(document)?,
    };
    node.merge();
    Ok(node)
}
