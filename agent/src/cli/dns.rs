//! `shunt dns`: what the name server answers, and what it remembers.

use anyhow::Result;

use crate::nameserver::Cached;
use crate::observe::LookupView;

use super::args::{DnsCommand, LookupArgs, NameCacheArgs, ReportFormat};
use super::client;
use super::exit::Exit;
use super::output::{self, Table};

pub(super) fn dns(command: &DnsCommand) -> Result<Exit> {
    match command {
        DnsCommand::Lookup(args) => lookup(args),
        DnsCommand::Cache(args) => cache(args),
    }
}

fn lookup(args: &LookupArgs) -> Result<Exit> {
    let view = client::lookup(&args.socket.socket, &args.name, args.kind)?;
    output::print(&match args.output {
        ReportFormat::Text => render_lookup(&args.name, &view),
        ReportFormat::Json => output::json(&view)?,
    })?;
    Ok(Exit::Success)
}

fn cache(args: &NameCacheArgs) -> Result<Exit> {
    let cached = client::name_cache(&args.socket.socket)?;
    output::print(&match args.output {
        ReportFormat::Text => render_cache(&cached),
        ReportFormat::Json => output::json(&cached)?,
    })?;
    Ok(Exit::Success)
}

fn render_lookup(name: &str, view: &LookupView) -> String {
    let mut text = format!("{name}: {} ({})\n", view.code, view.source);
    if !view.answers.is_empty() {
        let mut table = Table::with_header(&["NAME", "TTL", "TYPE", "DATA"]);
        for answer in &view.answers {
            table.add([
                answer.name.clone(),
                answer.ttl.to_string(),
                answer.kind.clone(),
                answer.data.clone(),
            ]);
        }
        text += &table.render();
    }
    text
}

fn render_cache(cached: &[Cached]) -> String {
    let mut table = Table::with_header(&["NAME", "TYPE", "TTL", "CODE", "ANSWERS", "SERVER"]);
    for entry in cached {
        table.add([
            entry.name.clone(),
            entry.kind.clone(),
            entry.ttl.to_string(),
            entry.code.clone(),
            entry.answers.join(","),
            entry.server.to_string(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::nameserver::Source;
    use crate::observe::AnswerView;

    use super::*;

    #[test]
    fn an_answer_says_where_it_comes_from() {
        let view = LookupView {
            code: "No Error".to_owned(),
            source: Source::Cache("10.0.0.2:53".parse().unwrap()),
            answers: vec![AnswerView {
                name: "api.example.com.".to_owned(),
                ttl: 12,
                kind: "A".to_owned(),
                data: "192.0.2.1".to_owned(),
            }],
        };
        expect![[r"
            api.example.com: No Error (cache, from 10.0.0.2:53)
            NAME              TTL  TYPE  DATA
            api.example.com.  12   A     192.0.2.1
        "]]
        .assert_eq(&render_lookup("api.example.com", &view));
    }
}
