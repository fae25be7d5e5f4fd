//! Who looks: a client, as far as objects tell clients apart.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use crate::api::{LocalWorkload, Meta};

/// The namespace of clients that no workload claims.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

pub(super) static NO_LABELS: LazyLock<BTreeMap<String, String>> = LazyLock::new(BTreeMap::new);

/// A client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) namespace: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    /// The service account; `None` for whom nothing vouches.
    pub(super) account: Option<&'a str>,
    /// All that its peers may see it come from; none where they are not known.
    pub(super) addresses: &'a [IpAddr],
}

impl<'a> Client<'a> {
    /// Any that no workload claims.
    pub(super) fn unclaimed() -> Self {
        Self {
            namespace: DEFAULT_NAMESPACE,
            labels: &NO_LABELS,
            account: None,
            addresses: &[],
        }
    }

    /// Any process of the workload.
    pub(super) fn of_workload(meta: &'a Meta, workload: &'a LocalWorkload) -> Self {
        Self {
            namespace: &meta.id.namespace,
            labels: &meta.labels,
            account: Some(&workload.service_account),
            addresses: &workload.addresses,
        }
    }

    /// Whether it has every label of `selector`.
    pub(super) fn has(&self, selector: &BTreeMap<String, String>) -> bool {
        carries(self.labels, selector)
    }

    /// How an object of the namespace `home` is exported to it; `None` where it is not.
    pub(super) fn sees(&self, export_to: &[String], home: &str) -> Option<Export> {
        let says = |to: &str| export_to.iter().any(|namespace| namespace == to);
        if says(".") && home == self.namespace {
            Some(Export::Private)
        } else if says(self.namespace) {
            Some(Export::Named)
        } else if says("*") {
            Some(Export::Public)
        } else {
            None
        }
    }
}

/// The namespaces that an object is for: those that it names, or else those of the mesh.
pub(super) fn exported<'a>(written: &'a [String], of_mesh: &'a [String]) -> &'a [String] {
    if written.is_empty() { of_mesh } else { written }
}

/// Whether `labels` hold every one of `selector`.
pub(super) fn carries(
    labels: &BTreeMap<String, String>,
    selector: &BTreeMap<String, String>,
) -> bool {
    let mut wanted = selector.iter();
    wanted.all(|(label, value)| labels.get(label) == Some(value))
}

/// How something is exported to a client, in the order in which Istio looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Export {
    /// Within its own namespace.
    Private,
    /// To the client's namespace by name.
    Named,
    /// To all.
    Public,
}
