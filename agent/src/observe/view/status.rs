//! The agent as a whole: is it up, is all of what it was told in effect, and if not, why.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::api::{Diagnostic, Severity};
use crate::compile::codes;
use crate::dataplane::{Counts, Fill, ProgramFigures};
use crate::model::Vital;
use crate::nameserver::Stats;

use super::super::State;
use super::drift::DriftView;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    pub version: String,
    /// Counts updates; 0 before the first.
    pub generation: u64,
    /// Whether the programs are attached.
    pub ready: bool,
    /// Whether something that the agent was told is not in effect, or may be out of date.
    pub degraded: bool,
    /// Why, in sentences; empty unless degraded.
    pub reasons: Vec<String>,
    /// Seconds since 1970, as all times here.
    pub started: u64,
    pub uptime_seconds: u64,
    pub last_update: u64,
    /// What the last update took, in milliseconds.
    pub took_ms: f64,
    pub cgroups: Vec<PathBuf>,
    pub objects: usize,
    pub services: usize,
    pub sources: Vec<SourceView>,
    pub names: Vec<NameView>,
    #[serde(default)]
    pub name_server: Stats,
    #[serde(default)]
    pub closed: ClosedView,
    pub programs: Vec<ProgramView>,
    pub maps: Vec<MapView>,
    /// What somebody else has changed of programs and maps.
    #[serde(default)]
    pub drift: DriftView,
    pub totals: TotalsView,
    #[serde(default)]
    pub health: HealthView,
    pub findings: FindingsView,
}

/// A directory of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceView {
    pub path: PathBuf,
    /// Whether all that was there at the start has been told.
    pub synced: bool,
    pub files: usize,
    pub last_read: Option<u64>,
    /// Why it cannot be listed; its objects stay in force.
    pub failure: Option<String>,
    /// Why changes are found by polling only.
    pub watch_failure: Option<String>,
    pub unreadable: Vec<UnreadableView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableView {
    pub file: String,
    pub reason: String,
}

/// A host name that is kept resolved, in one address family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameView {
    pub host: String,
    /// `A` or `AAAA`.
    pub record: String,
    /// Those of the last good answer.
    pub addresses: Vec<IpAddr>,
    /// How long ago the last good answer came.
    pub age_seconds: Option<f64>,
    /// How long until it is asked again; absent while an answer is awaited.
    pub next_seconds: Option<f64>,
    /// Failures since the last good answer.
    pub failures: u32,
    /// Why there is no address, or why the newest attempt failed.
    pub reason: Option<String>,
}

/// A program on a cgroup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramView {
    pub name: String,
    pub cgroup: PathBuf,
    /// Not once the cgroup is gone.
    #[serde(default = "is_attached")]
    pub attached: bool,
    /// Counted while `kernel.bpf_stats_enabled` is 1.
    pub runs: u64,
    /// Nanoseconds per run; absent when no run was counted.
    pub ns_per_run: Option<f64>,
    pub verified_instructions: u64,
}

/// Of agents that do not say.
const fn is_attached() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MapView {
    pub name: String,
    pub used: u64,
    pub capacity: u64,
}

/// Sockets that the agent has closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedView {
    pub udp: u64,
    pub tcp: u64,
}

/// Connects that belong to no service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TotalsView {
    /// To an address in a VIP range with a port that nothing declares.
    pub port_not_declared: u64,
    /// Redirected, but `getpeername` shows the endpoint.
    pub flows_full: u64,
    /// Redirected, and remembered at the socket, as there was no free line in the map of flows.
    #[serde(default)]
    pub flows_stored: u64,
    /// Failed because the tables changed twice under them.
    pub torn: u64,
    /// Queries to a name server that no listener was left for: they went there.
    #[serde(default)]
    pub name_servers_full: u64,
    /// To services that had as many connections as they may: refused.
    #[serde(default)]
    pub overflows: u64,
    /// Connects denied because nobody registered their destination.
    pub not_registered: u64,
    /// Those that an audit let through.
    pub not_registered_audited: u64,
    /// Denials that found no room, and are counted but not listed.
    pub denials_lost: u64,
    /// Failed connects that the kernel could not tell of, so that outlier detection did not see them.
    #[serde(default)]
    pub events_lost: u64,
}

/// Endpoints by their health, over all services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthView {
    pub healthy: usize,
    pub warming: usize,
    pub ejected: usize,
    /// Their objects say so.
    pub unhealthy: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingsView {
    pub errors: usize,
    pub warnings: usize,
    pub infos: usize,
    /// Worst first, then by file and line.
    pub list: Vec<Diagnostic>,
}

/// What [`status`] shows beside the state.
#[derive(Clone, Debug)]
pub struct StatusInput<'a> {
    pub state: &'a State,
    pub now: SystemTime,
    pub sources: Vec<SourceView>,
    pub names: Vec<NameView>,
    pub name_server: Stats,
    pub closed: ClosedView,
    pub counts: &'a Counts,
    pub programs: &'a [ProgramFigures],
    pub fill: &'a [Fill],
    pub drift: DriftView,
}

