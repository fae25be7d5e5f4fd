//! One service: from a declared port to an action, endpoints with shares, and the reasons for them.

use std::sync::Arc;

use crate::api::{Meta, Origin};
use crate::model::ServiceVitals;

use super::cluster::{self, Supplies};
use super::destinations::Destinations;
use super::hosts::{Declared, Host};
use super::program::{Action, RefuseReason, Service, ServiceKey};

/// A service, and the rule that asked for what cannot be done.
pub(super) struct Built<'a> {
    pub(super) key: ServiceKey,
    pub(super) service: Service,
    pub(super) refused_by: Option<(&'a Meta, RefuseReason)>,
}

/// Builds the service of one declared port of `host`, which clients find at `destinations`.
pub(super) fn build<'a>(
    host: &Host<'a>,
    declared: &Declared<'a>,
    destinations: &Destinations,
    supplies: Supplies<'_, 'a>,
) -> Built<'a> {
    let entry = declared.entry;
    let port = declared.port;
    let key = ServiceKey {
        namespace: Arc::clone(&host.namespace),
        host: Arc::clone(&host.name),
        port: port.number,
        transport: declared.transport(),
    };
    let applied = supplies
        .policies
        .of_host(&host.namespace, &host.name, port.number);
    let built = cluster::build(host, declared, applied, supplies);
    let mut action = built.action;
    let mut reasons = built.reasons;
    if matches!(action, Action::Original { .. }) && destinations.are_automatic() {
        action = Action::Refuse(RefuseReason::Passthrough);
        reasons.push(
            "clients are told automatic addresses, at which there is nothing to pass connects on to; connects are refused"
                .to_owned(),
        );
    }
    let refused_by = match action {
        Action::Refuse(reason @ RefuseReason::TlsOrigination) => {
            built.applied.tls.map(|meta| (meta, reason))
        }
        Action::Refuse(reason @ RefuseReason::Passthrough) => {
            built.applied.passthrough.map(|meta| (meta, reason))
        }
        _ => None,
    };
    let mut service = Service {
        protocol: port.protocol,
        port_name: port.name.clone(),
        resolution: entry.spec.resolution,
        action,
        endpoints: built.endpoints,
        clusters: vec![built.cluster],
        unserved: 0,
        object: Arc::clone(&entry.id),
        origin: Origin {
            file: Arc::clone(&entry.meta.origin.file),
            line: port.line,
        },
        reasons,
    };
    let vitals = supplies.snapshot.vitals.get(&key);
    service.examine(vitals.map_or(&ServiceVitals::new(), |vitals| vitals));
    Built {
        key,
        service,
        refused_by,
    }
}
