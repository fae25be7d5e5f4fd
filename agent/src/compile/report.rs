//! The program as `shunt compile -o json` shows it: what the kernel would hold, in the words of the objects. The field
//! names are stable: others script against them.

mod policy;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::api::Diagnostic;

pub use policy::{
    ReportedConnectionPool, ReportedKeepalive, ReportedOutlierDetection, ReportedPolicy,
    ReportedWarmup,
};

use super::program::{Action, Compiled, Endpoint, Frontend, RefuseReason, Service, ServiceKey};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// By namespace, host and port.
    pub services: Vec<ReportedService>,
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedService {
    pub namespace: String,
    pub host: String,
    pub port: u16,
    /// The route that is for some addresses of the host alone, where this is the service of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Who the clients are that it is for, where it is not what it is for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<String>,
    /// As Istio names it; empty where the entry leaves it open.
    pub protocol: String,
    pub resolution: String,
    #[serde(flatten)]
    pub policy: ReportedPolicy,
    /// `address:port` or `cidr:port`, IPv6 in brackets.
    pub frontends: Vec<String>,
    pub endpoints: Vec<ReportedEndpoint>,
    /// Why endpoints stand where they stand, in sentences with object and line.
    pub reasons: Vec<String>,
    /// Why connects are refused, where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedEndpoint {
    pub address: IpAddr,
    pub port: u16,
    /// Fraction of the service's new connections, from 0 to 1.
    pub share: f64,
    pub priority: u32,
    /// `region/zone/subzone`; empty where unknown.
    pub locality: String,
    pub healthy: bool,
    /// `healthy`, `warming`, `ejected` or `unhealthy`.
    pub health: &'static str,
    /// Why its share is what it is; absent where its weight says it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The subset of the host that it was chosen for, where a route names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    pub labels: BTreeMap<String, String>,
}

/// Shows what was compiled; `files` are the findings of the stages before, which come first.
pub fn report(compiled: &Compiled, files: &[Diagnostic]) -> Report {
    let program = &compiled.program;
    let mut frontends: BTreeMap<&ServiceKey, Vec<&Frontend>> = BTreeMap::new();
    for (frontend, key) in &program.frontends {
        frontends.entry(key).or_default().push(frontend);
    }
    let services = program.services.iter().map(|(key, service)| {
        let frontends = frontends.remove(key).unwrap_or_default();
        reported(key, service, &frontends)
    });
    Report {
        services: services.collect(),
        diagnostics: files
            .iter()
            .chain(&*compiled.diagnostics)
            .cloned()
            .collect(),
    }
}

fn reported(key: &ServiceKey, service: &Service, frontends: &[&Frontend]) -> ReportedService {
    let total = service.total();
    ReportedService {
        namespace: key.namespace.to_string(),
        host: key.host.to_string(),
        port: key.port,
        route: key.route.as_deref().map(str::to_owned),
        clients: key.clients.as_deref().map(str::to_owned),
        protocol: service.protocol.to_string(),
        resolution: service.resolution.to_string(),
        policy: ReportedPolicy::of(service),
        frontends: frontends.iter().map(ToString::to_string).collect(),
        endpoints: service
            .endpoints
            .iter()
            .map(|endpoint| reported_endpoint(endpoint, service, total))
            .collect(),
        reasons: service.explanation(),
        refused: match service.action {
            Action::Balance | Action::Original { .. } => None,
            Action::Refuse(reason) => Some(refusal(reason)),
        },
    }
}

fn reported_endpoint(endpoint: &Endpoint, service: &Service, total: u64) -> ReportedEndpoint {
    let cluster = service.clusters.get(endpoint.cluster as usize);
    #[expect(
        clippy::cast_precision_loss,
        reason = "shares and totals are below 2^32, which a double holds exactly"
    )]
    let share = endpoint.share as f64 / total.max(1) as f64;
    ReportedEndpoint {
        address: endpoint.address,
        port: endpoint.port,
        share,
        priority: endpoint.priority,
        locality: endpoint.locality.to_string(),
        healthy: endpoint.vital.is_healthy(),
        health: endpoint.vital.name(),
        why: endpoint.why(None),
        subset: cluster.and_then(|cluster| cluster.subset.as_deref().map(str::to_owned)),
        labels: (*endpoint.labels).clone(),
    }
}

const fn refusal(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::TlsOrigination => "TLS_ORIGINATION",
        RefuseReason::UnixSocket => "UNIX_SOCKET",
        RefuseReason::NetworkGateway => "NETWORK_GATEWAY",
        RefuseReason::Passthrough => "PASSTHROUGH",
        RefuseReason::Denied => "DENIED",
    }
}