pub fn status(input: StatusInput<'_>) -> StatusView {
    let StatusInput {
        state,
        now,
        sources,
        names,
        name_server,
        closed,
        counts,
        programs,
        fill,
        drift,
    } = input;
    let findings = findings(state);
    let totals = TotalsView {
        port_not_declared: counts.port_not_declared,
        flows_full: counts.flows_full,
        flows_stored: counts.flows_stored,
        torn: counts.torn,
        name_servers_full: counts.name_servers_full,
        overflows: counts.overflows,
        not_registered: counts.not_registered,
        not_registered_audited: counts.not_registered_audited,
        denials_lost: counts.denials_lost,
        events_lost: counts.events_lost,
    };
    let maps: Vec<MapView> = fill.iter().map(map_view).collect();
    let mut reasons = reasons(state, &sources, &findings, &maps);
    reasons.extend(drifted(&drift, programs));
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: state.generation,
        ready: state.ready,
        degraded: !reasons.is_empty(),
        reasons,
        started: unix_seconds(state.started),
        uptime_seconds: now
            .duration_since(state.started)
            .unwrap_or_default()
            .as_secs(),
        last_update: unix_seconds(state.updated),
        took_ms: state.took.as_secs_f64() * 1e3,
        cgroups: state.cgroups.clone(),
        objects: state.snapshot.objects.len(),
        services: state.compiled.program.services.len(),
        sources,
        names,
        name_server,
        closed,
        programs: programs.iter().map(program_view).collect(),
        maps,
        drift,
        totals,
        health: health(state),
        findings,
    }
}

fn health(state: &State) -> HealthView {
    let mut view = HealthView::default();
    let services = state.compiled.program.services.values();
    for endpoint in services.flat_map(|service| &service.endpoints) {
        *match endpoint.vital {
            Vital::Healthy => &mut view.healthy,
            Vital::Warming(_) => &mut view.warming,
            Vital::Ejected => &mut view.ejected,
            Vital::Failing => &mut view.unhealthy,
        } += 1;
    }
    view
}

/// Why the agent is degraded.
fn reasons(
    state: &State,
    sources: &[SourceView],
    findings: &FindingsView,
    maps: &[MapView],
) -> Vec<String> {
    let mut reasons = Vec::new();
    if !state.ready {
        reasons.push("the programs are not attached yet".to_owned());
    }
    for source in sources {
        let path = source.path.display();
        if let Some(why) = &source.failure {
            reasons.push(format!("{path} cannot be read: {why}"));
        }
        if !source.unreadable.is_empty() {
            let count = source.unreadable.len();
            reasons.push(format!("{path}: {count} file(s) cannot be read"));
        }
    }
    // A host that no DNS server knows is usual, and clients reach it by its VIP; an endpoint is needed.
    let compiled = state.compiled.diagnostics.iter();
    let unresolved = compiled
        .filter(|d| d.code == codes::NAME_UNRESOLVED)
        .count();
    if unresolved > 0 {
        reasons.push(format!("{unresolved} name(s) of endpoints do not resolve"));
    }
    if findings.errors > 0 {
        let count = findings.errors;
        reasons.push(format!("{count} finding(s) of severity error"));
    }
    for map in maps.iter().filter(|map| map.used >= map.capacity) {
        reasons.push(format!("{} is full ({})", map.name, map.capacity));
    }
    reasons
}

/// The same by what somebody else has changed.
fn drifted(drift: &DriftView, programs: &[ProgramFigures]) -> Vec<String> {
    let gone = programs.iter().filter(|program| !program.is_attached);
    let gone: BTreeSet<&PathBuf> = gone.map(|program| &program.cgroup).collect();
    let gone = gone.into_iter().map(|cgroup| {
        let cgroup = cgroup.display();
        format!("the cgroup {cgroup} is gone, and programs are attached again once it is back")
    });
    gone.chain(drift.standing.iter().cloned()).collect()
}

fn findings(state: &State) -> FindingsView {
    let mut list: Vec<Diagnostic> = state.diagnostics().cloned().collect();
    list.sort_by(|a, b| (a.severity, a).cmp(&(b.severity, b)));
    let count = |severity| list.iter().filter(|d| d.severity == severity).count();
    FindingsView {
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        infos: count(Severity::Info),
        list,
    }
}

fn map_view(fill: &Fill) -> MapView {
    MapView {
        name: fill.map.to_owned(),
        used: fill.used,
        capacity: fill.capacity,
    }
}

#[expect(clippy::cast_precision_loss, reason = "an average for people to read")]
fn program_view(figures: &ProgramFigures) -> ProgramView {
    let runs = figures.runs;
    ProgramView {
        name: figures.name.to_owned(),
        cgroup: figures.cgroup.clone(),
        attached: figures.is_attached,
        runs,
        ns_per_run: (runs > 0).then(|| figures.nanoseconds as f64 / runs as f64),
        verified_instructions: figures.verified_instructions,
    }
}

/// Whole seconds since 1970; 0 before.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}
