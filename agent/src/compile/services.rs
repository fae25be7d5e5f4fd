//! The services of a declared port: one, or several where routes are for some of its addresses alone. From there to an action,
//! endpoints with shares, and the reasons for them.

use std::sync::Arc;

use crate::api::{Diagnostic, Meta, Origin};

use super::cluster::{self, Supplies};
use super::destinations::{Destinations, Part};
use super::hosts::{Declared, Host};
use super::program::{Action, RefuseReason, Service, ServiceKey};
use super::routed::{self, Places, Routed};
use super::routes::{Asked, Routes, Taken};

/// A service, and the rule that asked for what cannot be done.
pub(super) struct Built<'a> {
    pub(super) key: ServiceKey,
    pub(super) service: Service,
    pub(super) refused_by: Option<(&'a Meta, RefuseReason)>,
    /// What leads there.
    pub(super) part: Part,
}

/// Where connects may be led to instead of the host's own endpoints.
pub(super) struct Routing<'r, 'h, 'a> {
    pub(super) routes: &'r Routes<'a>,
    pub(super) places: &'r Places<'h, 'a>,
    pub(super) diagnostics: &'r mut Vec<Diagnostic>,
}

/// A declared port of a host, and where clients find it.
#[derive(Clone, Copy)]
pub(super) struct Declaration<'d, 'a> {
    pub(super) host: &'d Host<'a>,
    pub(super) declared: &'d Declared<'a>,
    pub(super) destinations: &'d Destinations,
}

/// Builds the services of one declared port. The last is that of all destinations which no route has for itself.
pub(super) fn build<'a>(
    declaration: Declaration<'_, 'a>,
    mut routing: Routing<'_, '_, 'a>,
    supplies: Supplies<'_, 'a>,
) -> Vec<Built<'a>> {
    let Declaration {
        host,
        declared,
        destinations,
    } = declaration;
    let found = routing.routes.find(&Asked {
        host: &host.name,
        port: declared.port.number,
        protocol: declared.port.protocol,
    });
    let (parts, rest) = destinations.divide(&found.branches);
    let mut taken: Vec<(Option<Arc<str>>, Option<Taken>, Part)> = found
        .branches
        .iter()
        .zip(parts)
        .filter(|(_, part)| !part.is_empty())
        .map(|(branch, part)| (Some(branch.taken.name().into()), Some(branch.taken), part))
        .collect();
    if !rest.is_empty() || taken.is_empty() || destinations.learns() {
        taken.push((None, found.rest, rest));
    } else if let [(name, ..)] = &mut taken[..] {
        // All that leads to the service is the route's.
        *name = None;
    }
    let taken = taken.into_iter();
    taken
        .map(|(route, taken, part)| {
            let routed = match taken {
                Some(taken) => routed::build(&taken, declared.port.number, &mut routing, supplies),
                None => own(host, declared, supplies),
            };
            let key = ServiceKey {
                namespace: Arc::clone(&host.namespace),
                host: Arc::clone(&host.name),
                port: declared.port.number,
                transport: declared.transport(),
                route,
                clients: None,
            };
            finish(key, declaration, routed, part)
        })
        .collect()
}

/// Refuses what cannot be done.
fn finish<'a>(
    key: ServiceKey,
    declaration: Declaration<'_, 'a>,
    built: Routed<'a>,
    part: Part,
) -> Built<'a> {
    let Declared {
        entry,
        port: declared,
        ..
    } = declaration.declared;
    let mut action = built.action;
    let mut reasons = built.reasons;
    let is_automatic = declaration.destinations.are_automatic();
    if is_automatic && matches!(action, Action::Original { .. }) {
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
    let service = Service {
        protocol: declared.protocol,
        port_name: declared.name.clone(),
        resolution: entry.spec.resolution,
        action,
        endpoints: built.endpoints,
        clusters: built.clusters,
        subject: None,
        access: None,
        unserved: 0,
        object: Arc::clone(&entry.id),
        origin: Origin {
            file: Arc::clone(&entry.meta.origin.file),
            line: declared.line,
        },
        reasons,
    };
    Built {
        key,
        service,
        refused_by,
        part,
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
