//! Finds what a target stands for in the program, and what of the tables matches a connect.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use agent_common::abi::FrontendKey;
use agent_common::{Connect, Tables};
use ipnet::IpNet;

use crate::compile::{Destination, Frontend, Program, ServiceKey};

use super::target::{Target, Transport};
use super::{Question, Sight};

/// A host that is less alike is not worth suggesting.
const LIKELY: f64 = 0.7;

/// What a target stands for.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) steps: Vec<String>,
    pub(super) destinations: BTreeSet<(SocketAddr, Transport)>,
    pub(super) suggestion: Option<String>,
}

pub(super) fn destinations(program: &Program, question: &Question, scope: u32) -> Found {
    match &question.target {
        Target::Address(to) => Found {
            destinations: [(*to, question.transport.unwrap_or(Transport::Tcp))].into(),
            ..Found::default()
        },
        Target::Host { host, port } => of_host(program, host, (*port, question.transport), scope),
    }
}

fn of_host(
    program: &Program,
    host: &str,
    (port, transport): (Option<u16>, Option<Transport>),
    scope: u32,
) -> Found {
    let Some(pattern) = matching(program, host) else {
        return unknown(program, host);
    };
    let mut found = Found::default();
    if pattern != host {
        found.steps.push(format!(
            "no service declares {host} itself; it matches the wildcard {pattern}"
        ));
    }
    let is_fence = |key| program.services.get(key).is_some_and(|s| s.is_fence());
    let frontends: Vec<(&Frontend, &ServiceKey)> = program
        .frontends
        .iter()
        .filter(|(frontend, key)| frontend.scope == scope && *key.host == *pattern)
        .filter(|(_, key)| !is_fence(*key))
        .collect();
    let declared: BTreeSet<u16> = frontends.iter().map(|(_, key)| key.port).collect();
    if frontends.is_empty() {
        found.steps.push(format!(
            "{pattern} is declared, but no address leads to it: connects to it are not redirected"
        ));
    }
    if let Some(port) = port.filter(|port| !declared.contains(port) && !declared.is_empty()) {
        let list: Vec<String> = declared.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        found
            .steps
            .push(format!("{pattern} declares no port {port}, only {list}"));
    }
    for (frontend, key) in frontends {
        let own = Transport::from_number(frontend.transport);
        let is_wanted = port.is_none_or(|port| port == key.port || !declared.contains(&port))
            && transport.is_none_or(|transport| transport == own);
        if is_wanted {
            let number = port.unwrap_or(frontend.port);
            let to = SocketAddr::new(sample(frontend.destination), number);
            found.destinations.insert((to, own));
        }
    }
    found
}

/// An address that the destination holds.
fn sample(destination: Destination) -> IpAddr {
    match destination {
        Destination::Address(address) => address,
        Destination::Prefix(net) => net.hosts().next().unwrap_or(net.network()),
    }
}

/// The host as the program has it: itself, or the longest wildcard that it matches.
fn matching<'a>(program: &'a Program, host: &str) -> Option<&'a str> {
    let hosts = program.services.keys().map(|key| &*key.host);
    let covers = |pattern: &str| {
        pattern.strip_prefix('*').is_some_and(|suffix| {
            host.len() > suffix.len() && host.ends_with(&suffix.to_ascii_lowercase())
        })
    };
    hosts
        .filter(|known| known.eq_ignore_ascii_case(host) || covers(known))
        .max_by_key(|known| (known.eq_ignore_ascii_case(host), known.len()))
}

fn unknown(program: &Program, host: &str) -> Found {
    let hosts: BTreeSet<&str> = program.services.keys().map(|key| &*key.host).collect();
    let steps = vec![format!(
        "no service declares {host}, neither itself nor by a wildcard ({} hosts are declared): connects to its addresses are not redirected unless an address is declared",
        hosts.len()
    )];
    let likely = hosts
        .into_iter()
        .map(|known| (strsim::jaro_winkler(host, known), known))
        .filter(|&(alike, _)| alike >= LIKELY)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    Found {
        steps,
        suggestion: likely.map(|(_, known)| known.to_owned()),
        ..Found::default()
    }
}

/// What of the tables a connect matched.
#[derive(Debug)]
pub(super) struct Match<'a> {
    pub(super) by: By,
    /// Which service the program has there.
    pub(super) service: Option<&'a ServiceKey>,
    /// The longest CIDR that holds the address, whether or not it has the port.
    pub(super) prefix: Option<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Address,
    Prefix,
    VipRange,
    Nothing,
}

/// Goes through the tables as [`agent_common::decide()`] does.
pub(super) fn matched<'a, T: Tables>(
    sight: &Sight<'a, T>,
    connect: &Connect,
    to: SocketAddr,
) -> Match<'a> {
    let Connect {
        address,
        port,
        protocol,
        scope,
        ..
    } = *connect;
    let tables = sight.tables;
    let program_has = |destination| {
        let frontend = Frontend {
            destination,
            port: to.port(),
            transport: protocol,
            scope,
        };
        sight.compiled.program.frontends.get(&frontend)
    };
    let exact = FrontendKey::address(address, port, protocol, scope);
    let id = tables
        .config()
        .filter(|config| config.has_prefixes != 0)
        .and_then(|_| tables.prefix(address));
    let prefix = id.and_then(|id| sight.names.prefix(id)).copied();
    let in_vips = tables
        .config()
        .is_some_and(|config| config.vip_v4.contains(address) || config.vip_v6.contains(address));
    let by = if tables.frontend(&exact).is_some() {
        By::Address
    } else if id.is_some_and(|id| {
        let key = FrontendKey::prefix(id, port, protocol, scope);
        tables.frontend(&key).is_some()
    }) {
        By::Prefix
    } else if in_vips {
        By::VipRange
    } else {
        By::Nothing
    };
    let service = match by {
        By::Address => program_has(Destination::Address(to.ip())),
        By::Prefix => prefix.and_then(|net| program_has(Destination::Prefix(net))),
        By::VipRange | By::Nothing => None,
    };
    Match {
        by,
        service,
        prefix,
    }
}
