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
    let files = &args.offline;
    let offline = Offline::build(&files.paths, &files.node, &args.assumed)?;
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
        route,
        clients,
        protocol,
        resolution,
        policy,
        frontends,
        endpoints,
        reasons: _,
        refused,
    } = service;
    let protocol = if protocol.is_empty() {
        "any protocol"
    } else {
        protocol
    };
    let load_balancer = policy.load_balancer;
    let mut text =
        format!("{namespace}/{host}:{port}  {protocol}  {resolution}  {load_balancer}\n");
    if let Some(route) = route {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  by {route}");
    }
    if let Some(clients) = clients {
        let _ = writeln!(text, "  for clients of: {clients}");
    }
    for frontend in frontends {
        let _ = writeln!(text, "  from {frontend}");
    }
    for line in policy.lines() {
        let _ = writeln!(text, "  {line}");
    }
    match refused {
        Some(reason) => {
            let _ = writeln!(text, "  refused: {reason}");
        }
        None if load_balancer == "PASSTHROUGH" => text.push_str("  to the original address\n"),
        None if endpoints.is_empty() => text.push_str("  refused: no endpoint\n"),
        None => text.push_str(&output::indent(&endpoint_table(service))),
    }
    text
}

fn endpoint_table(service: &ReportedService) -> String {
    let has_subsets = service.endpoints.iter().any(|e| e.subset.is_some());
    let mut header = vec![
        "ENDPOINT", "SHARE", "PRIORITY", "LOCALITY", "HEALTH", "LABELS",
    ];
    header.extend(has_subsets.then_some("SUBSET"));
    let has_reasons = service.endpoints.iter().any(|e| e.why.is_some());
    header.extend(has_reasons.then_some("WHY"));
    let mut table = Table::with_header(&header);
    for endpoint in &service.endpoints {
        let labels = endpoint
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let mut row = vec![
            SocketAddr::new(endpoint.address, endpoint.port).to_string(),
            output::percent(endpoint.share),
            endpoint.priority.to_string(),
            endpoint.locality.clone(),
            endpoint.health.to_owned(),
            labels.collect::<Vec<String>>().join(","),
        ];
        if has_subsets {
            row.push(endpoint.subset.clone().unwrap_or_default());
        }
        if has_reasons {
            row.push(endpoint.why.clone().unwrap_or_default());
        }
        table.add(row);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use crate::compile::report::{
        ReportedConnectionPool, ReportedEndpoint, ReportedKeepalive, ReportedOutlierDetection,
        ReportedPolicy, ReportedWarmup,
    };

    use super::*;

    fn service(endpoints: Vec<ReportedEndpoint>) -> ReportedService {
        ReportedService {
            namespace: "default".to_owned(),
            host: "api.example.com".to_owned(),
            port: 80,
            route: None,
            clients: None,
            protocol: "HTTP".to_owned(),
            resolution: "STATIC".to_owned(),
            policy: ReportedPolicy {
                load_balancer: "LEAST_REQUEST",
                ..ReportedPolicy::default()
            },
            frontends: vec!["240.240.0.17:80".to_owned(), "[2001:2::11]:80".to_owned()],
            endpoints,
            reasons: Vec::new(),
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
            health: "healthy",
            why: None,
            subset: None,
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
            default/api.example.com:80  HTTP  STATIC  LEAST_REQUEST
              from 240.240.0.17:80
              from [2001:2::11]:80
              ENDPOINT        SHARE  PRIORITY  LOCALITY  HEALTH   LABELS
              10.0.0.1:8080   66.7%  0         -         healthy  app=api
              [fd00::1]:8080  33.3%  0         -         healthy  app=api
        "]]
        .assert_eq(&render(&[service]));
    }

    #[test]
    fn policies_health_and_subsets_are_shown_where_there_are_any() {
        let service = ReportedService {
            route: Some("VirtualService/default/v spec.tcp[0]".to_owned()),
            clients: Some("shop, rule 1 of AuthorizationPolicy pay/x".to_owned()),
            policy: ReportedPolicy {
                load_balancer: "ROUND_ROBIN",
                warmup: Some(ReportedWarmup {
                    duration: "60s".to_owned(),
                    minimum_percent: 10,
                    aggression: 1.0,
                }),
                connection_pool: Some(ReportedConnectionPool {
                    max_connections: Some(7),
                    connect_timeout: Some("250ms".to_owned()),
                    tcp_keepalive: Some(ReportedKeepalive::default()),
                    ..ReportedConnectionPool::default()
                }),
                outlier_detection: Some(ReportedOutlierDetection {
                    consecutive_failures: Some(5),
                    interval: "10s".to_owned(),
                    base_ejection_time: "30s".to_owned(),
                    max_ejection_percent: 10,
                    min_health_percent: 0,
                }),
            },
            ..service(vec![
                ReportedEndpoint {
                    subset: Some("v1".to_owned()),
                    ..endpoint("10.0.0.1", 1.0)
                },
                ReportedEndpoint {
                    healthy: false,
                    health: "ejected",
                    why: Some("taken to be ejected".to_owned()),
                    ..endpoint("10.0.0.2", 0.0)
                },
            ])
        };
        expect![[r"
            default/api.example.com:80  HTTP  STATIC  ROUND_ROBIN
              by VirtualService/default/v spec.tcp[0]
              for clients of: shop, rule 1 of AuthorizationPolicy pay/x
              from 240.240.0.17:80
              from [2001:2::11]:80
              warmup: 10% at first, all after 60s
              connectionPool: maxConnections 7, connectTimeout 250ms, tcpKeepalive on
              outlierDetection: ejects after 5 failed connects in a row, for 30s, at most 10% of the endpoints
              ENDPOINT       SHARE   PRIORITY  LOCALITY  HEALTH   LABELS   SUBSET  WHY
              10.0.0.1:8080  100.0%  0         -         healthy  app=api  v1      -
              10.0.0.2:8080  0.0%    0         -         ejected  app=api  -       taken to be ejected
        "]].assert_eq(&render(&[service]));
    }

    #[test]
    fn a_service_without_endpoints_says_that_it_is_refused() {
        let closed = ReportedService {
            refused: Some("TLS_ORIGINATION"),
            ..service(Vec::new())
        };
        expect![[r"
            default/api.example.com:80  HTTP  STATIC  LEAST_REQUEST
              from 240.240.0.17:80
              from [2001:2::11]:80
              refused: no endpoint

            default/api.example.com:80  HTTP  STATIC  LEAST_REQUEST
              from 240.240.0.17:80
              from [2001:2::11]:80
              refused: TLS_ORIGINATION
        "]]
        .assert_eq(&render(&[service(Vec::new()), closed]));
    }
}
