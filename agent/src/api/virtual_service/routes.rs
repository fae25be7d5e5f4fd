//! Reads and validates the routes below `tcp` and `tls`: what they match, and where they lead.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::{is_dns_label, subset_of, validate_wildcard_domain};
use super::super::rules;
use super::super::tree::Cursor;
use super::read::{names_mesh, validate_sni};
use super::{Match, Route, RouteDestination, gateways};

/// Which list of routes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Tcp,
    Tls,
}

pub(super) fn read(spec: &Cursor<'_>, layer: Layer, findings: &mut Findings) -> Vec<Route> {
    let list = match layer {
        Layer::Tcp => "tcp",
        Layer::Tls => "tls",
    };
    spec.items(list)
        .map(|route| read_route(&route, spec, layer, findings))
        .collect()
}

fn read_route(
    route: &Cursor<'_>,
    spec: &Cursor<'_>,
    layer: Layer,
    findings: &mut Findings,
) -> Route {
    if layer == Layer::Tls && route.items("match").len() == 0 {
        findings.error(
            codes::REQUIRED,
            route.spot_of("match"),
            "the TLS route has no match",
            "write a match with sniHosts",
        );
    }
    let matches = route
        .items("match")
        .map(|item| read_match(&item, spec, layer, findings))
        .collect();
    if route.items("route").len() == 0 {
        findings.error(
            codes::REQUIRED,
            route.spot_of("route"),
            "the route has no destination",
            "write at least one destination below route",
        );
    }
    check_weights(route, findings);
    Route {
        matches,
        destinations: route
            .items("route")
            .map(|item| read_destination(&item, findings))
            .collect(),
        line: route.node.line,
    }
}

fn read_match(
    item: &Cursor<'_>,
    spec: &Cursor<'_>,
    layer: Layer,
    findings: &mut Findings,
) -> Match {
    if layer == Layer::Tls {
        check_sni_hosts(item, spec, findings);
    }
    gateways::check(item, findings);
    Match {
        port: match_port(item, findings),
        destination_subnets: read_subnets(item, findings),
        source_labels: rules::labels(item, "sourceLabels", findings),
        source_namespace: some_text(item, "sourceNamespace"),
        gateways: item.texts("gateways"),
        sni_hosts: item.texts("sniHosts"),
        line: item.node.line,
    }
}

/// The port of a match, where 0 asks for none.
pub(super) fn match_port(item: &Cursor<'_>, findings: &mut Findings) -> Option<u16> {
    let port = item.int("port").filter(|port| *port != 0)?;
    rules::port(port, item.spot_of("port"), findings)
}

fn check_sni_hosts(item: &Cursor<'_>, spec: &Cursor<'_>, findings: &mut Findings) {
    if item.items("sniHosts").len() == 0 {
        findings.error(
            codes::REQUIRED,
            item.spot_of("sniHosts"),
            "the match of the TLS route has no SNI host",
            "write the names below sniHosts",
        );
    }
    for sni in item.items("sniHosts") {
        let name = sni.as_text();
        let valid = if names_mesh(spec) {
            validate_wildcard_domain(name)
        } else {
            validate_sni(name)
        };
        match valid {
            Err(_) if name.parse::<IpAddr>().is_ok() => {
                let message = format!("`{name}` is an IP address, which no client sends as SNI");
                let hint = "write a host name; to match addresses, use destinationSubnets";
                findings.warning(codes::SNI_HOST, sni.spot(), message, hint);
            }
            Err(error) => {
                let message = format!("`{name}` is not a host name: {error}");
                let hint = "write a host name; `*` may stand only at its beginning";
                findings.error(codes::SNI_HOST, sni.spot(), message, hint);
            }
            Ok(())
                if !spec
                    .items("hosts")
                    .any(|host| subset_of(name, host.as_text())) =>
            {
                let message = format!("no host of the VirtualService covers `{name}`");
                let hint = "write a name that hosts covers, or add it to hosts";
                findings.error(codes::SNI_HOST, sni.spot(), message, hint);
            }
            Ok(()) => {}
        }
    }
}

