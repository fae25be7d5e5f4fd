//! What kind of object a document holds, and the metadata that every object has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::likely::likely;
use super::object::{Kind, Meta, ObjectId, Origin};
use super::schema::{Message, Type, field};
use super::tree::Cursor;

/// A group of kinds that are carried out, and its versions, the best first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    name: &'static str,
    versions: &'static [&'static str],
}

impl Group {
    /// What to write as an object's apiVersion.
    pub(super) fn api_version(&self) -> String {
        format!("{}/{}", self.name, self.versions[0])
    }

    fn has(&self, group: &str, version: &str) -> bool {
        self.name == group && self.versions.contains(&version)
    }
}

static NETWORKING: Group = Group {
    name: "networking.istio.io",
    versions: &["v1", "v1beta1", "v1alpha3"],
};
static SECURITY: Group = Group {
    name: "security.istio.io",
    versions: &["v1", "v1beta1"],
};
/// Kubernetes' own.
static CORE: Group = Group {
    name: "",
    versions: &["v1"],
};
/// Kinds of our own.
static INTERNAL: Group = Group {
    name: "shunt.internal",
    versions: &["v1alpha1"],
};

const CARRIED_OUT: [(&str, Kind); 10] = [
    ("Namespace", Kind::Namespace),
    ("AuthorizationPolicy", Kind::AuthorizationPolicy),
    ("PeerAuthentication", Kind::PeerAuthentication),
    ("RequestAuthentication", Kind::RequestAuthentication),
    ("ServiceEntry", Kind::ServiceEntry),
    ("WorkloadEntry", Kind::WorkloadEntry),
    ("DestinationRule", Kind::DestinationRule),
    ("VirtualService", Kind::VirtualService),
    ("Sidecar", Kind::Sidecar),
    ("LocalWorkload", Kind::LocalWorkload),
];

/// The group that the kind is of.
pub(super) fn group_of(kind: Kind) -> &'static Group {
    match kind {
        Kind::DestinationRule
        | Kind::ServiceEntry
        | Kind::Sidecar
        | Kind::VirtualService
        | Kind::WorkloadEntry => &NETWORKING,
        Kind::AuthorizationPolicy | Kind::PeerAuthentication | Kind::RequestAuthentication => {
            &SECURITY
        }
        Kind::LocalWorkload => &INTERNAL,
        Kind::Namespace => &CORE,
    }
}

/// The spec of a `Namespace`, of which nothing matters here.
pub(super) static NAMESPACE: Message = Message {
    fields: &[field("finalizers", Type::Any)],
};

/// Istio's other kinds.
const NOT_CARRIED_OUT: [&str; 8] = [
    "EnvoyFilter",
    "Gateway",
    "IstioOperator",
    "ProxyConfig",
    "Telemetry",
    "TrafficExtension",
    "WasmPlugin",
    "WorkloadGroup",
];

/// An object as Kubernetes has it.
pub(super) static OBJECT: Message = Message {
    fields: &[
        field("apiVersion", Type::Text),
        field("kind", Type::Text),
        field("metadata", Type::Message(&METADATA)),
        field("spec", Type::Any),
        field("status", Type::Any),
    ],
};

static METADATA: Message = Message {
    fields: &[
        field("name", Type::Text),
        field("namespace", Type::Text),
        field("labels", Type::Map(&Type::Text)),
        field("annotations", Type::Map(&Type::Text)),
        field("creationTimestamp", Type::Text),
        // What the API server adds to an object that was read from it.
        field("generateName", Type::Any),
        field("uid", Type::Any),
        field("resourceVersion", Type::Any),
        field("generation", Type::Any),
        field("managedFields", Type::Any),
        field("ownerReferences", Type::Any),
        field("finalizers", Type::Any),
        field("selfLink", Type::Any),
        field("deletionTimestamp", Type::Any),
        field("deletionGracePeriodSeconds", Type::Any),
    ],
};

/// What a document's apiVersion and kind make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    CarriedOut(Kind),
    /// One of those kinds, with an apiVersion that it does not have.
    WrongVersion(Kind),
    /// Objects of any kind, in `items`.
    List,
    NotCarriedOut,
    /// No kind of Istio's, but near this name of one.
    Misspelt(&'static str),
    /// In a group of Istio's or ours, but no kind that is known.
    Unknown,
    Foreign,
}

