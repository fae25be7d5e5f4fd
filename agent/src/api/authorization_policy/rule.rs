//! Reads a rule: from where, to what, and when.

use super::super::codes;
use super::super::findings::Findings;
use super::super::tree::Cursor;
use super::values;
use super::{AccessRule, Operation, condition, source, unseen};

/// Reads a rule of a policy in `namespace`.
pub(super) fn read(rule: &Cursor<'_>, namespace: &str, findings: &mut Findings) -> AccessRule {
    for name in ["from", "to"] {
        if rule.has(name) && rule.items(name).len() == 0 {
            findings.error(
                codes::REQUIRED,
                rule.spot_of(name),
                format!("`{name}` is empty"),
                "write what is to match, or remove it, which lets anything match",
            );
        }
    }
    let from = rule.items("from").filter_map(|item| {
        let found = part(&item, "source", findings)?;
        Some(source::read(&found, namespace, findings))
    });
    let from = from.collect();
    let to = rule.items("to").filter_map(|item| {
        let found = part(&item, "operation", findings)?;
        Some(read_operation(&found, findings))
    });
    let to = to.collect();
    let when = rule.items("when");
    AccessRule {
        from,
        to,
        when: when
            .filter_map(|item| condition::read(&item, namespace, findings))
            .collect(),
        line: rule.node.line,
    }
}

/// The only field of an item of `from` or `to`, which it must have.
fn part<'a>(item: &'a Cursor<'a>, name: &'a str, findings: &mut Findings) -> Option<Cursor<'a>> {
    let part = item.field(name);
    if part.is_none() {
        findings.error(
            codes::REQUIRED,
            item.spot_of(name),
            format!("the item has no {name}"),
            format!("write {name}: and its fields below it, or remove the item"),
        );
    }
    part
}

fn read_operation(operation: &Cursor<'_>, findings: &mut Findings) -> Operation {
    let all = ["ports", "notPorts"].iter().chain(&unseen::OPERATION);
    if all.into_iter().all(|name| operation.items(name).len() == 0) {
        findings.error(
            codes::REQUIRED,
            operation.spot(),
            "the operation asks for nothing",
            "write what it is to be, or remove to, which lets any operation match",
        );
    }
    // Read only for what is wrong with them: no connection shows any.
    for names in [
        ["hosts", "notHosts"],
        ["methods", "notMethods"],
        ["paths", "notPaths"],
    ] {
        values::texts(operation, names, findings);
    }
    for name in ["paths", "notPaths"] {
        for item in operation.items(name) {
            check_path(&item, findings);
        }
    }
    Operation {
        ports: values::ports(operation, ["ports", "notPorts"], findings),
        unseen: unseen::fields(operation, &unseen::OPERATION),
        line: operation.node.line,
    }
}

fn check_path(item: &Cursor<'_>, findings: &mut Findings) {
    if let Err(why) = validate_path(item.as_text()) {
        let message = format!("`{}` is not a path: {why}", item.as_text());
        let hint = "write {*} for one segment and {**} for the rest, each between slashes, or only one `*` at an end";
        findings.error(codes::ACCESS_PATH, item.spot(), message, hint);
    }
}

/// Istio's `CheckValidPathTemplate`.
fn validate_path(path: &str) -> Result<(), &'static str> {
    let is_template = path.contains("{*}") || path.contains("{**}");
    let mut has_rest = false;
    for segment in path.trim_matches('/').split('/') {
        match segment {
            "{*}" | "{**}" if has_rest => return Err("{**} is not the last template"),
            "{*}" => {}
            "{**}" => has_rest = true,
            _ if segment.contains(['{', '}']) => {
                return Err("it has a brace that is not part of {*} or {**}");
            }
            _ if is_template && !is_literal(segment) => {
                return Err("a segment beside a template has a character that a URL cannot have");
            }
            _ => {}
        }
    }
    Ok(())
}

/// What RFC 3986 allows in a segment of a path, without `*`, as Istio has it.
fn is_literal(segment: &str) -> bool {
    let mut bytes = segment.bytes();
    !segment.is_empty()
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte))
}
