//! What becomes of connects to what nothing claims, and what is exempt from that.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_common::abi::{Exemption, Outbound};
use ipnet::IpNet;

use crate::api::{Meta, OutboundPolicy, Sidecar};
use crate::model::Snapshot;

use super::clients::{Scope, by_longest};
use super::destinations::canonical;

/// For clients of that sidecar.
pub(super) fn of(sidecar: Option<(&Meta, &Sidecar)>, snapshot: &Snapshot) -> Outbound {
    let written = sidecar.and_then(|(_, sidecar)| sidecar.outbound);
    match written.unwrap_or(snapshot.mesh.outbound) {
        OutboundPolicy::AllowAny => Outbound::AllowAny,
        OutboundPolicy::RegistryOnly if snapshot.node.is_audited => Outbound::Audited,
        OutboundPolicy::RegistryOnly => Outbound::RegistryOnly,
    }
}

/// The sidecar that has a policy of its own.
pub(super) fn written_by(sidecar: Option<(&Meta, &Sidecar)>) -> Option<Arc<str>> {
    let (meta, _) = sidecar.filter(|(_, sidecar)| sidecar.outbound.is_some())?;
    Some(format!("outboundTrafficPolicy of {} ({})", meta.id, meta.origin).into())
}

/// What clients reach though nothing claims it: the node itself, its name servers and what is internal. Nothing, where all
/// reach everything.
pub(super) fn exempt(
    scopes: &BTreeMap<u32, Scope>,
    snapshot: &Snapshot,
) -> BTreeMap<IpNet, Exemption> {
    let mut scopes = scopes.values();
    if scopes.all(|scope| scope.outbound == Outbound::AllowAny) {
        return BTreeMap::new();
    }
    let surroundings = &snapshot.surroundings;
    let net = |address| canonical(IpNet::from(address));
    let servers = surroundings.name_servers.iter().copied().map(net);
    let servers = servers.map(|net| (net, Exemption::NameServer));
    let own = surroundings.addresses.iter().copied().map(net);
    let internal = snapshot.node.internal.iter();
    let internal = internal.map(|net| canonical(net.trunc()));
    let whole = own.chain(internal).map(|net| (net, Exemption::Destination));
    // What is exempt on every port is so on that of name servers.
    by_longest(&servers.chain(whole).collect())
}
