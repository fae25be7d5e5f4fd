//! `shunt get`: lists of what the agent holds.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::api::Kind;
use crate::observe::view::ActionView;
use crate::observe::{
    DenialView, EndpointView, ObjectStatus, ObjectView, PolicyView, ServiceView, WorkloadView,
};

use super::args::{GetArgs, ListFormat, Listing};
use super::client;
use super::exit::Exit;
use super::output::{self, Table};

pub(super) fn get(args: &GetArgs) -> Result<Exit> {
    let socket = &args.socket.socket;
    let text = match args.what {
        Listing::Services => list(args, client::services(socket)?)?,
        Listing::Endpoints => list(args, client::endpoints(socket)?)?,
        Listing::Objects => list(args, client::objects(socket)?)?,
        Listing::Workloads => list(args, client::workloads(socket)?)?,
        Listing::Denials => list(args, client::denials(socket)?)?,
        Listing::Policies => list(args, client::policies(socket)?)?,
        Listing::Sidecars => list(args, objects_of(Kind::Sidecar, socket)?)?,
        Listing::ServiceEntries => list(args, objects_of(Kind::ServiceEntry, socket)?)?,
        Listing::WorkloadEntries => list(args, objects_of(Kind::WorkloadEntry, socket)?)?,
        Listing::DestinationRules => list(args, objects_of(Kind::DestinationRule, socket)?)?,
        Listing::VirtualServices => list(args, objects_of(Kind::VirtualService, socket)?)?,
    };
    output::print(&text)?;
    Ok(Exit::Success)
}

fn objects_of(kind: Kind, socket: &Path) -> Result<Vec<ObjectView>> {
    let kind = kind.to_string();
    let mut objects = client::objects(socket)?;
    objects.retain(|object| object.kind == kind);
    Ok(objects)
}

/// One line of a list.
trait Row: Serialize {
    const COLUMNS: &'static [&'static str];
    /// Follow the others in `-o wide`.
    const WIDE_COLUMNS: &'static [&'static str];

    fn namespace(&self) -> &str;
    /// One cell for each of `COLUMNS`.
    fn cells(&self) -> Vec<String>;
    /// One cell for each of `WIDE_COLUMNS`.
    fn wide_cells(&self) -> Vec<String>;
}

fn list<R: Row>(args: &GetArgs, mut rows: Vec<R>) -> Result<String> {
    if let Some(namespace) = &args.namespace {
        rows.retain(|row| row.namespace() == namespace);
    }
    match args.output {
        Some(ListFormat::Json) => output::json(&rows),
        Some(ListFormat::Yaml) => output::yaml(&rows),
        Some(ListFormat::Wide) => Ok(table(&rows, true, !args.no_headers)),
        None => Ok(table(&rows, false, !args.no_headers)),
    }
}

fn table<R: Row>(rows: &[R], is_wide: bool, has_header: bool) -> String {
    let wide = if is_wide { R::WIDE_COLUMNS } else { &[] };
    let mut table = if has_header {
        Table::with_header(&[R::COLUMNS, wide].concat())
    } else {
        Table::new()
    };
    for row in rows {
        let mut cells = row.cells();
        if is_wide {
            cells.extend(row.wide_cells());
        }
        table.add(cells);
    }
    table.render()
}

fn joined<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(",")
}

/// Nothing for what is not there.
fn shown(item: Option<impl ToString>) -> String {
    item.map_or_else(String::new, |item| item.to_string())
}

impl Row for ServiceView {
    const COLUMNS: &'static [&'static str] = &[
        "NAMESPACE",
        "HOST",
        "PORT",
        "PROTOCOL",
        "RESOLUTION",
        "VIP",
        "ENDPOINTS",
        "ACTION",
        "CONNECTS",
        "DENIED",
    ];
    const WIDE_COLUMNS: &'static [&'static str] = &[
        "LOAD-BALANCER",
        "EJECTED",
        "OPEN",
        "MAX",
        "ROUTE",
        "CLIENTS",
        "FRONTENDS",
        "OBJECT",
        "ORIGIN",
    ];

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn cells(&self) -> Vec<String> {
        let action = match &self.action {
            ActionView::Balance => "balance",
            ActionView::Original { .. } => "original",
            ActionView::Refuse { .. } => "refuse",
        };
        let protocol = if self.protocol.is_empty() {
            &self.transport
        } else {
            &self.protocol
        };
        vec![
            self.namespace.clone(),
            self.host.clone(),
            self.port.to_string(),
            protocol.clone(),
            self.resolution.clone(),
            joined(&self.vips),
            self.endpoint_count.to_string(),
            action.to_owned(),
            self.connects.to_string(),
            self.denied.to_string(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            self.load_balancer.clone(),
            self.ejected_count.to_string(),
            self.open.to_string(),
            shown(self.max_connections),
            self.route.clone().unwrap_or_default(),
            self.clients.clone().unwrap_or_default(),
            self.frontends.join(","),
            self.object.name.clone(),
            format!("{}:{}", self.object.file, self.object.line),
        ]
    }
}