fn read_subnets(item: &Cursor<'_>, findings: &mut Findings) -> Vec<IpNet> {
    let mut subnets = Vec::new();
    for subnet in item.items("destinationSubnets") {
        if let Some(parsed) = rules::address_or_prefix(subnet.as_text()) {
            subnets.push(parsed);
        } else {
            let message = format!(
                "`{}` is neither an IP address nor a CIDR prefix",
                subnet.as_text()
            );
            findings.error(
                codes::DESTINATION_SUBNET,
                subnet.spot(),
                message,
                "write an IP address or a prefix such as 10.1.0.0/16",
            );
        }
    }
    subnets
}

/// Checks the weights below `route`, of any layer.
pub(super) fn check_weights(route: &Cursor<'_>, findings: &mut Findings) {
    let mut total = 0;
    for item in route.items("route") {
        let weight = item.int("weight").unwrap_or(0);
        total += weight;
        if weight < 0 {
            let message = format!("the weight {weight} is negative");
            let hint = "write 0 or more; 0 takes the destination out";
            findings.error(codes::ROUTE_WEIGHT, item.spot_of("weight"), message, hint);
        }
    }
    if total == 0 && route.items("route").len() > 1 {
        findings.error(
            codes::ROUTE_WEIGHT,
            route.spot_of("route"),
            "the weights of all destinations are 0",
            "write the weight of each destination",
        );
    }
}

fn read_destination(item: &Cursor<'_>, findings: &mut Findings) -> RouteDestination {
    let line = item.node.line;
    let destination = require_destination(item, findings);
    let Some(destination) = destination else {
        return RouteDestination {
            line,
            ..RouteDestination::default()
        };
    };
    let port = check_destination(&destination, findings);
    RouteDestination {
        host: destination.text("host").to_owned(),
        subset: some_text(&destination, "subset"),
        port,
        weight: item
            .int("weight")
            .and_then(|weight| u32::try_from(weight).ok())
            .unwrap_or(0),
        line,
    }
}

/// The destination of an item of `route` or `mirrors`. What has none is reported.
pub(super) fn require_destination<'a>(
    item: &'a Cursor<'a>,
    findings: &mut Findings,
) -> Option<Cursor<'a>> {
    let destination = item.field("destination");
    if destination.is_none() {
        findings.error(
            codes::REQUIRED,
            item.spot_of("destination"),
            "there is no destination",
            "write destination.host",
        );
    }
    destination
}

/// Checks a destination, and reads its port.
pub(super) fn check_destination(destination: &Cursor<'_>, findings: &mut Findings) -> Option<u16> {
    let host = destination.text("host");
    let spot = destination.spot_of("host");
    if host.is_empty() {
        let hint = "write a host of a ServiceEntry";
        findings.error(codes::REQUIRED, spot, "the destination has no host", hint);
    } else if host == "*" {
        let message = "the destination `*` would mean every name";
        let hint = "write a host of a ServiceEntry";
        findings.error(codes::ROUTE_DESTINATION, spot, message, hint);
    } else if let Err(error) = validate_wildcard_domain(host) {
        let message = format!("`{host}` is not a host name: {error}");
        let hint = "write a host of a ServiceEntry, without port";
        findings.error(codes::ROUTE_DESTINATION, spot, message, hint);
    }
    let subset = destination.text("subset");
    if !subset.is_empty() && !is_dns_label(subset) {
        let message = format!("`{subset}` is not the name of a subset");
        let hint = "use letters, digits and hyphens, at most 63";
        let spot = destination.spot_of("subset");
        findings.error(codes::ROUTE_DESTINATION, spot, message, hint);
    }
    let port = destination.field("port")?;
    let number = port.int("number").unwrap_or(0);
    rules::port(number, port.spot_of("number"), findings)
}

fn some_text(parent: &Cursor<'_>, name: &str) -> Option<String> {
    Some(parent.text(name))
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}
