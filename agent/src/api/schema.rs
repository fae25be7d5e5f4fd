//! What fields a message has and of which type they are, and how a tree is made to conform.
//!
//! Reads as protobuf's JSON mapping reads: names in `camelCase` or `snake_case`, enum values by name or number, numbers also
//! as text, null as absent. What conforms has only known fields in `camelCase`, with values in one form each. Knows no
//! rule that goes beyond one field.

mod scalar;

use std::collections::HashSet;

use super::codes;
use super::findings::Findings;
use super::likely::suggest;
use super::tree::{Node, Path, Spot, Value};

pub(crate) use scalar::duration;

#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    /// Whatever it is, it stays.
    Any,
    Text,
    Bool,
    Int32,
    Uint32,
    Uint64,
    /// Conforms to a `Float`.
    Double,
    /// Conforms to an `Int`: nanoseconds.
    Duration,
    /// Conforms to the `Text` of the name.
    Enum(&'static [(&'static str, i32)]),
    Message(&'static Message),
    List(&'static Self),
    /// From text to the type.
    Map(&'static Self),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    name: &'static str,
    ty: Type,
    /// What to know about a field that is read but not carried out.
    not_carried_out: Option<&'static str>,
}

/// A field that is carried out, or whose reader says itself what is not.
pub(super) const fn field(name: &'static str, ty: Type) -> Field {
    Field {
        name,
        ty,
        not_carried_out: None,
    }
}

/// A field that is read but not carried out; `hint` says what happens instead, or what to do.
pub(super) const fn ignored(name: &'static str, ty: Type, hint: &'static str) -> Field {
    Field {
        name,
        ty,
        not_carried_out: Some(hint),
    }
}

impl Message {
    fn find(&self, key: &str) -> Option<&Field> {
        let exact = self.fields.iter().find(|field| field.name == key);
        if exact.is_some() || !key.contains('_') {
            return exact;
        }
        let camel = to_camel(key);
        self.fields.iter().find(|field| field.name == camel)
    }
}

/// protobuf's JSON name of a field.
fn to_camel(snake: &str) -> String {
    let mut upper = false;
    snake
        .chars()
        .filter_map(|c| {
            let raised = upper;
            upper = c == '_';
            match c {
                '_' => None,
                c if raised => Some(c.to_ascii_uppercase()),
                c => Some(c),
            }
        })
        .collect()
}

/// Makes `node`, found at `path`, conform to `message`; what does not is reported and dropped.
pub(super) fn conform(
    node: &mut Node,
    message: &Message,
    path: &Path<'_>,
    findings: &mut Findings,
) {
    let Value::Map(entries) = &mut node.value else {
        let spot = Spot::new(path, node.line);
        let found = format!("expected a mapping, found {}", node.value.noun());
        findings.error(
            codes::WRONG_TYPE,
            spot,
            found,
            "write its fields indented below it",
        );
        node.value = Value::Map(Vec::new());
        return;
    };
    let mut kept: Vec<(String, Node)> = Vec::with_capacity(entries.len());
    for (key, mut node) in std::mem::take(entries) {
        let Some(field) = message.find(&key) else {
            report_unknown(&key, &node, message, path, findings);
            continue;
        };
        if kept.iter().any(|(name, _)| name == field.name) {
            let spot = Spot::new(&Path::Field(path, field.name), node.line);
            let found = format!("`{}` is written twice", field.name);
            findings.error(codes::DUPLICATE_FIELD, spot, found, "remove one of them");
        } else if node.value != Value::Null {
            conform_field(&mut node, field, path, findings);
            let key = if key == field.name {
                key
            } else {
                field.name.to_owned()
            };
            kept.push((key, node));
        }
    }
    *entries = kept;
}

fn report_unknown(
    key: &str,
    node: &Node,
    message: &Message,
    path: &Path<'_>,
    findings: &mut Findings,
) {
    let names = message.fields.iter().map(|field| field.name);
    let hint = suggest(
        key,
        names,
        "remove it, or check that it stands at the right indentation",
    );
    let spot = Spot::new(&Path::Field(path, key), node.line);
    findings.warning(
        codes::UNKNOWN_FIELD,
        spot,
        format!("there is no field `{key}` here, so it is ignored"),
        hint,
    );
}

fn conform_field(node: &mut Node, field: &Field, parent: &Path<'_>, findings: &mut Findings) {
    let path = Path::Field(parent, field.name);
    if let Some(hint) = field.not_carried_out
        && !is_empty(&node.value)
    {
        let message = format!("`{}` is not carried out", field.name);
        findings.warning(
            codes::FIELD_NOT_CARRIED_OUT,
            Spot::new(&path, node.line),
            message,
            hint,
        );
    }
    match (&field.ty, &mut node.value) {
        (Type::List(ty), Value::List(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                conform_value(item, ty, &Path::Item(parent, field.name, index), findings);
            }
        }
        (Type::Map(ty), Value::Map(entries)) => {
            let mut seen = HashSet::with_capacity(entries.len());
            for (key, node) in entries {
                let path = Path::Entry(parent, field.name, key);
                if !seen.insert(key.as_str()) {
                    let spot = Spot::new(&path, node.line);
                    findings.error(
                        codes::DUPLICATE_FIELD,
                        spot,
                        format!("`{key}` is written twice"),
                        "remove one of them",
                    );
                }
                conform_value(node, ty, &path, findings);
            }
        }
        (ty, _) => conform_value(node, ty, &path, findings),
    }
}

fn conform_value(node: &mut Node, ty: &Type, path: &Path<'_>, findings: &mut Findings) {
    if let Type::Message(message) = ty {
        return conform(node, message, path, findings);
    }
    match scalar::conform(&node.value, ty) {
        Ok(None) => {}
        Ok(Some(value)) => node.value = value,
        Err(mismatch) => {
            findings.error(
                codes::WRONG_TYPE,
                Spot::new(path, node.line),
                mismatch.message,
                mismatch.hint,
            );
            node.value = Value::Null;
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}
