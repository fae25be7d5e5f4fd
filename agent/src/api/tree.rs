//! A document as a tree whose every value knows its line, and the ways to walk it.
//!
//! Knows YAML's and JSON's values, but nothing of what they are to mean.

use std::collections::HashSet;
use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the document.
    Map(Vec<(String, Node)>),
}

impl Value {
    /// What a person calls such a value.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where the value begins, or its key if it has one; 1-based.
    pub(super) line: u32,
    pub(super) value: Value,
}

impl Node {
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// Removes an entry; null counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Self> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|(key, _)| key == name)?;
        let (_, node) = entries.remove(index);
        (node.value != Value::Null).then_some(node)
    }

    /// The text of an entry, where it is one.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Applies YAML's merge keys (`<<: *other`), which Kubernetes' own reader knows as well.
    pub(super) fn merge(&mut self) {
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(Self::merge),
            Value::Map(entries) => {
                for (_, node) in entries.iter_mut() {
                    node.merge();
                }
                if let Some(index) = entries.iter().position(|(key, _)| key == "<<") {
                    let (_, source) = entries.remove(index);
                    let sources = match source.value {
                        Value::List(items) => items,
                        _ => vec![source],
                    };
                    let mut present: HashSet<String> =
                        entries.iter().map(|(key, _)| key.clone()).collect();
                    for (key, node) in sources.into_iter().flat_map(Self::into_entries) {
                        if present.insert(key.clone()) {
                            entries.push((key, node));
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn into_entries(self) -> Vec<(String, Self)> {
        match self.value {
            Value::Map(entries) => entries,
            _ => Vec::new(),
        }
    }
}

/// The way from an object to one of its fields. It is built on the way down and only written out when needed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    /// An item of a list that is a field of the parent.
    Item(&'a Path<'a>, &'a str, usize),
    /// An entry of a map that is a field of the parent.
    Entry(&'a Path<'a>, &'a str, &'a str),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |f: &mut fmt::Formatter<'_>, parent: &Path<'_>, name: &str| match parent {
            Path::Root => f.write_str(name),
            _ => write!(f, "{parent}.{name}"),
        };
        match *self {
            Self::Root => Ok(()),
            Self::Field(parent, name) => field(f, parent, name),
            Self::Item(parent, list, index) => {
                field(f, parent, list)?;
                write!(f, "[{index}]")
            }
            Self::Entry(parent, map, key) => {
                field(f, parent, map)?;
                if key.contains(['.', '/']) || key.is_empty() {
                    write!(f, "[{key:?}]")
                } else {
                    write!(f, ".{key}")
                }
            }
        }
    }
}

/// A field as a person finds it: its path and its line.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) field: String,
    pub(super) line: u32,
}

impl Spot {
    pub(super) fn new(path: &Path<'_>, line: u32) -> Self {
        Self {
            field: path.to_string(),
            line,
        }
    }
}

/// A node, and the way that led to it. Reads trees that conform to their schema: what has another type is absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) node: &'a Node,
    pub(super) path: Path<'a>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(node: &'a Node, path: Path<'a>) -> Self {
        Self { node, path }
    }

    pub(super) fn spot(&self) -> Spot {
        Spot::new(&self.path, self.node.line)
    }

    /// Where the field is, or would be.
    pub(super) fn spot_of(&self, name: &str) -> Spot {
        let line = self.node.get(name).unwrap_or(self.node).line;
        Spot::new(&Path::Field(&self.path, name), line)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.node.get(name).is_some()
    }

    pub(super) fn field(&'a self, name: &'a str) -> Option<Cursor<'a>> {
        let node = self.node.get(name)?;
        Some(Cursor {
            node,
            path: Path::Field(&self.path, name),
        })
    }

    /// Items of the list `name`; none where it is absent.
    pub(super) fn items(&'a self, name: &'a str) -> impl ExactSizeIterator<Item = Cursor<'a>> {
        let items: &[Node] = match self.node.get(name).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        };
        items.iter().enumerate().map(move |(index, node)| Cursor {
            node,
            path: Path::Item(&self.path, name, index),
        })
    }

    /// Entries of the map `name`; none where it is absent.
    pub(super) fn entries(
        &'a self,
        name: &'a str,
    ) -> impl ExactSizeIterator<Item = (&'a str, Cursor<'a>)> {
        let entries: &[(String, Node)] = match self.node.get(name).map(|node| &node.value) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        };
        entries.iter().map(move |(key, node)| {
            (
                key.as_str(),
                Cursor {
                    node,
                    path: Path::Entry(&self.path, name, key),
                },
            )
        })
    }

    /// The text itself; empty for what is no text.
    pub(super) fn as_text(&self) -> &'a str {
        match &self.node.value {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The number itself; 0 for what is no whole number.
    pub(super) fn as_int(&self) -> i128 {
        match self.node.value {
            Value::Int(number) => number,
            _ => 0,
        }
    }

    pub(super) fn text(&self, name: &str) -> &'a str {
        self.node.text_of(name).unwrap_or_default()
    }

    pub(super) fn int(&self, name: &str) -> Option<i128> {
        match self.node.get(name)?.value {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        match self.node.get(name)?.value {
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.node.get(name)?.value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn texts(&'a self, name: &'a str) -> Vec<String> {
        self.items(name)
            .map(|item| item.as_text().to_owned())
            .collect()
    }

    /// A map from text to text.
    pub(super) fn text_map<M: FromIterator<(String, String)>>(&'a self, name: &'a str) -> M {
        self.entries(name)
            .map(|(key, value)| (key.to_owned(), value.as_text().to_owned()))
            .collect()
    }
}
