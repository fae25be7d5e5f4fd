//! What a connect is expected to come to, and whether tables say so. Knows nothing of objects.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use agent::dataplane::ip_address;
use agent_common::abi::{TCP, UDP};
use agent_common::{Connect, Family, Reason, Tables, Verdict, decide};
use anyhow::{Context, Error, Result, bail, ensure};
use serde::{Deserialize, Deserializer, de};

use super::dump::{find, shares};

/// What a client asks for: `[v6] [udp] HOST:PORT` for an automatic VIP, or with an address in the place of the host.
/// `v6` before an IPv4 address is an IPv6 socket that connects to its v4-mapped form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub(super) place: Place,
    pub port: u16,
    pub protocol: u8,
    is_v6: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Address(IpAddr),
    /// `[NAMESPACE/]HOST`.
    Vip(String),
}

impl Target {
    pub fn family(&self) -> Family {
        if self.is_v6 { Family::V6 } else { Family::V4 }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("v6 ").unwrap_or(text);
        let after = rest.strip_prefix("udp ").unwrap_or(rest);
        let (place, port) = if let Ok(at) = after.parse::<SocketAddr>() {
            (Place::Address(at.ip()), at.port())
        } else {
            let (host, port) = after.rsplit_once(':').context("no port")?;
            (Place::Vip(host.to_owned()), port.parse()?)
        };
        Ok(Self {
            is_v6: rest != text || matches!(place, Place::Address(IpAddr::V6(_))),
            protocol: if after == rest { TCP } else { UDP },
            place,
            port,
        })
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let target = text.parse();
        target.map_err(|error| de::Error::custom(format!("{text}: {error}")))
    }
}

/// What a connect must come to: the endpoints with their relative shares, or a word.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Expected {
    Spread(BTreeMap<SocketAddr, u64>),
    Fate(Fate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Not ours.
    Pass,
    /// Ours, to where it was going.
    Original,
    /// ECONNREFUSED: a VIP does not declare the port.
    Refused,
    /// EHOSTUNREACH: no endpoint can take it.
    Unreachable,
    /// EHOSTUNREACH: what the service asks for cannot be done at this layer.
    Unsupported,
}

/// How many numbers are drawn for one expectation, evenly over all there are. Small shares have their place between
/// two draws, which is why shares are held against the tables themselves too.
const DRAWS: u32 = 4096;

/// Holds `expected` against what the tables and the decision say of `connect`.
pub fn check(tables: &impl Tables, connect: &Connect, expected: &Expected) -> Result<()> {
    if let Expected::Spread(spread) = expected {
        check_shares(tables, connect, spread)?;
    }
    for draw in 0..DRAWS {
        let random = draw * (u32::MAX / DRAWS) + draw;
        let verdict = decide(tables, connect, &mut || random);
        ensure!(agrees(&verdict, connect, expected), "it is {verdict:?}");
    }
    Ok(())
}

fn agrees(verdict: &Verdict, connect: &Connect, expected: &Expected) -> bool {
    match (verdict, expected) {
        (Verdict::Pass, Expected::Fate(Fate::Pass)) => true,
        (Verdict::Original { port, .. }, Expected::Fate(Fate::Original)) => port.is_none(),
        // Resolution NONE with a target port: the one place is where it was going, on another port.
        (
            Verdict::Original {
                port: Some(port), ..
            },
            Expected::Spread(spread),
        ) => {
            let to = SocketAddr::new(ip_address(connect.address), port.get());
            spread.keys().eq([&to])
        }
        (Verdict::Rewrite { address, port, .. }, Expected::Spread(spread)) => {
            spread.contains_key(&SocketAddr::new(ip_address(*address), port.get()))
        }
        // What goes to clusters without an endpoint.
        (
            Verdict::Deny {
                reason: Reason::NoEndpoint,
                ..
            },
            Expected::Spread(spread),
        ) => spread.keys().any(|at| at.port() == 0),
        (Verdict::Deny { reason, .. }, Expected::Fate(fate)) => matches!(
            (reason, fate),
            (Reason::PortNotDeclared, Fate::Refused)
                | (Reason::NoEndpoint, Fate::Unreachable)
                | (Reason::Unsupported, Fate::Unsupported)
        ),
        _ => false,
    }
}

/// The probability of every endpoint, exactly: relative shares are equal when they are equal crosswise.
fn check_shares(
    tables: &impl Tables,
    connect: &Connect,
    spread: &BTreeMap<SocketAddr, u64>,
) -> Result<()> {
    let Some(group) = find(tables, connect) else {
        bail!("no frontend holds it");
    };
    let shares = shares(tables, group, connect.family)?;
    if shares.is_empty() {
        // Resolution NONE; the decision tells.
        return Ok(());
    }
    let total: u128 = shares.values().copied().map(u128::from).sum();
    let whole: u128 = spread.values().copied().map(u128::from).sum();
    let is_equal = shares.keys().eq(spread.keys())
        && shares
            .iter()
            .all(|(at, share)| u128::from(*share) * whole == u128::from(spread[at]) * total);
    ensure!(is_equal, "the shares are {shares:?}");
    Ok(())
}
