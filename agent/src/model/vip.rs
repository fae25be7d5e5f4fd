//! Automatic VIPs: one IPv4 and one IPv6 address for each (namespace, host) that has no address of its own.
//!
//! A host keeps its VIPs for as long as the table knows it, and for a day at least after no object names it any more:
//! clients may go on using what they were told. A new one starts from a
//! hash of its name, so that the same hosts get the same addresses on every node, in whatever order they come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::api::{Diagnostic, Meta, Object, Resolution, ServiceEntry, Severity, Spec};

use super::codes;
use super::time::UnixTime;
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

type Assignments = BTreeMap<(Arc<str>, Arc<str>), Assigned>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Assigned {
    vips: Vips,
    /// Since when nobody names the host.
    unwanted_since: Option<UnixTime>,
}

/// For how long a host that nobody names keeps its VIPs, however few are left.
const KEPT: Duration = Duration::from_hours(24);

/// Why a kept table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VipTableError {
    #[error("not a table of VIPs: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("layout {0} of the table of VIPs is not known, 1 to {LAYOUT} are")]
    Layout(u32),
    #[error("{namespace}/{host} and another host have the same VIP")]
    Shared { namespace: String, host: String },
}

const LAYOUT: u32 = 2;

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
    /// Unknown to layout 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unwanted_since: Option<UnixTime>,
}

impl VipTable {
    pub fn get(&self, namespace: &str, host: &str) -> Option<Vips> {
        let assigned = self.0.get(&(namespace.into(), host.into()))?;
        Some(assigned.vips)
    }

    /// (namespace, host, VIPs), ordered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Vips)> {
        self.0
            .iter()
            .map(|((namespace, host), assigned)| (&**namespace, &**host, assigned.vips))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn to_json(&self) -> String {
        let vips = self.0.iter().map(|((namespace, host), assigned)| KeptVips {
            namespace: namespace.to_string(),
            host: host.to_string(),
            vips: assigned.vips,
            unwanted_since: assigned.unwanted_since,
        });
        let kept = Kept {
            layout: LAYOUT,
            vips: vips.collect(),
        };
        serde_json::to_string_pretty(&kept).expect("strings and addresses have a JSON form")
    }

