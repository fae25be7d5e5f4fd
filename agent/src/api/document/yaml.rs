//! YAML documents: the events of `saphyr-parser`, made a tree within limits.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::str::Chars;

use saphyr_parser::{BufferedInput, Event, Parser, ScanError};

use super::super::tree::{Node, Value};
use super::scalar::{check_collection, value};
use super::{Document, Excess, MAX_DEPTH, MAX_SPAN, MAX_VALUES, ParseError};

pub(super) fn parse(document: Document<'_>) -> Result<Node, ParseError> {
    let span = Cell::new(0);
    let mut builder = Builder {
        parser: Parser::new(BufferedInput::new(Chunks::new(document.text, &span))),
        span: &span,
        document,
        lines: Lines::new(document),
        anchors: HashMap::new(),
        left: MAX_VALUES,
    };
    let node = builder.document()?;
    Ok(node.map_or(
        Node {
            line: document.first_line,
            value: Value::Null,
        },
        |node| node.node,
    ))
}

/// The characters of a document. They end where too many were read and nothing has become of them.
struct Chunks<'a> {
    rest: Chars<'a>,
    /// How many were read since the last event.
    span: &'a Cell<usize>,
}

impl<'a> Chunks<'a> {
    fn new(text: &'a str, span: &'a Cell<usize>) -> Self {
        Self {
            rest: text.chars(),
            span,
        }
    }
}

impl Iterator for Chunks<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if self.span.get() > MAX_SPAN {
            return None;
        }
        self.span.set(self.span.get() + 1);
        self.rest.next()
    }
}

/// A node, and how deep it is: 1 for one that holds no other.
#[derive(Clone)]
struct Measured {
    node: Node,
    height: usize,
}

struct Builder<'a> {
    parser: Parser<'a, BufferedInput<Chunks<'a>>>,
    span: &'a Cell<usize>,
    document: Document<'a>,
    lines: Lines<'a>,
    /// What aliases may stand for, by the parser's number of the anchor.
    anchors: HashMap<usize, Measured>,
    /// How many more values there may be.
    left: usize,
}