impl Row for EndpointView {
    const COLUMNS: &'static [&'static str] = &[
        "ENDPOINT",
        "HEALTH",
        "SHARE",
        "PRIORITY",
        "LOCALITY",
        "CONNECTS",
        "OPEN",
        "NAMESPACE",
        "HOST",
        "PORT",
    ];
    const WIDE_COLUMNS: &'static [&'static str] = &[
        "EJECTIONS",
        "SUCCEEDED",
        "REFUSED",
        "TIMED-OUT",
        "LATENCY",
        "CLIENTS",
        "DESTINATION",
        "SUBSET",
        "RESOLVED-FROM",
        "LABELS",
        "OBJECT",
        "ORIGIN",
        "WHY",
    ];

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn cells(&self) -> Vec<String> {
        vec![
            SocketAddr::new(self.address, self.port).to_string(),
            self.health.clone(),
            output::percent(self.share),
            self.priority.to_string(),
            self.locality.clone(),
            self.connects.to_string(),
            self.open.to_string(),
            self.namespace.clone(),
            self.host.clone(),
            self.service_port.to_string(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let outcomes = &self.outcomes;
        vec![
            self.ejection
                .as_ref()
                .map_or(0, |ejection| ejection.count)
                .to_string(),
            outcomes.succeeded.to_string(),
            outcomes.refused.to_string(),
            outcomes.timed_out.to_string(),
            shown(outcomes.latency_ms.map(|ms| format!("{ms:.2}ms"))),
            self.clients.clone().unwrap_or_default(),
            self.destination.clone(),
            self.subset.clone().unwrap_or_default(),
            self.hostname.clone().unwrap_or_default(),
            labels.collect::<Vec<String>>().join(","),
            self.object.name.clone(),
            format!("{}:{}", self.object.file, self.object.line),
            self.why.clone().unwrap_or_default(),
        ]
    }
}

impl Row for ObjectView {
    const COLUMNS: &'static [&'static str] =
        &["KIND", "NAMESPACE", "NAME", "STATUS", "FINDINGS", "ORIGIN"];
    const WIDE_COLUMNS: &'static [&'static str] = &["REASON"];

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn cells(&self) -> Vec<String> {
        let status = match &self.status {
            ObjectStatus::Programmed => "Programmed",
            ObjectStatus::Shadowed { .. } => "Shadowed",
            ObjectStatus::Rejected { .. } => "Rejected",
            ObjectStatus::LastGood { .. } => "LastGood",
        };
        vec![
            self.kind.clone(),
            self.namespace.clone(),
            self.name.clone(),
            status.to_owned(),
            self.findings.len().to_string(),
            format!("{}:{}", self.file, self.line),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![match &self.status {
            ObjectStatus::Programmed => String::new(),
            ObjectStatus::Shadowed { by } => format!("by {by}"),
            ObjectStatus::Rejected { reason } | ObjectStatus::LastGood { reason } => reason.clone(),
        }]
    }
}

impl Row for WorkloadView {
    const COLUMNS: &'static [&'static str] = &[
        "NAMESPACE",
        "NAME",
        "CGROUP",
        "FOUND",
        "OUTBOUND",
        "FRONTENDS",
    ];
    const WIDE_COLUMNS: &'static [&'static str] =
        &["SCOPE", "SERVICE-ACCOUNT", "LABELS", "CGROUPS", "ORIGIN"];

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.namespace.clone(),
            self.name.clone(),
            self.pattern.clone(),
            self.cgroups.len().to_string(),
            self.outbound.clone(),
            self.frontends.to_string(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        vec![
            self.scope.clone(),
            self.service_account.clone(),
            labels.collect::<Vec<String>>().join(","),
            joined(&self.cgroups),
            format!("{}:{}", self.object.file, self.object.line),
        ]
    }
}

impl Row for DenialView {
    const COLUMNS: &'static [&'static str] = &[
        "WORKLOAD",
        "DESTINATION",
        "PROTOCOL",
        "OUTCOME",
        "COUNT",
        "LAST",
    ];
    const WIDE_COLUMNS: &'static [&'static str] = &["CGROUP", "PROCESS", "REASON"];

    fn namespace(&self) -> &str {
        let workload = self.workload.as_deref().unwrap_or_default();
        workload.split('/').next().unwrap_or_default()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.workload.clone().unwrap_or_else(|| "-".to_owned()),
            self.destination.to_string(),
            self.protocol.clone(),
            self.outcome.clone(),
            self.count.to_string(),
            format!("{}s", self.age_seconds),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            self.cgroup.clone().unwrap_or_default(),
            self.process.to_string(),
            self.reason.clone(),
        ]
    }
}

impl Row for PolicyView {
    const COLUMNS: &'static [&'static str] = &[
        "NAMESPACE",
        "NAME",
        "ACTION",
        "SCOPE",
        "RULES",
        "HITS",
        "UNMATCHED",
    ];
    const WIDE_COLUMNS: &'static [&'static str] = &["DRY-RUN", "ORIGIN"];

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.namespace.clone(),
            self.name.clone(),
            self.action.clone(),
            self.scope.clone(),
            self.rules.to_string(),
            self.hits.to_string(),
            self.unmatched.to_string(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            self.dry_run.to_string(),
            format!("{}:{}", self.object.file, self.object.line),
        ]
    }
}

#[cfg(test)]
pub(super) mod tests;
