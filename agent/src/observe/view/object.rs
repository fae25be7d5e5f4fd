//! The objects: which of them are in effect, and why the others are not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::api::{Diagnostic, Object, ObjectId, Severity, Spec};
use crate::{compile, model};

use super::super::State;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectView {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub file: String,
    /// 1-based.
    pub line: u32,
    #[serde(flatten)]
    pub status: ObjectStatus,
    /// What is wrong with it, or not carried out.
    pub findings: Vec<Diagnostic>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status")]
pub enum ObjectStatus {
    /// In effect; `findings` may limit that.
    Programmed,
    /// Another object, named here with its file and line, has what this one asks for.
    Shadowed { by: String },
    /// Not in effect.
    Rejected { reason: String },
    /// What it said before its document broke is in effect.
    LastGood { reason: String },
}

/// Kind, namespace and name, as diagnostics spell them.
type Name = (String, String, String);

/// Every object of every file in the order of kind, namespace and name, those that are not in force included.
pub fn objects(state: &State) -> Vec<ObjectView> {
    let mut findings: BTreeMap<Name, Vec<Diagnostic>> = BTreeMap::new();
    for found in state.diagnostics().filter(|found| !found.name.is_empty()) {
        findings
            .entry(name_of(found))
            .or_default()
            .push(found.clone());
    }
    let owners: BTreeSet<&ObjectId> = state
        .compiled
        .program
        .services
        .values()
        .map(|service| &*service.object)
        .collect();
    let mut views = Vec::new();
    for object in &state.snapshot.objects {
        let id = &object.meta.id;
        let name = (id.kind.to_string(), id.namespace.clone(), id.name.clone());
        let of_object = findings.remove(&name).unwrap_or_default();
        let (of_others, own): (Vec<_>, Vec<_>) = of_object
            .into_iter()
            .partition(|found| found.code == model::codes::DUPLICATE_OBJECT);
        views.extend(of_others.into_iter().map(|found| {
            let by = format!("{id} ({})", object.meta.origin);
            view(ObjectStatus::Shadowed { by }, vec![found])
        }));
        let is_owner = owners.contains(id);
        views.push(in_force(state, object, is_owner, own));
    }
    views.extend(findings.into_values().filter_map(rejected));
    let key = |view: &ObjectView| {
        let ObjectView {
            kind,
            namespace,
            name,
            file,
            line,
            ..
        } = view.clone();
        (kind, namespace, name, file, line)
    };
    views.sort_by_cached_key(key);
    views
}

fn name_of(found: &Diagnostic) -> Name {
    let Diagnostic {
        kind,
        namespace,
        name,
        ..
    } = found.clone();
    (kind, namespace, name)
}

fn in_force(
    state: &State,
    object: &Object,
    is_owner: bool,
    findings: Vec<Diagnostic>,
) -> ObjectView {
    let meta = &object.meta;
    let last_good = findings
        .iter()
        .any(|found| found.code == model::codes::LAST_GOOD_IN_FORCE);
    let status = if last_good {
        let broken = findings.iter().find(|f| f.severity == Severity::Error);
        let reason = broken.or(findings.first()).map(|f| f.message.clone());
        ObjectStatus::LastGood {
            reason: reason.unwrap_or_default(),
        }
    } else if let Some(by) = shadow(state, object, is_owner, &findings) {
        ObjectStatus::Shadowed { by }
    } else {
        ObjectStatus::Programmed
    };
    ObjectView {
        kind: meta.id.kind.to_string(),
        namespace: meta.id.namespace.clone(),
        name: meta.id.name.clone(),
        file: meta.origin.file.to_string(),
        line: meta.origin.line,
        status,
        findings,
    }
}

/// Which object has all that `object` asks for, where one has.
fn shadow(
    state: &State,
    object: &Object,
    is_owner: bool,
    findings: &[Diagnostic],
) -> Option<String> {
    let found = |codes: &[&str]| findings.iter().any(|f| codes.contains(&f.code.as_str()));
    match &object.spec {
        Spec::ServiceEntry(entry) => {
            use compile::codes::{HOST_TAKEN, PORT_TAKEN};
            if is_owner || !found(&[HOST_TAKEN, PORT_TAKEN]) {
                return None;
            }
            let services = &state.compiled.program.services;
            let (_, service) = services.iter().find(|(key, _)| {
                *key.namespace == *object.meta.id.namespace
                    && entry
                        .hosts
                        .iter()
                        .any(|h| h.eq_ignore_ascii_case(&key.host))
            })?;
            Some(format!("{} ({})", service.object, service.origin))
        }
        Spec::DestinationRule(rule) => {
            if !found(&[compile::codes::RULE_SHADOWED]) {
                return None;
            }
            let older = state.snapshot.objects.iter().find(|other| {
                other.meta.id.namespace == object.meta.id.namespace
                    && matches!(&other.spec, Spec::DestinationRule(o) if o.host == rule.host)
            })?;
            Some(format!("{} ({})", older.meta.id, older.meta.origin))
        }
        Spec::LocalWorkload(_)
        | Spec::Namespace
        | Spec::Sidecar(_)
        | Spec::AuthorizationPolicy(_)
        | Spec::PeerAuthentication(_)
        | Spec::RequestAuthentication(_)
        | Spec::VirtualService(_)
        | Spec::WorkloadEntry(_) => None,
    }
}

/// An object that is known by what is wrong with it only.
fn rejected(findings: Vec<Diagnostic>) -> Option<ObjectView> {
    let reason = findings
        .iter()
        .find(|found| found.severity == Severity::Error)?
        .message
        .clone();
    Some(view(ObjectStatus::Rejected { reason }, findings))
}

/// The view of the object that `findings`, which must be some, are about.
fn view(status: ObjectStatus, findings: Vec<Diagnostic>) -> ObjectView {
    let Diagnostic {
        kind,
        namespace,
        name,
        file,
        line,
        ..
    } = findings
        .first()
        .cloned()
        .expect("only objects with findings are shown by them");
    ObjectView {
        kind,
        namespace,
        name,
        file,
        line,
        status,
        findings,
    }
}
