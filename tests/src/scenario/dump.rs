//! What tables hold, read back from the cells: by meaning, so that two tables that do the same are written the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use agent::dataplane::{Store, ip_address};
use agent::model::VipRanges;
use agent_common::abi::{Action, FrontendKey, FrontendWord, TCP};
use agent_common::{Connect, Family, Tables};
use anyhow::{Context, Result};

/// The group that a connect is answered from.
pub fn find(tables: &impl Tables, connect: &Connect) -> Option<u32> {
    let Connect {
        address,
        port,
        protocol,
        scope,
        ..
    } = *connect;
    let exact = tables.frontend(&FrontendKey::address(address, port, protocol, scope));
    let by_prefix = || {
        let id = tables.prefix(address)?;
        tables.frontend(&FrontendKey::prefix(id, port, protocol, scope))
    };
    exact.or_else(by_prefix).map(FrontendWord::group)
}

/// The probability of each endpoint, by weight for sockets of `family`, in parts of what all have together. Empty for a group that
/// is not spread over endpoints.
pub fn shares(
    tables: &impl Tables,
    group: u32,
    family: Family,
) -> Result<BTreeMap<SocketAddr, u64>> {
    let header = tables.header(group).context("the group has no header")?;
    let mut shares = BTreeMap::new();
    if header.action() != Some(Action::Balance) {
        return Ok(shares);
    }
    let cell = match family {
        Family::V4 => header.v4(group),
        Family::V6 => Some(group),
    };
    let Some(cell) = cell else {
        return Ok(shares);
    };
    let header = tables.header(cell).context("the table has no header")?;
    let table = header.table(cell);
    let slot = |index: u32| tables.slot(table.first + index).context("no such slot");
    let mut add = |index: u32, share: u32| -> Result<()> {
        let slot = slot(index)?;
        let at = SocketAddr::new(ip_address(slot.address()), slot.port().get());
        if share > 0 {
            *shares.entry(at).or_insert(0) += u64::from(share);
        }
        Ok(())
    };
    for index in 0..table.slots {
        let column = slot(index)?;
        add(index, column.threshold())?;
        add(column.alias(), table.total - column.threshold())?;
    }
    Ok(shares)
}

/// A line for each frontend outside of the ranges of automatic VIPs: `DESTINATION -> ACTION`, ordered. Shares are those
/// of IPv6 sockets, which may be given any endpoint.
pub fn dump(tables: &impl Store) -> Result<String> {
    let ranges = VipRanges::default();
    let inventory = tables.inventory()?;
    let nets: BTreeMap<u32, String> = inventory
        .prefixes
        .iter()
        .map(|(key, id)| {
            let base = ip_address(key.base);
            let bits = key.bits - if base.is_ipv4() { 96 } else { 0 };
            (*id, format!("{base}/{bits}"))
        })
        .collect();
    let mut lines = Vec::new();
    for (key, word) in &inventory.frontends {
        let destination = if key.is_prefix() {
            let octets = key.destination().octets();
            let id = u32::from_be_bytes([octets[12], octets[13], octets[14], octets[15]]);
            nets.get(&id)
                .cloned()
                .unwrap_or_else(|| format!("prefix {id}"))
        } else {
            let ip = ip_address(key.destination());
            if ranges.contains(ip) {
                continue;
            }
            ip.to_string()
        };
        let transport = if key.protocol() == TCP { "tcp" } else { "udp" };
        let action = describe(tables, word.group())?;
        lines.push(format!(
            "{destination} {transport} {} -> {action}",
            key.port().get()
        ));
    }
    lines.sort();
    Ok(lines.join("\n"))
}

fn describe(tables: &impl Tables, group: u32) -> Result<String> {
    let header = tables.header(group).context("the group has no header")?;
    Ok(match header.action().context("the group has no action")? {
        Action::Refuse => "refuse".to_owned(),
        Action::Deny => "deny".to_owned(),
        Action::Original => header.port_override().map_or_else(
            || "original".to_owned(),
            |port| format!("original, port {}", port.get()),
        ),
        Action::Balance => {
            let shares = shares(tables, group, Family::V6)?;
            let total: u64 = shares.values().sum();
            let mut text = String::from("balance");
            for (at, share) in shares {
                let unit = gcd(share, total);
                write!(text, " {at} {}/{}", share / unit, total / unit)?;
            }
            text
        }
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
