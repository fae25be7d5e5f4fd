//! Reads `egress` of a `Sidecar`: what clients import, on which ports.

use std::collections::{BTreeMap, BTreeSet};

use super::super::codes;
use super::super::findings::Findings;
use super::super::host::{is_dns_label, is_partial_wildcard, validate_wildcard_domain};
use super::super::object::Meta;
use super::super::rules;
use super::super::tree::Cursor;
use super::read::{UNIX, check_bind, check_port, is_unix};
use super::{EgressHost, EgressListener, HostNamespace};

pub(super) fn read(spec: &Cursor<'_>, meta: &Meta, findings: &mut Findings) -> Vec<EgressListener> {
    let mut listeners = Vec::new();
    let mut taken = BTreeSet::new();
    let count = spec.items("egress").len();
    for (i, item) in spec.items("egress").enumerate() {
        let port = item.field("port");
        match &port {
            None if i + 1 < count => findings.error(
                codes::SIDECAR_LISTENER,
                item.spot(),
                "an egress listener without a port takes all ports, but others follow it",
                "write it last",
            ),
            None => {}
            Some(port) => check_listener(&item, port, &mut taken, findings),
        }
        let number = port.and_then(|port| u16::try_from(port.int("number")?).ok());
        let is_explicit = !item.text("bind").is_empty() || item.text("captureMode") == "NONE";
        if is_explicit {
            findings.warning(
                codes::FIELD_NOT_CARRIED_OUT,
                item.spot(),
                "nothing listens in the place of the hosts: the egress listener imports nothing",
                "remove bind and captureMode NONE; clients then connect to the hosts themselves",
            );
        }
        listeners.push(EgressListener {
            port: number.filter(|number| *number != 0),
            hosts: read_hosts(&item, meta, findings),
            is_explicit,
            line: item.node.line,
        });
    }
    listeners
}

fn check_listener(
    item: &Cursor<'_>,
    port: &Cursor<'_>,
    taken: &mut BTreeSet<String>,
    findings: &mut Findings,
) {
    check_port(port, findings);
    let number = port.int("number").unwrap_or(0);
    let bind = item.text("bind");
    let name = if number == 0 {
        if !bind.strip_prefix(UNIX).is_some_and(is_unix) {
            findings.error(
                codes::SIDECAR_LISTENER,
                item.spot_of("bind"),
                "an egress listener on port 0 needs a Unix socket to listen at",
                "write port.number, or bind: unix:///PATH",
            );
        }
        if item.text("captureMode") == "IPTABLES" {
            findings.error(
                codes::SIDECAR_LISTENER,
                item.spot_of("captureMode"),
                "connections to a Unix socket are not captured",
                "write captureMode: NONE, or leave it out",
            );
        }
        bind.to_owned()
    } else {
        rules::port(number, port.spot_of("number"), findings);
        check_bind(item, findings);
        number.to_string()
    };
    if !taken.insert(name) {
        findings.error(
            codes::PORT_DUPLICATE,
            port.spot(),
            "another egress listener has the same port or socket",
            "write all its hosts into one listener",
        );
    }
}

fn read_hosts(item: &Cursor<'_>, meta: &Meta, findings: &mut Findings) -> Vec<EgressHost> {
    if item.items("hosts").len() == 0 {
        findings.error(
            codes::REQUIRED,
            item.spot_of("hosts"),
            "the egress listener has no hosts",
            "write NAMESPACE/HOST, `*/*` for all, or `~/*` for none",
        );
    }
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut hosts = Vec::new();
    for entry in item.items("hosts") {
        let text = entry.as_text();
        let host = read_host(text);
        match host {
            Err(why) => findings.error(
                codes::SIDECAR_HOST,
                entry.spot(),
                format!("`{text}` is not NAMESPACE/HOST: {why}"),
                "write a namespace, `.`, `*` or `~`, then `/`, then a full host name, `*.DOMAIN` or `*`",
            ),
            Ok(host) => {
                let (namespace, name) = text.split_once('/').unwrap_or_default();
                let namespace = if namespace == "." { &meta.id.namespace } else { namespace };
                let of_namespace = known.entry(namespace).or_default();
                let is_known = of_namespace.contains("*") || !of_namespace.insert(name);
                if is_known && !host.is_excluded {
                    findings.warning(
                        codes::SIDECAR_HOST_TWICE,
                        entry.spot(),
                        format!("`{text}` is imported already"),
                        "remove it",
                    );
                }
                hosts.push(host);
            }
        }
    }
    if known.len() > 1 && known.get("*").is_some_and(|hosts| hosts.contains("*")) {
        let others = hosts.iter().filter(|host| !host.is_excluded).count();
        if others > 1 {
            findings.warning(
                codes::SIDECAR_HOST_TWICE,
                item.spot_of("hosts"),
                "`*/*` imports everything, so the other hosts add nothing",
                "remove them, or `*/*`",
            );
        }
    }
    hosts
}

fn read_host(text: &str) -> Result<EgressHost, String> {
    let (namespace, host) = text.split_once('/').ok_or("the `/` is missing")?;
    if namespace.is_empty() || host.is_empty() {
        return Err("a part is empty".to_owned());
    }
    let excluded = namespace.strip_prefix('~').filter(|rest| !rest.is_empty());
    let written = excluded.unwrap_or(namespace);
    let namespace = match written {
        "*" => HostNamespace::Any,
        "." => HostNamespace::Own,
        "~" => HostNamespace::None,
        name if is_dns_label(name) => HostNamespace::Named(name.to_owned()),
        name => return Err(format!("`{name}` is not a namespace")),
    };
    if host != "*" {
        if !host.contains('.') {
            return Err(format!("`{host}` is a short name"));
        }
        if is_partial_wildcard(host) {
            return Err(format!("the wildcard of `{host}` is not followed by a dot"));
        }
        validate_wildcard_domain(host).map_err(|error| error.to_string())?;
    }
    Ok(EgressHost {
        is_excluded: excluded.is_some(),
        namespace,
        host: host.to_owned(),
    })
}
