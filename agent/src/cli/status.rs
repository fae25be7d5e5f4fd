//! `shunt status`: one screen about the agent, and waiting until it is ready.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::builder::styling::AnsiColor;

use crate::dataplane::Pinned;
use crate::model::UnixTime;
use crate::observe::{ClientError, StatusView};

use super::args::{ReportFormat, StatusArgs};
use super::client;
use super::exit::Exit;
use super::output::{self, Palette, Table};

/// Between two questions while waiting.
const INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn status(args: &StatusArgs) -> Result<Exit> {
    let socket = &args.socket.socket;
    let view = match args.wait {
        Some(patience) => wait_until_ready(socket, patience),
        None => client::status(socket),
    };
    let view = view.map_err(|error| explain_absence(error, &args.bpf.bpf_dir))?;
    output::print(&match args.output {
        ReportFormat::Text => render(&view, Palette::for_stream(&io::stdout())),
        ReportFormat::Json => output::json(&view)?,
    })?;
    Ok(if view.ready {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// Says what goes on without an agent, where none answers.
fn explain_absence(error: anyhow::Error, bpf_dir: &Path) -> anyhow::Error {
    let is_absent = error
        .downcast_ref::<ClientError>()
        .is_some_and(|error| matches!(error, ClientError::NotRunning { .. }));
    let Ok(pinned) = Pinned::look(bpf_dir) else {
        return error;
    };
    if !is_absent || pinned.attachments == 0 {
        return error;
    }
    match pinned.agent {
        Some(agent) => error.context(format!(
            "process {agent} runs an agent, which does not answer on this socket"
        )),
        None => error.context(
            "no agent runs, but kernel programs of one that has ended still decide on connects as they did then, though not on \
             name resolution; `shunt run` goes on from there, `shunt cleanup` ends it",
        ),
    }
}

/// Asks until the agent is there and ready; after `patience`, what it says then.
fn wait_until_ready(socket: &Path, patience: Duration) -> Result<StatusView> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = client::status(socket);
        let is_worth_waiting = match &answer {
            Ok(view) => !view.ready,
            Err(error) => error
                .downcast_ref::<ClientError>()
                .is_some_and(|error| matches!(error, ClientError::NotRunning { .. })),
        };
        if !is_worth_waiting || Instant::now() >= deadline {
            return answer;
        }
        thread::sleep(INTERVAL);
    }
}

fn render(view: &StatusView, palette: Palette) -> String {
    let mut text = headline(view, palette);
    for reason in &view.reasons {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {} {reason}", palette.paint(AnsiColor::Yellow, "‼"));
    }
    text.push('\n');
    text.push_str(&figures(view).render());
    for (title, table) in [
        ("Names", names(view)),
        ("Programs", programs(view)),
        ("Maps", maps(view)),
        ("Repairs", repairs(view)),
    ] {
        if let Some(table) = table {
            let _ = write!(text, "\n{title}\n{}", table.render());
        }
    }
    text
}

fn headline(view: &StatusView, palette: Palette) -> String {
    let (color, state) = match (view.ready, view.degraded) {
        (false, _) => (AnsiColor::Red, "not ready"),
        (true, true) => (AnsiColor::Yellow, "ready, degraded"),
        (true, false) => (AnsiColor::Green, "ready"),
    };
    let uptime = humantime::format_duration(Duration::from_secs(view.uptime_seconds));
    let state = palette.paint(color, state);
    format!("shunt {}: {state}, up {uptime}\n", view.version)
}

fn figures(view: &StatusView) -> Table {
    let mut table = Table::new();
    let mut row = |name: &str, value: String| table.add([name.to_owned(), value]);
    for source in &view.sources {
        let path = source.path.display();
        let synced = if source.synced { "" } else { ", not read yet" };
        row(
            "directory",
            format!("{path}: {} files{synced}", source.files),
        );
        let troubles = source.failure.iter().chain(&source.watch_failure);
        troubles.for_each(|trouble| row("", trouble.clone()));
        for unreadable in &source.unreadable {
            row("", format!("{}: {}", unreadable.file, unreadable.reason));
        }
    }
    for cgroup in &view.cgroups {
        row("cgroup", cgroup.display().to_string());
    }
    row("objects", view.objects.to_string());
    row("services", view.services.to_string());
    let health = view.health;
    row(
        "endpoints",
        format!(
            "{} healthy, {} warming, {} ejected, {} unhealthy",
            health.healthy, health.warming, health.ejected, health.unhealthy
        ),
    );
    let found = &view.findings;
    row(
        "findings",
        format!(
            "{} errors, {} warnings, {} notes",
            found.errors, found.warnings, found.infos
        ),
    );
    row(
        "updates",
        format!("{}, the last took {:.1} ms", view.generation, view.took_ms),
    );
    let totals = view.totals;
    row(
        "undeclared port",
        format!("{} connects refused", totals.port_not_declared),
    );
    row(
        "flows full",
        format!(
            "{} connects whose peer name is the endpoint",
            totals.flows_full
        ),
    );
    row(
        "flows stored",
        format!(
            "{} connects remembered at their sockets",
            totals.flows_stored
        ),
    );
    row(
        "events lost",
        format!("{} failed connects not heard of", totals.events_lost),
    );
    row("overflow", format!("{} connects refused", totals.overflows));
    row(
        "registry",
        format!(
            "{} connects denied, {} audited, {} not listed",
            totals.not_registered, totals.not_registered_audited, totals.denials_lost
        ),
    );
    row("torn", format!("{} connects failed", totals.torn));
    row(
        "drift",
        format!(
            "{} repaired, {} not, in {} looks at all maps",
            view.drift.repaired,
            view.drift.standing.len(),
            view.drift.passes
        ),
    );
    row(
        "closed",
        format!(
            "{} UDP sockets, {} TCP connections",
            view.closed.udp, view.closed.tcp
        ),
    );
    name_server(view, row);
    table
}

fn name_server(view: &StatusView, mut row: impl FnMut(&str, String)) {
    let names = &view.name_server;
    row(
        "queries",
        format!(
            "{} by datagram, {} by connection, {} malformed",
            names.datagrams, names.streams, names.malformed
        ),
    );
    row(
        "answered",
        format!(
            "{} from hosts of ours, {} from the cache, {} stale, {} refused, {} not at all",
            names.own, names.cached, names.stale, names.refused, names.unanswered
        ),
    );
    row(
        "other servers",
        format!(
            "{} questions, {} failed, {:.1} ms on average, {:.1} ms at most, {} not captured",
            names.forwarded,
            names.failures,
            milliseconds(names.mean_wait),
            milliseconds(names.longest_wait),
            view.totals.name_servers_full
        ),
    );
    row(
        "learned",
        format!("{} answers, {} of them late", names.lessons, names.late),
    );
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}

fn names(view: &StatusView) -> Option<Table> {
    let mut table = Table::with_header(&[
        "NAME",
        "RECORD",
        "ADDRESSES",
        "AGE",
        "NEXT",
        "FAILURES",
        "REASON",
    ]);
    let seconds = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.0}s"));
    for name in &view.names {
        let addresses: Vec<String> = name.addresses.iter().map(ToString::to_string).collect();
        table.add([
            name.host.clone(),
            name.record.clone(),
            addresses.join(","),
            seconds(name.age_seconds),
            seconds(name.next_seconds),
            name.failures.to_string(),
            name.reason.clone().unwrap_or_default(),
        ]);
    }
    (!view.names.is_empty()).then_some(table)
}

