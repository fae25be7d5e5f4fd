//! From text to trees: where documents begin, what they hold, and at which line each value stands.
//!
//! `serde_yaml` (`serde_json` for JSON) says what a document holds; the events of `saphyr-parser` say where. Documents are
//! split beforehand so that a broken one does not hide those after it.

use std::cell::Cell;
use std::fmt;
use std::str::Chars;

use saphyr_parser::{Event, Parser, Span, StrInput};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::tree::{Node, Value};

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
    /// Aliases repeat so much that the tree would be out of proportion to the text.
    TooLarge { line: u32 },
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
    let mut node = read_values(document)?;
    let mut events = Events {
        parser: Parser::new_from_str(document.text),
        lines: Lines::new(document),
    };
    // What cannot be placed keeps the line of the document: the values are right all the same.
    events.place_document(&mut node);
    node.merge();
    Ok(node)
}

fn read_values(document: Document<'_>) -> Result<Node, ParseError> {
    // A document without aliases has no more nodes and bytes of text than this by far.
    let budget = Cell::new(16 * document.text.len() + 1024);
    let seed = NodeSeed {
        budget: &budget,
        line: document.first_line,
    };
    if document.text.trim_start().starts_with('{') {
        let mut json = serde_json::Deserializer::from_str(document.text);
        if let Ok(node) = seed
            .deserialize(&mut json)
            .and_then(|node| json.end().map(|()| node))
        {
            return Ok(node);
        }
        budget.set(16 * document.text.len() + 1024);
    }
    seed.deserialize(serde_yaml::Deserializer::from_str(document.text))
        .map_err(|error| {
            let index = error.location().map_or(0, |location| location.index());
            let line = Lines::new(document).line_of(index);
            if budget.get() == 0 || error.to_string().contains("repetition limit") {
                return ParseError::TooLarge { line };
            }
            let tab = document
                .text
                .lines()
                .nth((line - document.first_line) as usize)
                .is_some_and(|text| text.trim_start_matches(' ').starts_with('\t'));
            ParseError::Syntax {
                line,
                message: without_positions(&error.to_string()),
                tab,
            }
        })
}

/// The message of `serde_yaml` without "at line 3 column 4", which counts from the document instead of the file.
fn without_positions(message: &str) -> String {
    let mut parts = message.split(" at line ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(
            part.trim_start_matches(|c: char| c.is_ascii_digit())
                .trim_start_matches(" column ")
                .trim_start_matches(|c: char| c.is_ascii_digit()),
        );
    }
    plain
}

fn set_line(node: &mut Node, line: u32) {
    node.line = line;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| set_line(item, line)),
        Value::Map(entries) => entries
            .iter_mut()
            .for_each(|(_, node)| set_line(node, line)),
        _ => {}
    }
}

/// Lines of a file by the place in a document, as editors count them: to YAML, a carriage return alone ends one as well.
struct Lines<'a> {
    rest: Chars<'a>,
    index: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    fn new(document: Document<'a>) -> Lines<'a> {
        Lines {
            rest: document.text.chars(),
            index: 0,
            line: document.first_line,
        }
    }

    /// The line of the character at `index`, which never lies before the one that was asked for last.
    fn line_of(&mut self, index: usize) -> u32 {
        let passed = index.saturating_sub(self.index);
        self.index += passed;
        let breaks = self.rest.by_ref().take(passed).filter(|&c| c == '\n');
        self.line += u32::try_from(breaks.count()).unwrap_or(u32::MAX);
        self.line
    }
}

/// The positions of a document's values, in the order in which they are written.
struct Events<'a> {
    parser: Parser<'a, StrInput<'a>>,
    lines: Lines<'a>,
}

impl<'a> Events<'a> {
    /// `None` at an error: the two parsers do not agree on what is YAML in every corner.
    fn next(&mut self) -> Option<(Event<'a>, u32)> {
        let (event, Span { start, .. }) = self.parser.next_event()?.ok()?;
        Some((event, self.lines.line_of(start.index())))
    }

    fn place_document(&mut self, node: &mut Node) -> Option<()> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (event, line) => return self.place(node, &event, line),
            }
        }
    }

    fn place(&mut self, node: &mut Node, event: &Event<'a>, line: u32) -> Option<()> {
        match (&mut node.value, event) {
            // All that an alias stands for is found where the alias is.
            (_, Event::Alias(_)) => set_line(node, line),
            (Value::List(items), Event::SequenceStart(..)) => {
                node.line = line;
                for item in items {
                    let (event, line) = self.next()?;
                    self.place(item, &event, line)?;
                }
                matches!(self.next()?.0, Event::SequenceEnd).then_some(())?;
            }
            (Value::Map(entries), Event::MappingStart(..)) => {
                node.line = line;
                for (_, value) in entries {
                    let (key, key_line) = self.next()?;
                    matches!(key, Event::Scalar(..) | Event::Alias(_)).then_some(())?;
                    let (event, line) = self.next()?;
                    self.place(value, &event, line)?;
                    value.line = key_line;
                }
                matches!(self.next()?.0, Event::MappingEnd).then_some(())?;
            }
            (Value::List(_) | Value::Map(_), _) => return None,
            (_, Event::Scalar(..)) => node.line = line,
            _ => return None,
        }
        Some(())
    }
}

/// Reads any value, spending the budget on every node and byte.
#[derive(Clone, Copy)]
struct NodeSeed<'b> {
    budget: &'b Cell<usize>,
    line: u32,
}

impl NodeSeed<'_> {
    fn spend<E: serde::de::Error>(self, amount: usize) -> Result<(), E> {
        let left = self.budget.get().saturating_sub(amount);
        self.budget.set(left);
        if left == 0 {
            Err(E::custom("aliases repeat too much"))
        } else {
            Ok(())
        }
    }

    fn leaf<E: serde::de::Error>(self, value: Value) -> Result<Node, E> {
        self.spend(1)?;
        Ok(Node {
            line: self.line,
            value,
        })
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    /// What `serde_yaml` makes of a document without content.
    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        self.leaf(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        self.leaf(Value::Int(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        self.leaf(Value::Int(value.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Node, E> {
        self.leaf(Value::Int(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Node, E> {
        self.leaf(i128::try_from(value).map_or(Value::Float(f64::INFINITY), Value::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        self.leaf(Value::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        self.spend(value.len())?;
        self.leaf(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        self.leaf(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key_seed(self)? {
            // As in Kubernetes' reader, a number or boolean is a key by its text.
            let key = match key.value {
                Value::Text(text) => text,
                Value::Bool(flag) => flag.to_string(),
                Value::Int(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                other => {
                    return Err(A::Error::custom(format_args!(
                        "{} cannot be a key",
                        other.noun()
                    )));
                }
            };
            entries.push((key, access.next_value_seed(self)?));
        }
        self.leaf(Value::Map(entries))
    }
}
