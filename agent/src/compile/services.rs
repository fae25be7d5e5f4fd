//! One service: from a declared port to an action, endpoints with shares, and the reasons for them.

use std::sync::Arc;

use crate::api::{Diagnostic, Meta, Origin};
use crate::model::ServiceVitals;

use super::cluster::{self, Supplies};
use super::destinations::Destinations;
use super::hosts::{Declared, Host};
use super::program::{Action, RefuseReason, Service, ServiceKey};
use super::routed::{self, Places, Routed};
use super::routes::{Asked, Routes};

/// A service, and the rule that asked for what cannot be done.
pub(super) struct Built<'a> {
    pub(super) key: ServiceKey,
    pub(super) service: Service,
    pub(super) refused_by: Option<(&'a Meta, RefuseReason)>,
}

/// Where connects may be led to instead of the host's own endpoints.
pub(super) struct Routing<'r, 'h, 'a> {
    pub(super) routes: &'r Routes<'a>,
    pub(super) places: &'r Places<'h, 'a>,
    pub(super) diagnostics: &'r mut Vec<Diagnostic>,
}

/// Builds the service of one declared port of `host`, which clients find at `destinations`.
pub(super) fn build<'a>(
    host: &Host<'a>,
    declared: &Declared<'a>,
    destinations: &Destinations,
    routing: Routing<'_, '_, 'a>,
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
    let asked = Asked {
        host: &host.name,
        port: port.number,
        protocol: port.protocol,
        addresses: &destinations.declared(),
    };
    let built = match routing.routes.find(&asked, routing.diagnostics) {
        Some(taken) => {
            let Routing {
                places,
                diagnostics,
                ..
            } = routing;
            routed::build(&taken, port.number, places, supplies, diagnostics)
        }
        None => own(host, declared, supplies),
    };
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
        Action::Refuse(reason @ RefuseReason::Passthrough) => {
            built.passthrough.map(|meta| (meta, reason))
        }
        _ => built.refused_by,
    };
    let mut service = Service {
        protocol: port.protocol,
        port_name: port.name.clone(),
        resolution: entry.spec.resolution,
        action,
        endpoints: built.endpoints,
        clusters: built.clusters,
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

/// The host's own endpoints, where no route leads elsewhere.
fn own<'a>(host: &Host<'a>, declared: &Declared<'a>, supplies: Supplies<'_, 'a>) -> Routed<'a> {
    let policies = supplies.policies;
    let applied = policies.of_host(&host.namespace, &host.name, declared.port.number);
    let built = cluster::build(host, declared, applied, supplies);
    let refused_by = match built.action {
        Action::Refuse(reason @ RefuseReason::TlsOrigination) => {
            built.applied.tls.map(|meta| (meta, reason))
        }
        _ => None,
    };
    Routed {
        action: built.action,
        clusters: vec![built.cluster],
        endpoints: built.endpoints,
        refused_by,
        passthrough: built.applied.passthrough,
        reasons: built.reasons,
    }
}