impl<'a> Builder<'a> {
    /// `None` where it holds nothing.
    fn document(&mut self) -> Result<Option<Measured>, ParseError> {
        let mut found = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(found),
                (Event::DocumentStart(_), line) if found.is_some() => {
                    return Err(self.refusal(line, "another document begins in its midst".into()));
                }
                (
                    Event::StreamStart
                    | Event::DocumentStart(_)
                    | Event::DocumentEnd
                    | Event::Nothing,
                    _,
                ) => {}
                (event, line) => found = Some(self.node(event, line, 1)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, u32), ParseError> {
        let next = self.parser.next_event();
        let is_cut = self.span.replace(0) > MAX_SPAN;
        match next {
            Some(Ok((event, span))) if !is_cut => {
                Ok((event, self.lines.line_of(span.start.index())))
            }
            _ if is_cut => Err(ParseError::TooLarge {
                line: self.lines.line,
                excess: Excess::Span,
            }),
            Some(Err(error)) => Err(self.syntax(&error)),
            _ => Ok((Event::StreamEnd, self.lines.line)),
        }
    }

    fn syntax(&self, error: &ScanError) -> ParseError {
        // The mark may lie before what was read last.
        let line = Lines::new(self.document).line_of(error.marker().index());
        if error.info() == "recursion limit exceeded" {
            let excess = Excess::Depth;
            return ParseError::TooLarge { line, excess };
        }
        self.refusal(line, error.info().into())
    }

    fn refusal(&self, line: u32, message: Cow<'_, str>) -> ParseError {
        let index = (line - self.document.first_line) as usize;
        let mut lines = self.document.text.lines();
        let tab = lines
            .nth(index)
            .is_some_and(|text| text.trim_start_matches(' ').starts_with('\t'));
        ParseError::Syntax {
            line,
            message: message.into_owned(),
            tab,
        }
    }

    /// The value that begins with `event`, at this depth.
    fn node(&mut self, event: Event<'a>, line: u32, depth: usize) -> Result<Measured, ParseError> {
        self.spend(1, line)?;
        if depth > MAX_DEPTH {
            let excess = Excess::Depth;
            return Err(ParseError::TooLarge { line, excess });
        }
        let (value, height, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, line, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let value = value(&text, style, tag.as_deref());
                (
                    value.map_err(|message| self.refusal(line, message.into()))?,
                    1,
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                check_collection(tag.as_deref(), "seq")
                    .map_err(|message| self.refusal(line, message.into()))?;
                let (items, height) = self.items(depth)?;
                (Value::List(items), height, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_collection(tag.as_deref(), "map")
                    .map_err(|message| self.refusal(line, message.into()))?;
                let (entries, height) = self.entries(depth)?;
                (Value::Map(entries), height, anchor)
            }
            _ => return Err(self.refusal(line, "a value is missing".into())),
        };
        let node = Measured {
            node: Node { line, value },
            height,
        };
        if anchor != 0 {
            // The copy that the anchor keeps is one more.
            self.spend(size(&node.node), line)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<(Vec<Node>, usize), ParseError> {
        let (mut items, mut height) = (Vec::new(), 1);
        loop {
            let (event, line) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok((items, height));
            }
            let item = self.node(event, line, depth + 1)?;
            height = height.max(item.height + 1);
            items.push(item.node);
        }
    }

    fn entries(&mut self, depth: usize) -> Result<(Vec<(String, Node)>, usize), ParseError> {
        let (mut entries, mut height) = (Vec::new(), 1);
        loop {
            let (event, key_line) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((entries, height));
            }
            let key = self.node(event, key_line, depth + 1)?;
            let key = self.key(key.node)?;
            let (event, line) = self.next()?;
            let mut value = self.node(event, line, depth + 1)?;
            value.node.line = key_line;
            height = height.max(value.height + 1);
            entries.push((key, value.node));
        }
    }

    /// As in Kubernetes' reader, a number or boolean is a key by its text.
    fn key(&self, node: Node) -> Result<String, ParseError> {
        match node.value {
            Value::Text(text) => Ok(text),
            Value::Bool(flag) => Ok(flag.to_string()),
            Value::Int(number) => Ok(number.to_string()),
            Value::Float(number) => Ok(number.to_string()),
            other => {
                let message = format!("{} cannot be a key", other.noun());
                Err(self.refusal(node.line, message.into()))
            }
        }
    }

    /// All that an alias stands for is found where the alias is.
    fn alias(&mut self, anchor: usize, line: u32, depth: usize) -> Result<Measured, ParseError> {
        let Some(known) = self.anchors.get(&anchor) else {
            return Err(self.refusal(line, "an alias stands for what it is in itself".into()));
        };
        if depth + known.height > MAX_DEPTH {
            let excess = Excess::Depth;
            return Err(ParseError::TooLarge { line, excess });
        }
        let amount = size(&known.node);
        self.spend(amount, line)?;
        let mut node = self.anchors[&anchor].clone();
        set_line(&mut node.node, line);
        Ok(node)
    }

    fn spend(&mut self, amount: usize, line: u32) -> Result<(), ParseError> {
        let left = self.left.checked_sub(amount);
        self.left = left.ok_or(ParseError::TooLarge {
            line,
            excess: Excess::Values,
        })?;
        Ok(())
    }
}

/// Bytes of text that count as one more value where they are copied.
const TEXT_UNIT: usize = 64;

/// How many values a copy of it costs.
fn size(node: &Node) -> usize {
    match &node.value {
        Value::Text(text) => 1 + text.len() / TEXT_UNIT,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| 1 + key.len() / TEXT_UNIT + size(node))
            .sum::<usize>()
            .saturating_add(1),
        _ => 1,
    }
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
