//! JSON documents: read by `serde_json`, as YAML does not know all of its escapes. What is no JSON may still be YAML.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::tree::{Node, Value};
use super::{Document, MAX_VALUES};

/// `None` for what is no JSON, or too large.
pub(super) fn parse(document: Document<'_>) -> Option<Node> {
    let text = document.text.strip_prefix("---").unwrap_or(document.text);
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let left = Cell::new(MAX_VALUES);
    let seed = NodeSeed { left: &left };
    let mut json = serde_json::Deserializer::from_str(text);
    let mut node = seed.deserialize(&mut json).ok()?;
    json.end().ok()?;
    let mut places = Places {
        text: text.as_bytes(),
        line: document.first_line,
    };
    places.place(&mut node);
    Some(node)
}

/// Walks over text that is known to be JSON, and counts its lines.
struct Places<'a> {
    text: &'a [u8],
    line: u32,
}

impl Places<'_> {
    /// Says of `node`, which stands here, and of all in it where they stand, and walks beyond it.
    fn place(&mut self, node: &mut Node) {
        self.skip_space();
        node.line = self.line;
        match &mut node.value {
            Value::List(items) => {
                self.skip_mark();
                for item in items {
                    self.place(item);
                    self.skip_space();
                    if self.text.starts_with(b",") {
                        self.skip_mark();
                    }
                }
                self.skip_space();
                self.skip_mark();
            }
            Value::Map(entries) => {
                self.skip_mark();
                for (_, value) in entries {
                    self.skip_space();
                    let line = self.line;
                    self.skip_text();
                    self.skip_space();
                    self.skip_mark();
                    self.place(value);
                    value.line = line;
                    self.skip_space();
                    if self.text.starts_with(b",") {
                        self.skip_mark();
                    }
                }
                self.skip_space();
                self.skip_mark();
            }
            Value::Text(_) => self.skip_text(),
            _ => self.skip_while(|byte| !b",]} \t\r\n".contains(&byte)),
        }
    }

    fn skip_space(&mut self) {
        let mut lines = 0;
        self.skip_while(|byte| {
            lines += u32::from(byte == b'\n');
            byte.is_ascii_whitespace()
        });
        self.line += lines;
    }

    /// A bracket, comma or colon.
    fn skip_mark(&mut self) {
        self.text = self.text.get(1..).unwrap_or_default();
    }

    /// With its quotes. Lines do not end within.
    fn skip_text(&mut self) {
        self.skip_mark();
        let mut is_escaped = false;
        self.skip_while(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            !is_end
        });
        self.skip_mark();
    }

    fn skip_while(&mut self, mut is_skipped: impl FnMut(u8) -> bool) {
        let end = self.text.iter().position(|&byte| !is_skipped(byte));
        self.text = &self.text[end.unwrap_or(self.text.len())..];
    }
}

/// Reads any value, and counts it.
#[derive(Clone, Copy)]
struct NodeSeed<'b> {
    /// How many more values there may be.
    left: &'b Cell<usize>,
}

impl NodeSeed<'_> {
    fn node<E: serde::de::Error>(self, value: Value) -> Result<Node, E> {
        let left = self.left.get().checked_sub(1);
        self.left
            .set(left.ok_or_else(|| E::custom("too many values"))?);
        Ok(Node { line: 0, value })
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
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.node(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        self.node(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        self.node(Value::Int(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        self.node(Value::Int(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        self.node(Value::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        self.node(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        self.node(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<String>()? {
            entries.push((key, access.next_value_seed(self)?));
        }
        self.node(Value::Map(entries))
    }
}
