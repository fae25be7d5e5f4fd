//! What rules ask for that no connection shows, and what follows from it.
//!
//! As in Istio's filter for TCP (`security/authz/model`): an ALLOW rule that asks for it never matches, and any other rule
//! is read without it.

use super::super::codes;
use super::super::findings::Findings;
use super::super::tree::{Cursor, Spot};
use super::{PolicyAction, Unseen, condition};

pub(super) const SOURCE: [&str; 4] = [
    "requestPrincipals",
    "notRequestPrincipals",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
];

pub(super) const OPERATION: [&str; 6] = [
    "hosts",
    "notHosts",
    "methods",
    "notMethods",
    "paths",
    "notPaths",
];

/// Those of `names` that the source or operation has.
pub(super) fn fields(parent: &Cursor<'_>, names: &[&'static str]) -> Vec<Unseen> {
    let written = names.iter().filter(|name| parent.items(name).len() > 0);
    written
        .map(|field| Unseen {
            field,
            line: parent.spot_of(field).line,
        })
        .collect()
}

pub(super) fn report(rule: &Cursor<'_>, action: PolicyAction, findings: &mut Findings) {
    let found = find(rule);
    let Some((_, first)) = found.first() else {
        return;
    };
    let mut names: Vec<String> = Vec::new();
    for (name, _) in &found {
        let name = format!("`{name}`");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let names = names.join(", ");
    let spot = first.clone();
    let widened = match action {
        PolicyAction::Allow => {
            let message = format!(
                "the rule never matches here, as only a request or a TLS handshake would tell {names}"
            );
            let hint = "write a rule by ports, addresses and identities, which connections show";
            findings.warning(codes::RULE_NEVER_MATCHES, spot, message, hint);
            return;
        }
        PolicyAction::Deny => "denies",
        PolicyAction::Audit => "audits",
        // Not carried out at all, which is said of the whole policy.
        PolicyAction::Custom => return,
    };
    let message = format!(
        "the rule {widened} more than it says, as {names} is left out: only a request or a TLS handshake would tell"
    );
    let hint = if has_port(rule) {
        "nothing to do, if all connections to these ports are meant"
    } else {
        "write the ports that are meant, as it is about every port without"
    };
    findings.warning(codes::RULE_WIDENED, spot, message, hint);
}

/// Names and places, in the order of the rule.
fn find(rule: &Cursor<'_>) -> Vec<(String, Spot)> {
    let mut found = Vec::new();
    for (list, part, names) in [
        ("from", "source", SOURCE.as_slice()),
        ("to", "operation", OPERATION.as_slice()),
    ] {
        for item in rule.items(list) {
            if let Some(part) = item.field(part) {
                let fields = fields(&part, names).into_iter();
                found.extend(
                    fields.map(|Unseen { field, .. }| (field.to_owned(), part.spot_of(field))),
                );
            }
        }
    }
    for item in rule.items("when") {
        let key = item.text("key");
        if condition::is_unseen(key) {
            found.push((key.to_owned(), item.spot_of("key")));
        }
    }
    found
}

fn has_port(rule: &Cursor<'_>) -> bool {
    let mut operations = rule.items("to");
    operations.any(|to| {
        to.field("operation")
            .is_some_and(|operation| operation.items("ports").len() > 0)
    })
}
