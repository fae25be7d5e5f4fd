//! `shunt compile`: what the kernel would hold for files.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use anyhow::Result;

use crate::compile::report::ReportedService;
use crate::compile::{Report, report};

use super::args::{CompileArgs, CompileFormat};
use super::exit::Exit;
use super::findings;
use super::offline::Offline;
use super::output::{self, Palette, Table};

pub(super) fn compile(args: &CompileArgs) -> Result<Exit> {
    let (files, answers) = (&args.offline, &args.resolve.resolve);
    let offline = Offline::build(&files.paths, &files.node, answers)?;
    let found = offline.findings();
    let report = Report {
        diagnostics: found,
        ..report(&offline.compiled, &[])
    };
    match args.output {
        CompileFormat::Json => output::print(&output::json(&report)?)?,
        CompileFormat::Text => {
            output::print(&render(&report.services))?;
            let palette = Palette::for_stream(&io::stderr());
            let remarks = findings::render(&report.diagnostics, palette);
            if !remarks.is_empty() {
                output::remark(remarks.trim_end());
            }
        }
    }
    Ok(Exit::of_findings(offline.unparsable, &report.diagnostics))
}

/// A paragraph for each service: what it is, what leads to it, and where it leads.
fn render(services: &[ReportedService]) -> String {
    let paragraphs: Vec<String> = services.iter().map(paragraph).collect();
    paragraphs.join("\n")
}

fn paragraph(service: &ReportedService) -> String {
    let ReportedService {
        namespace,
        host,
        port,
        protocol,
        resolution,
        load_balancer,
        frontends,
        endpoints,
        refused,
    } = service;
    let protocol = if protocol.is_empty() {
        "any protocol"
    } else {
        protocol
    };
    let mut text =
        format!("{namespace}/{host}:{port}  {protocol}  {resolution}  {load_balancer}\n");
    for frontend in frontends {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  from {frontend}");
    }
    match refused {
        Some(reason) => {
            let _ = writeln!(text, "  refused: {reason}");
        }
        None if resolution == "NONE" => text.push_str("  to the original address\n"),
        None if endpoints.is_empty() => text.push_str("  refused: no endpoint\n"),
        None => text.push_str(&output::indent(&endpoint_table(service))),
    }
    text
}

fn endpoint_table(service: &ReportedService) -> String {
    let mut table = Table::with_header(&[
        "ENDPOINT", "SHARE", "PRIORITY", "LOCALITY", "HEALTH", "LABELS",
    ]);
    for endpoint in &service.endpoints {
        let labels = endpoint
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        table.add([
            SocketAddr::new(endpoint.address, endpoint.port).to_string(),
            output::percent(endpoint.share),
            endpoint.priority.to_string(),
            endpoint.locality.clone(),
            output::health(endpoint.healthy).to_owned(),
            labels.collect::<Vec<String>>().join(","),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use crate::compile::report::ReportedEndpoint;

    use super::*;

    fn service(endpoints: Vec<ReportedEndpoint>) -> ReportedService {
        ReportedService {
            namespace: "default".to_owned(),
            host: "api.example.com".to_owned(),
            port: 80,
            protocol: "HTTP".to_owned(),
            resolution: "STATIC".to_owned(),
            load_balancer: "RANDOM",
            frontends: vec!["240.240.0.17:80".to_owned(), "[2001:2::11]:80".to_owned()],
            endpoints,
            refused: None,
        }
    }

    fn endpoint(address: &str, share: f64) -> ReportedEndpoint {
        ReportedEndpoint {
            address: address.parse().unwrap(),
            port: 8080,
            share,
            priority: 0,
            locality: String::new(),
            healthy: true,
            labels: BTreeMap::from([("app".to_owned(), "api".to_owned())]),
        }
    }

    #[test]
    fn a_service_shows_its_frontends_and_the_shares_of_its_endpoints() {
        let service = service(vec![
            endpoint("10.0.0.1", 2.0 / 3.0),
            endpoint("fd00::1", 1.0 / 3.0),
        ]);
        expect![[r"
            default/api.example.com:80  HTTP  STATIC  RANDOM
              from 240.240.0.17:80
              from [2001:2::11]:80
              ENDPOINT        SHARE  PRIORITY  LOCALITY  HEALTH   LABELS
              10.0.0.1:8080   66.7%  0         -         healthy  app=api
              [fd00::1]:8080  33.3%  0         -         healthy  app=api
        "]]
        .assert_eq(&render(&[service]));
    }

    #[test]
    fn a_service_without_endpoints_says_that_it_is_refused() {
        let closed = ReportedService {
            refused: Some("TLS_ORIGINATION"),
            ..service(Vec::new())
        };
        expect![[r"
            default/api.example.com:80  HTTP  STATIC  RANDOM
              from 240.240.0.17:80
              from [2001:2::11]:80
              refused: no endpoint

            default/api.example.com:80  HTTP  STATIC  RANDOM
              from 240.240.0.17:80
              from [2001:2::11]:80
              refused: TLS_ORIGINATION
        "]]
        .assert_eq(&render(&[service(Vec::new()), closed]));
    }
}
