//! What a policy of group security.istio.io applies to: selected workloads, or objects that it names.

use std::collections::BTreeMap;

use super::codes;
use super::findings::Findings;
use super::rules;
use super::schema::{Field, Message, Type, field};
use super::tree::Cursor;

/// Neither labels nor targets mean everything in the policy's namespace, or everywhere for the root namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Labels of the workloads; an empty selector selects like none. Always `None` where there are targets.
    pub selector: Option<BTreeMap<String, String>>,
    /// In the policy's namespace, but for a `GatewayClass`, which is in none.
    pub targets: Vec<Target>,
}

/// An object that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub kind: TargetKind,
    pub name: String,
    pub line: u32,
}

/// What a policy can name, by group and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    Service,
    ServiceEntry,
    Gateway,
    GatewayClass,
}

/// The fields that [`read`] reads.
pub(super) const SELECTOR: Field = field("selector", Type::Message(&LABELS));
pub(super) const TARGET_REF: Field = field("targetRef", Type::Message(&TARGET));
pub(super) const TARGET_REFS: Field = field("targetRefs", Type::List(&A_TARGET));

static LABELS: Message = Message {
    fields: &[field("matchLabels", Type::Map(&Type::Text))],
};

static A_TARGET: Type = Type::Message(&TARGET);

static TARGET: Message = Message {
    fields: &[
        field("group", Type::Text),
        field("kind", Type::Text),
        field("name", Type::Text),
        field("namespace", Type::Text),
    ],
};

/// What Istio's schema limits.
const MOST_TARGETS: usize = 16;
const LONGEST_NAME: usize = 253;

/// Reads `selector`, `targetRef` and `targetRefs`, of which a policy has at most one.
pub(super) fn read(spec: &Cursor<'_>, findings: &mut Findings) -> Attachment {
    rules::at_most_one(spec, &["selector", "targetRef", "targetRefs"], findings);
    let count = spec.items("targetRefs").len();
    if count > MOST_TARGETS {
        let message = format!("there are {count} targetRefs, and Istio accepts {MOST_TARGETS}");
        findings.error(
            codes::TOO_MANY,
            spec.spot_of("targetRefs"),
            message,
            "spread them over several policies",
        );
    }
    let targets = spec
        .field("targetRef")
        .into_iter()
        .chain(spec.items("targetRefs"))
        .filter_map(|target| read_target(&target, findings))
        .collect();
    Attachment {
        selector: rules::selector(spec, "selector", "matchLabels", findings),
        targets,
    }
}

fn read_target(target: &Cursor<'_>, findings: &mut Findings) -> Option<Target> {
    let name = target.text("name");
    if name.is_empty() {
        findings.error(
            codes::REQUIRED,
            target.spot_of("name"),
            "the target has no name",
            "write the name of the object that the policy applies to",
        );
    }
    if name.len() > LONGEST_NAME {
        let message = format!("the name of the target is longer than {LONGEST_NAME} characters");
        let hint = "no object has such a name; shorten it";
        findings.error(codes::TOO_MANY, target.spot_of("name"), message, hint);
    }
    if !target.text("namespace").is_empty() {
        findings.error(
            codes::TARGET,
            target.spot_of("namespace"),
            "a policy applies to objects of its own namespace only",
            "remove namespace, and put the policy into the namespace of its target",
        );
    }
    let (group, kind) = (target.text("group"), target.text("kind"));
    let known = kind_of(group, kind);
    if known.is_none() {
        let message = match group {
            "" => format!("a policy cannot apply to `{kind}` without group"),
            _ => format!("a policy cannot apply to `{kind}` of group `{group}`"),
        };
        findings.error(
            codes::TARGET,
            target.spot_of("kind"),
            message,
            "write Service with an empty group, ServiceEntry of networking.istio.io, or Gateway or GatewayClass of gateway.networking.k8s.io",
        );
    }
    Some(Target {
        kind: known?,
        name: name.to_owned(),
        line: target.node.line,
    })
}

fn kind_of(group: &str, kind: &str) -> Option<TargetKind> {
    Some(match (group, kind) {
        ("" | "core", "Service") => TargetKind::Service,
        ("networking.istio.io", "ServiceEntry") => TargetKind::ServiceEntry,
        ("gateway.networking.k8s.io", "Gateway") => TargetKind::Gateway,
        ("gateway.networking.k8s.io", "GatewayClass") => TargetKind::GatewayClass,
        _ => return None,
    })
}
