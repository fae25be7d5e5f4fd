//! Automatic VIPs: one IPv4 and one IPv6 address for each (namespace, host) that has no address of its own.
//!
//! A host keeps its VIPs for as long as the table knows it, even while no object names it. A new one starts from a
//! hash of its name, so that the same hosts get the same addresses on every node, in whatever order they come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::api::{Diagnostic, Meta, Object, Resolution, ServiceEntry, Severity, Spec, host};

use super::codes;
use pool::Pool;

mod pool;

/// Where VIPs are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipRanges {
    pub v4: Ipv4Net,
    pub v6: Ipv6Net,
}

impl Default for VipRanges {
    /// Istio's own ranges.
    fn default() -> Self {
        Self {
            v4: Ipv4Net::new_assert(Ipv4Addr::new(240, 240, 0, 0), 16),
            v6: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48),
        }
    }
}

impl VipRanges {
    pub fn contains(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(v4) => self.v4.contains(&v4),
            IpAddr::V6(v6) => self.v6.contains(&v6),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vips {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// (namespace, host) → VIPs. Kept in the state directory. Copies share their content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipTable(Arc<Assignments>);

type Assignments = BTreeMap<(Arc<str>, Arc<str>), Vips>;

/// Why a kept table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VipTableError {
    #[error("not a table of VIPs: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("layout {0} of the table of VIPs is not known, {LAYOUT} is")]
    Layout(u32),
    #[error("{namespace}/{host} and another host have the same VIP")]
    Shared { namespace: String, host: String },
}

const LAYOUT: u32 = 1;

/// The kept form. A list, as JSON has no keys of two parts.
#[derive(Serialize, Deserialize)]
struct Kept {
    layout: u32,
    vips: Vec<KeptVips>,
}

#[derive(Serialize, Deserialize)]
struct KeptVips {
    namespace: String,
    host: String,
    #[serde(flatten)]
    vips: Vips,
}

impl VipTable {
    pub fn get(&self, namespace: &str, host: &str) -> Option<Vips> {
        self.0.get(&(namespace.into(), host.into())).copied()
    }

    /// (namespace, host, VIPs), ordered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Vips)> {
        self.0
            .iter()
            .map(|((namespace, host), vips)| (&**namespace, &**host, *vips))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn to_json(&self) -> String {
        let vips = self.0.iter().map(|((namespace, host), vips)| KeptVips {
            namespace: namespace.to_string(),
            host: host.to_string(),
            vips: *vips,
        });
        let kept = Kept {
            layout: LAYOUT,
            vips: vips.collect(),
        };
        serde_json::to_string_pretty(&kept).expect("strings and addresses have a JSON form")
    }

    pub fn from_json(text: &str) -> Result<Self, VipTableError> {
        let kept: Kept = serde_json::from_str(text)?;
        if kept.layout != LAYOUT {
            return Err(VipTableError::Layout(kept.layout));
        }
        let mut table = BTreeMap::new();
        let (mut seen_v4, mut seen_v6) = (BTreeSet::new(), BTreeSet::new());
        for line in kept.vips {
            if !seen_v4.insert(line.vips.v4) || !seen_v6.insert(line.vips.v6) {
                return Err(VipTableError::Shared {
                    namespace: line.namespace,
                    host: line.host,
                });
            }
            table.insert((line.namespace.into(), line.host.into()), line.vips);
        }
        Ok(Self(Arc::new(table)))
    }
}

/// Istio's opt-out from automatic addresses.
const AUTO_ALLOCATE_LABEL: &str = "networking.istio.io/enable-autoallocate-ip";

/// Whether the hosts of this entry get automatic addresses.
pub fn is_eligible(meta: &Meta, entry: &ServiceEntry) -> bool {
    entry.resolution != Resolution::None
        && entry.addresses.is_empty()
        && !meta
            .labels
            .get(AUTO_ALLOCATE_LABEL)
            .is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

/// The addresses that the status of an eligible entry gives `host`; they stand in place of automatic ones.
pub fn status_addresses<'a>(
    entry: &'a ServiceEntry,
    host: &'a str,
) -> impl Iterator<Item = IpAddr> + 'a {
    let listed = entry.status_addresses.iter();
    listed
        .filter(move |(_, of)| of == host)
        .map(|(addr, _)| *addr)
}

/// Gives every host of `objects` (oldest first) that needs VIPs its own. What is out of the ranges, or was declared
/// by a user since, is given anew.
pub(super) fn allocate(
    table: &mut VipTable,
    ranges: &VipRanges,
    objects: &[Arc<Object>],
) -> Vec<Diagnostic> {
    let wanted = wanted(objects);
    let declared = declared(objects);
    let mut v4 = Pool::new(IpNet::V4(ranges.v4), &declared);
    let mut v6 = Pool::new(IpNet::V6(ranges.v6), &declared);
    let mut next = Assignments::new();
    for (key, vips) in table.0.iter() {
        if v4.is_free(vips.v4.into()) && v6.is_free(vips.v6.into()) {
            v4.take(vips.v4.into());
            v6.take(vips.v6.into());
            next.insert(key.clone(), *vips);
        }
    }
    let missing: Vec<Key> = wanted
        .keys()
        .filter(|(namespace, host)| !next.contains_key(&((*namespace).into(), (*host).into())))
        .copied()
        .collect();
    if v4.room() < missing.len() as u128 || v6.room() < missing.len() as u128 {
        forget_unwanted(&mut next, &wanted, &mut v4, &mut v6);
    }
    let mut left_out = Vec::new();
    for (namespace, host) in missing {
        match (v4.choose(namespace, host), v6.choose(namespace, host)) {
            (Some(IpAddr::V4(addr_v4)), Some(IpAddr::V6(addr_v6))) => {
                v4.take(addr_v4.into());
                v6.take(addr_v6.into());
                let vips = Vips {
                    v4: addr_v4,
                    v6: addr_v6,
                };
                next.insert((namespace.into(), host.into()), vips);
            }
            _ => left_out.push((namespace, host)),
        }
    }
    if next != *table.0 {
        table.0 = Arc::new(next);
    }
    let left_out = left_out.into_iter();
    left_out
        .map(|key| exhausted(wanted[&key], key.1, ranges))
        .collect()
}

/// (namespace, host).
type Key<'a> = (&'a str, &'a str);

/// The hosts that need VIPs, each with the oldest object that declares it.
fn wanted(objects: &[Arc<Object>]) -> BTreeMap<Key<'_>, &Meta> {
    let mut wanted = BTreeMap::new();
    let mut given: BTreeSet<Key> = BTreeSet::new();
    for object in objects {
        let Spec::ServiceEntry(entry) = &object.spec else {
            continue;
        };
        if !is_eligible(&object.meta, entry) {
            continue;
        }
        for host in entry.hosts.iter().filter(|h| !host::is_wildcard(h)) {
            let key = (object.meta.id.namespace.as_str(), host.as_str());
            if status_addresses(entry, host).next().is_some() {
                given.insert(key);
            } else {
                wanted.entry(key).or_insert(&object.meta);
            }
        }
    }
    wanted.retain(|key, _| !given.contains(key));
    wanted
}