    pub fn from_json(text: &str) -> Result<Self, VipTableError> {
        let kept: Kept = serde_json::from_str(text)?;
        if !(1..=LAYOUT).contains(&kept.layout) {
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
            let assigned = Assigned {
                vips: line.vips,
                unwanted_since: line.unwanted_since,
            };
            table.insert((line.namespace.into(), line.host.into()), assigned);
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

/// Who needs VIPs: (namespace, host), each with the oldest object that declares it.
pub(super) type Wanted<'a> = BTreeMap<(&'a str, &'a str), &'a Meta>;

/// Gives each of `wanted` its own VIPs. What is out of the ranges, or was declared by a user of `objects` since, is given
/// anew.
pub(super) fn allocate(
    table: &mut VipTable,
    ranges: &VipRanges,
    objects: &[Arc<Object>],
    wanted: &Wanted<'_>,
    now: UnixTime,
) -> Vec<Diagnostic> {
    let declared = declared(objects);
    let mut next = Allocation {
        assigned: Assignments::new(),
        v4: Pool::new(IpNet::V4(ranges.v4), &declared),
        v6: Pool::new(IpNet::V6(ranges.v6), &declared),
    };
    let mut missing = wanted.clone();
    for (key, kept) in table.0.iter() {
        if next.is_free(kept.vips) {
            let is_wanted = missing.remove(&(&*key.0, &*key.1)).is_some();
            // A clock that was ahead must not keep it for longer than a day from now.
            let since = kept.unwanted_since.unwrap_or(now).min(now);
            let unwanted_since = (!is_wanted).then_some(since);
            next.assign(key.clone(), kept.vips, unwanted_since);
        }
    }
    next.make_room(missing.len() as u128, now);
    let mut found = Vec::new();
    for ((namespace, host), meta) in missing {
        match next.choose(namespace, host) {
            Some(vips) => next.assign((namespace.into(), host.into()), vips, None),
            None => found.push(exhausted(meta, host, ranges)),
        }
    }
    if next.assigned != *table.0 {
        table.0 = Arc::new(next.assigned);
    }
    found
}

/// A table in the making.
struct Allocation {
    assigned: Assignments,
    v4: Pool,
    v6: Pool,
}

impl Allocation {
    fn is_free(&self, vips: Vips) -> bool {
        self.v4.is_free(vips.v4.into()) && self.v6.is_free(vips.v6.into())
    }

    fn choose(&self, namespace: &str, host: &str) -> Option<Vips> {
        match (
            self.v4.choose(namespace, host)?,
            self.v6.choose(namespace, host)?,
        ) {
            (IpAddr::V4(v4), IpAddr::V6(v6)) => Some(Vips { v4, v6 }),
            _ => None,
        }
    }

    fn assign(&mut self, key: (Arc<str>, Arc<str>), vips: Vips, unwanted_since: Option<UnixTime>) {
        self.v4.take(vips.v4.into());
        self.v6.take(vips.v6.into());
        let assigned = Assigned {
            vips,
            unwanted_since,
        };
        self.assigned.insert(key, assigned);
    }

    /// Makes room for `count` hosts, as far as hosts of the past have been gone for long enough: the longest gone first.
    fn make_room(&mut self, count: u128, now: UnixTime) {
        let room = self.v4.room().min(self.v6.room());
        let lacking = usize::try_from(count.saturating_sub(room)).unwrap_or(usize::MAX);
        if lacking == 0 {
            return;
        }
        let gone = self.assigned.iter().filter_map(|(key, assigned)| {
            let since = assigned.unwanted_since?;
            (now.since(since) >= KEPT).then(|| (since, key.clone()))
        });
        let mut gone: Vec<_> = gone.collect();
        gone.sort_unstable();
        for (_, key) in gone.into_iter().take(lacking) {
            if let Some(assigned) = self.assigned.remove(&key) {
                self.v4.give_back(assigned.vips.v4.into());
                self.v6.give_back(assigned.vips.v6.into());
            }
        }
    }
}

/// Who of `objects` (oldest first) needs VIPs: their hosts, and of `asked` the names that a wildcard of `DYNAMIC_DNS` covers.
pub(super) fn wanted<'a>(objects: &'a [Arc<Object>], asked: &'a BTreeSet<Arc<str>>) -> Wanted<'a> {
    let mut wanted = Wanted::new();
    let mut given: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut on_demand: HashMap<String, &Meta> = HashMap::new();
    for object in objects {
        let Spec::ServiceEntry(entry) = &object.spec else {
            continue;
        };
        if !is_eligible(&object.meta, entry) {
            continue;
        }
        for host in &entry.hosts {
            let key = (object.meta.id.namespace.as_str(), host.as_str());
            if let Some(suffix) = host.strip_prefix('*') {
                if entry.resolution == Resolution::DynamicDns {
                    let suffix = suffix.trim_end_matches('.').to_ascii_lowercase();
                    on_demand.entry(suffix).or_insert(&object.meta);
                }
            } else if status_addresses(entry, host).next().is_some() {
                given.insert(key);
            } else {
                wanted.entry(key).or_insert(&object.meta);
            }
        }
    }
    wanted.retain(|key, _| !given.contains(key));
    for name in asked {
        // The longest wildcard that covers it.
        let mut suffixes = name.char_indices().map(|(start, _)| &name[start..]);
        if let Some(meta) = suffixes.find_map(|suffix| on_demand.get(suffix)) {
            wanted
                .entry((meta.id.namespace.as_str(), name))
                .or_insert(meta);
        }
    }
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
