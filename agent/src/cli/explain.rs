//! `shunt explain`: what happens to a connect and why, as the running agent or the files say.

use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::compile::Judge;
use crate::dataplane::Limits;
use crate::dataplane::{Counts, MemoryDataplane};
use crate::health::Records;
use crate::observe::explain::{
    ClientName, ConnectView, Sight, Transport, VerdictView, explain as explain_in,
};
use crate::observe::view::Live;
use crate::observe::{Explanation, Question};

use super::args::{ExplainArgs, ReportFormat};
use super::client;
use super::exit::Exit;
use super::findings;
use super::offline::Offline;
use super::output::{self, Palette, Table};

pub(super) fn explain(args: &ExplainArgs) -> Result<Exit> {
    let question = Question {
        target: args.target.clone(),
        transport: args.udp.then_some(Transport::Udp),
        from: args.from.as_deref().map(client_name).transpose()?,
        count: args.count,
    };
    let (explanation, exit) = if args.config_dir.is_empty() {
        let explanation = client::explain(&args.socket.socket, question)?;
        (explanation, Exit::Success)
    } else {
        offline(args, &question)?
    };
    output::print(&match args.output {
        ReportFormat::Text => render(&explanation),
        ReportFormat::Json => output::json(&explanation)?,
    })?;
    Ok(exit)
}

/// A workload, a cgroup, or that of a process.
fn client_name(text: &str) -> Result<ClientName> {
    let Ok(process) = text.parse::<u32>() else {
        return Ok(text.parse()?);
    };
    let file = format!("/proc/{process}/cgroup");
    let lines = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    let path = lines.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.with_context(|| format!("process {process} is in no cgroup v2"))?;
    Ok(path.parse()?)
}

/// Decides over tables in memory, which are filled as the kernel's would be.
fn offline(args: &ExplainArgs, question: &Question) -> Result<(Explanation, Exit)> {
    let offline = Offline::build(&args.config_dir, &args.node, &args.assumed)?;
    let mut dataplane = MemoryDataplane::in_memory(&Limits::default());
    let mut found = offline.findings();
    found.extend(dataplane.apply(&offline.compiled.program).diagnostics);
    if !found.is_empty() {
        let text = findings::render(&found, Palette::for_stream(&io::stderr()));
        output::remark(text.trim_end());
    }
    let sight = Sight {
        tables: dataplane.tables(),
        names: dataplane.names(),
        compiled: &offline.compiled,
        judge: &Judge::new(&offline.snapshot),
        live: Live {
            counts: &Counts::default(),
            ejections: &Records::default(),
            clock: Duration::ZERO,
        },
    };
    let explanation = explain_in(&sight, question, random_words());
    let exit = if offline.unparsable {
        Exit::Unparsable
    } else {
        Exit::Success
    };
    Ok((explanation, exit))
}

/// 32 uniform bits at each call: half of a keyed hash of a counter.
fn random_words() -> impl FnMut() -> u32 {
    let key = RandomState::new();
    let mut counter = 0u64;
    move || {
        counter += 1;
        let [a, b, c, d, ..] = key.hash_one(counter).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

fn render(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.target);
    for step in &explanation.steps {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {step}");
    }
    if let Some(suggestion) = &explanation.suggestion {
        let _ = writeln!(text, "  Did you mean {suggestion}?");
    }
    for connect in &explanation.connects {
        text.push('\n');
        text.push_str(&paragraph(connect));
    }
    text
}

fn paragraph(connect: &ConnectView) -> String {
    let to = SocketAddr::new(connect.address, connect.port);
    let mut text = format!(
        "connect to {to} ({}): {}\n",
        connect.transport,
        verdict(&connect.verdict)
    );
    for (index, step) in connect.steps.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {}. {step}", index + 1);
    }
    if let Some(object) = &connect.object {
        let _ = writeln!(text, "  from {object}");
    }
    if !connect.endpoints.is_empty() {
        text.push_str(&output::indent(&endpoints(connect)));
    }
    if !connect.distribution.is_empty() {
        text.push_str(&output::indent(&distribution(connect)));
    }
    text
}

fn verdict(verdict: &VerdictView) -> String {
    match verdict {
        VerdictView::Pass => "not redirected".to_owned(),
        VerdictView::Original {
            original_port: None,
        } => "passed to the original address".to_owned(),
        VerdictView::Original {
            original_port: Some(port),
        } => {
            format!("passed to the original address, port {port}")
        }
        VerdictView::Rewrite => "sent to one of the endpoints".to_owned(),
        VerdictView::Ask => "answered by the agent's name server".to_owned(),
        VerdictView::Deny { errno, reason } => format!("refused with {errno}: {reason}"),
    }
}

fn endpoints(connect: &ConnectView) -> String {
    let has_subsets = connect.endpoints.iter().any(|e| e.subset.is_some());
    let mut header = vec![
        "ENDPOINT", "SHARE", "PRIORITY", "LOCALITY", "HEALTH", "OPEN",
    ];
    header.extend(has_subsets.then_some("SUBSET"));
    header.extend(["FROM", "WHY"]);
    let mut table = Table::with_header(&header);
    for endpoint in &connect.endpoints {
        let mut row = vec![
            SocketAddr::new(endpoint.address, endpoint.port).to_string(),
            output::percent(endpoint.share),
            endpoint.priority.to_string(),
            endpoint.locality.clone(),
            endpoint.health.clone(),
            endpoint.open.to_string(),
        ];
        row.extend(has_subsets.then(|| endpoint.subset.clone().unwrap_or_default()));
        row.push(endpoint.object.to_string());
        row.push(endpoint.why.clone().unwrap_or_default());
        table.add(row);
    }
    table.render()
}

fn distribution(connect: &ConnectView) -> String {
    let mut table = Table::with_header(&["DRAWN", "CONNECTS", "FRACTION"]);
    for draws in &connect.distribution {
        table.add([
            SocketAddr::new(draws.address, draws.port).to_string(),
            draws.connects.to_string(),
            output::percent(draws.fraction),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::cli::get::tests::endpoint;
    use crate::observe::explain::DrawsView;

    use super::*;

    #[test]
    fn a_connect_is_explained_step_by_step() {
        let explanation = Explanation {
            target: "api.example.com:80".to_owned(),
            steps: vec!["the host is declared".to_owned()],
            connects: vec![ConnectView {
                address: "240.240.0.17".parse().unwrap(),
                port: 80,
                transport: Transport::Tcp,
                steps: vec!["first".to_owned(), "second".to_owned()],
                verdict: VerdictView::Rewrite,
                service: None,
                object: None,
                endpoints: vec![endpoint()],
                distribution: vec![DrawsView {
                    address: "10.0.0.1".parse().unwrap(),
                    port: 8080,
                    connects: 10,
                    fraction: 1.0,
                }],
            }],
            suggestion: None,
        };
        expect![[r"
            api.example.com:80
              the host is declared

            connect to 240.240.0.17:80 (TCP): sent to one of the endpoints
              1. first
              2. second
              ENDPOINT        SHARE  PRIORITY  LOCALITY  HEALTH   OPEN  SUBSET  FROM                                  WHY
              [fd00::1]:8080  33.3%  0         r/z       healthy  1     v1      ServiceEntry default/api, api.yaml:9  was ejected 2 times before
              DRAWN          CONNECTS  FRACTION
              10.0.0.1:8080  10        100.0%
        "]]
        .assert_eq(&render(&explanation));
    }

    #[test]
    fn random_words_differ() {
        let mut next = random_words();
        assert_ne!(next(), next());
    }
}
