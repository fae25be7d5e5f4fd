//! Which `Sidecar` is for a client, and what of the hosts that are exported to it that one imports.

use std::collections::BTreeSet;

use crate::api::sidecar::{EgressHost, EgressListener, HostNamespace};
use crate::api::{MeshConfig, Meta, Sidecar, host};

use super::client::Client;
use super::hosts::Host;
use super::visibility::Ports;

/// Those of the client's namespace that name its labels come first, then one of the namespace for all, then one of the root
/// namespace for all; of each the oldest (Istio's `PushContext.getSidecarScope`). The place among `sidecars`, which are the oldest
/// first.
pub(super) fn find(
    sidecars: &[(&Meta, &Sidecar)],
    mesh: &MeshConfig,
    client: Client<'_>,
) -> Option<usize> {
    let rank = |(meta, sidecar): &(&Meta, &Sidecar)| {
        let is_own = meta.id.namespace == client.namespace;
        let is_for_all = sidecar.selector.is_empty();
        match (is_own, is_for_all) {
            (true, false) if client.has(&sidecar.selector) => Some(0),
            (true, true) => Some(1),
            (false, true) if meta.id.namespace == mesh.root_namespace => Some(2),
            _ => None,
        }
    };
    let ranked = sidecars.iter().enumerate();
    let ranked = ranked.filter_map(|(place, sidecar)| Some((rank(sidecar)?, place)));
    ranked.min().map(|(_, place)| place)
}

/// The ports of the host that the sidecar imports; `None` where it imports none.
pub(super) fn import(sidecar: (&Meta, &Sidecar), host: &Host<'_>) -> Option<Ports> {
    let (meta, sidecar) = sidecar;
    if sidecar.egress.is_empty() {
        return Some(Ports::All);
    }
    let mut ports = BTreeSet::new();
    for listener in sidecar
        .egress
        .iter()
        .filter(|listener| !listener.is_explicit)
    {
        if !imports(listener, &meta.id.namespace, &host.namespace, &host.name) {
            continue;
        }
        match listener.port {
            None => return Some(Ports::All),
            Some(port) => {
                let mut declared = host.ports.iter();
                if declared.any(|declared| declared.port.number == port) {
                    ports.insert(port);
                }
            }
        }
    }
    (!ports.is_empty()).then_some(Ports::Only(ports))
}

/// Whether routes of `namespace` for these hosts are imported.
pub(super) fn imports_routes(
    (meta, sidecar): (&Meta, &Sidecar),
    namespace: &str,
    hosts: &[String],
) -> bool {
    let mut listeners = sidecar.egress.iter();
    sidecar.egress.is_empty()
        || listeners.any(|listener| {
            let mut hosts = hosts.iter();
            hosts.any(|host| imports(listener, &meta.id.namespace, namespace, host))
        })
}

fn imports(listener: &EgressListener, own: &str, namespace: &str, name: &str) -> bool {
    let names = |entry: &EgressHost| {
        let of_namespace = match &entry.namespace {
            HostNamespace::Any => true,
            HostNamespace::Own => namespace == own,
            HostNamespace::Named(named) => named == namespace,
            HostNamespace::None => false,
        };
        of_namespace && host::subset_of(name, &entry.host)
    };
    let (excluded, included): (Vec<_>, Vec<_>) =
        listener.hosts.iter().partition(|entry| entry.is_excluded);
    included.into_iter().any(names) && !excluded.into_iter().any(names)
}