pub(super) fn classify(api_version: &str, kind: &str) -> Class {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let is_istio = group.ends_with(".istio.io") || group == INTERNAL.name;
    if kind == "List"
        || kind
            .strip_suffix("List")
            .is_some_and(|item| is_istio && carried_out(item).is_some())
    {
        return Class::List;
    }
    // A group without Istio's name may have a kind of the same name; one that is missing or misspelt has not.
    let is_meant = group.is_empty() || group.contains("istio") || group.contains("shunt");
    if let Some(kind) = carried_out(kind) {
        return match () {
            () if group_of(kind).has(group, version) => Class::CarriedOut(kind),
            () if is_meant => Class::WrongVersion(kind),
            () => Class::Foreign,
        };
    }
    if is_istio && NOT_CARRIED_OUT.contains(&kind) {
        return Class::NotCarriedOut;
    }
    let ours = CARRIED_OUT.iter().map(|(name, _)| *name);
    let others = NOT_CARRIED_OUT.into_iter().filter(|_| is_istio);
    match likely(kind, ours.chain(others)) {
        Some(name) if is_meant => Class::Misspelt(name),
        _ if is_istio => Class::Unknown,
        _ => Class::Foreign,
    }
}

/// The kind of that name, if it is carried out.
pub(super) fn carried_out(name: &str) -> Option<Kind> {
    CARRIED_OUT
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| *kind)
}

/// Reads the metadata of an object that conforms to [`OBJECT`].
pub(super) fn read_meta(object: &Cursor<'_>, id: ObjectId, file: &Arc<str>) -> Meta {
    let origin = Origin {
        file: Arc::clone(file),
        line: object.node.line,
    };
    let empty = Meta {
        id,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        created: String::new(),
        origin,
    };
    let Some(metadata) = object.field("metadata") else {
        return empty;
    };
    Meta {
        labels: metadata.text_map("labels"),
        annotations: metadata.text_map("annotations"),
        created: metadata.text("creationTimestamp").to_owned(),
        ..empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_a_kind_is_the_kind() {
        for (name, kind) in CARRIED_OUT {
            let group = group_of(kind);
            for version in group.versions {
                let class = classify(&format!("{}/{version}", group.name), name);
                assert_eq!(class, Class::CarriedOut(kind));
            }
        }
    }

    #[test]
    fn a_wrong_version_is_told_from_another_kind_of_the_same_name() {
        let wrong = Class::WrongVersion(Kind::ServiceEntry);
        assert_eq!(classify("networking.istio.io/v2", "ServiceEntry"), wrong);
        assert_eq!(classify("v1", "ServiceEntry"), wrong);
        assert_eq!(classify("", "ServiceEntry"), wrong);
        assert_eq!(classify("security.istio.io/v1", "ServiceEntry"), wrong);
        let wrong = Class::WrongVersion(Kind::AuthorizationPolicy);
        for version in ["networking.istio.io/v1", "security.istio.io/v1alpha3", ""] {
            assert_eq!(classify(version, "AuthorizationPolicy"), wrong);
        }
        assert_eq!(
            classify("consul.hashicorp.com/v1", "ServiceEntry"),
            Class::Foreign
        );
    }

    #[test]
    fn other_kinds_are_istio_s_misspelt_or_foreign() {
        assert_eq!(
            classify("networking.istio.io/v1", "Gateway"),
            Class::NotCarriedOut
        );
        assert_eq!(
            classify("gateway.networking.k8s.io/v1", "Gateway"),
            Class::Foreign
        );
        assert_eq!(classify("v1", "Service"), Class::Foreign);
        assert_eq!(classify("apps/v1", "Deployment"), Class::Foreign);
        assert_eq!(
            classify("networking.istio.io/v1", "ServiceEntrys"),
            Class::Misspelt("ServiceEntry")
        );
        assert_eq!(
            classify("v1", "serviceentry"),
            Class::Misspelt("ServiceEntry")
        );
        assert_eq!(
            classify("networking.istio.io/v1", "VirtualServices"),
            Class::Misspelt("VirtualService")
        );
        assert_eq!(classify("networking.istio.io/v1", "Banana"), Class::Unknown);
        assert_eq!(classify("v1", "List"), Class::List);
        assert_eq!(
            classify("networking.istio.io/v1", "ServiceEntryList"),
            Class::List
        );
    }
}