fn programs(view: &StatusView) -> Option<Table> {
    let mut table = Table::with_header(&["PROGRAM", "CGROUP", "RUNS", "NS/RUN"]);
    for program in &view.programs {
        table.add([
            program.name.clone(),
            program.cgroup.display().to_string(),
            program.runs.to_string(),
            program
                .ns_per_run
                .map_or(String::new(), |ns| format!("{ns:.0}")),
        ]);
    }
    (!view.programs.is_empty()).then_some(table)
}

fn maps(view: &StatusView) -> Option<Table> {
    let mut table = Table::with_header(&["MAP", "USED", "CAPACITY"]);
    for map in &view.maps {
        table.add([
            map.name.clone(),
            map.used.to_string(),
            map.capacity.to_string(),
        ]);
    }
    (!view.maps.is_empty()).then_some(table)
}

fn repairs(view: &StatusView) -> Option<Table> {
    let mut table = Table::with_header(&["TIME", "PART", "FOUND", "WHAT", "DONE"]);
    for repair in &view.drift.repairs {
        let found = &repair.found;
        table.add([
            UnixTime(repair.time).to_string(),
            found.part.clone(),
            found.deviation.clone(),
            found.what.clone(),
            found.remedy.clone(),
        ]);
    }
    (!view.drift.repairs.is_empty()).then_some(table)
}

#[cfg(test)]
mod tests;