/// Every address that a user or Istio wrote down for some host.
fn declared(objects: &[Arc<Object>]) -> Vec<IpNet> {
    let mut declared = Vec::new();
    for object in objects {
        if let Spec::ServiceEntry(entry) = &object.spec {
            declared.extend(entry.addresses.iter().copied());
            declared.extend(
                entry
                    .status_addresses
                    .iter()
                    .map(|(addr, _)| IpNet::from(*addr)),
            );
        }
    }
    declared
}

/// Makes room: hosts of the past give their addresses back.
fn forget_unwanted(
    table: &mut Assignments,
    wanted: &BTreeMap<Key<'_>, &Meta>,
    v4: &mut Pool,
    v6: &mut Pool,
) {
    table.retain(|(namespace, host), vips| {
        let keep = wanted.contains_key(&(&**namespace, &**host));
        if !keep {
            v4.give_back(vips.v4.into());
            v6.give_back(vips.v6.into());
        }
        keep
    });
}

fn exhausted(meta: &Meta, host: &str, ranges: &VipRanges) -> Diagnostic {
    let message = format!(
        "no automatic address is left for {host}: {} or {} is full",
        ranges.v4, ranges.v6
    );
    Diagnostic::about(Severity::Error, codes::VIPS_EXHAUSTED, meta, message)
        .at("spec.hosts", 0)
        .hint("widen the ranges of automatic addresses, or give the entry spec.addresses")
}

#[cfg(test)]
mod tests;
