//! Which routes and matches are never used because earlier ones ask for the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::codes;
use super::super::findings::Findings;
use super::super::tree::{Cursor, Node, Value};

/// Checks the routes of the list `list`.
pub(super) fn check(spec: &Cursor<'_>, list: &str, findings: &mut Findings) {
    let mut seen = HashMap::new();
    let mut without_match = None;
    for (index, route) in spec.items(list).enumerate() {
        if route.items("match").len() > 0 {
            check_matches(&route, list, index, &mut seen, findings);
        } else if let Some(earlier) = without_match.replace(index) {
            let message = format!("the route is never used: {list}[{earlier}] has no match either");
            let hint = "give all routes but the last a match, or remove one of them";
            findings.warning(codes::ROUTE_UNREACHABLE, route.spot(), message, hint);
        }
    }
}

/// `seen` has the form of each match before, with the route that has it.
fn check_matches(
    route: &Cursor<'_>,
    list: &str,
    index: usize,
    seen: &mut HashMap<String, usize>,
    findings: &mut Findings,
) {
    let mut repeated = 0;
    for item in route.items("match") {
        match seen.entry(form(item.node)) {
            Entry::Vacant(entry) => {
                entry.insert(index);
            }
            Entry::Occupied(entry) => {
                repeated += 1;
                let earlier = entry.get();
                let message = format!("the match is never used: {list}[{earlier}] has the same");
                let hint = "remove one of them";
                findings.warning(codes::ROUTE_UNREACHABLE, item.spot(), message, hint);
            }
        }
    }
    if repeated == route.items("match").len() {
        let message = "the route is never used: earlier routes have all its matches";
        let hint = "remove it, or give it a match of its own";
        findings.warning(codes::ROUTE_UNREACHABLE, route.spot(), message, hint);
    }
}

/// A text that is the same for two values if and only if they mean the same; empty fields and names mean nothing.
fn form(node: &Node) -> String {
    match &node.value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(form).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(entries) => {
            let mut fields: Vec<_> = entries
                .iter()
                .filter(|(key, node)| key != "name" && !is_empty(&node.value))
                .map(|(key, node)| format!("{key:?}:{}", form(node)))
                .collect();
            fields.sort_unstable();
            format!("{{{}}}", fields.join(","))
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) => true,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
    }
}
