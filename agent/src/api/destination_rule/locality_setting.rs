//! Reads and validates a `localityLbSetting`, of a `DestinationRule` or of the mesh.

use std::collections::BTreeSet;

use super::super::codes;
use super::super::findings::Findings;
use super::super::tree::{Cursor, Spot};
use super::{Distribute, Failover, LocalityLbSetting};

/// Labels that stand for the parts of a locality, which `failover` orders by already.
const TOPOLOGY_LABELS: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

/// Reads a setting that conforms to its schema.
pub(in crate::api) fn read(setting: &Cursor<'_>, findings: &mut Findings) -> LocalityLbSetting {
    if setting.items("distribute").len() > 0 && setting.items("failover").len() > 0 {
        let message = "`distribute` and `failover` exclude each other";
        findings.error(
            codes::LOCALITY_SETTING,
            setting.spot_of("failover"),
            message,
            "keep one of them",
        );
    }
    if setting.items("failover").len() > 0
        && let Some(item) = setting
            .items("failoverPriority")
            .find(|item| TOPOLOGY_LABELS.contains(&item.as_text()))
    {
        let message = format!(
            "`{}` cannot go with failover, which orders by it already",
            item.as_text()
        );
        findings.error(
            codes::LOCALITY_SETTING,
            item.spot(),
            message,
            "remove it, or failover",
        );
    }
    check_distribute(setting, findings);
    check_failover(setting, findings);
    LocalityLbSetting {
        enabled: setting.flag("enabled").unwrap_or(true),
        distribute: setting
            .items("distribute")
            .map(|item| Distribute {
                from: item.text("from").to_owned(),
                to: item
                    .entries("to")
                    .filter_map(|(locality, weight)| {
                        Some((locality.to_owned(), u32::try_from(weight.as_int()).ok()?))
                    })
                    .collect(),
            })
            .collect(),
        failover: setting
            .items("failover")
            .map(|item| Failover {
                from: item.text("from").to_owned(),
                to: item.text("to").to_owned(),
            })
            .collect(),
        failover_priority: setting.texts("failoverPriority"),
    }
}

fn check_distribute(setting: &Cursor<'_>, findings: &mut Findings) {
    let mut from = Localities::default();
    for item in setting.items("distribute") {
        from.add(item.text("from"), || item.spot_of("from"), findings);
        let mut total = 0;
        // Istio takes them in no particular order; in this one a wildcard comes before what it overlaps with.
        let mut entries: Vec<_> = item.entries("to").collect();
        entries.sort_by_key(|(locality, _)| *locality);
        let mut to = Localities::default();
        for (locality, weight) in entries {
            to.add(locality, || weight.spot(), findings);
            if !(1..=100).contains(&weight.as_int()) {
                let message = format!("{} is not a weight", weight.as_int());
                findings.error(
                    codes::LOCALITY_DISTRIBUTE,
                    weight.spot(),
                    message,
                    "write a number between 1 and 100",
                );
            }
            total += weight.as_int();
        }
        if total != 100 {
            let message = format!("the weights come to {total}, not to 100");
            findings.error(
                codes::LOCALITY_DISTRIBUTE,
                item.spot_of("to"),
                message,
                "write weights that come to 100",
            );
        }
    }
}

/// Reports regions that are none.
pub(in crate::api) fn check_failover(setting: &Cursor<'_>, findings: &mut Findings) {
    for item in setting.items("failover") {
        for name in ["from", "to"] {
            let region = item.text(name);
            if region.contains(['/', '*']) {
                let message = format!("`{region}` is not a region");
                findings.error(
                    codes::LOCALITY_FAILOVER,
                    item.spot_of(name),
                    message,
                    "write a region alone, without zone or wildcard",
                );
            }
        }
        if item.text("from") == item.text("to") {
            let message = "failover goes to the region that it comes from";
            findings.error(
                codes::LOCALITY_FAILOVER,
                item.spot_of("to"),
                message,
                "write another region",
            );
        }
    }
}

/// The localities of one list so far, of which none may overlap with an earlier and wider one.
#[derive(Default)]
struct Localities {
    /// As `(region, zone, subzone)`, `*` for what an entry leaves out.
    seen: BTreeSet<[String; 3]>,
}

impl Localities {
    fn add(&mut self, locality: &str, spot: impl Fn() -> Spot, findings: &mut Findings) {
        let mut error = |message: String, hint: &str| {
            findings.error(codes::LOCALITY_DISTRIBUTE, spot(), message, hint);
        };
        if locality.split('/').any(str::is_empty) {
            return error(
                format!("`{locality}` has an empty part"),
                "write region/zone/subzone, region/*, or *",
            );
        }
        if locality.trim_end_matches('*').contains('*') || locality.ends_with("**") {
            return error(
                format!("`{locality}` has a wildcard before its end"),
                "write at most one, at the end",
            );
        }
        let parts: Vec<&str> = locality.splitn(3, '/').collect();
        if self.overlaps(&parts) {
            return error(
                format!("`{locality}` overlaps with another locality of the list"),
                "remove one of them",
            );
        }
        let part = |index: usize| parts.get(index).copied().unwrap_or("*").to_owned();
        self.seen.insert([part(0), part(1), part(2)]);
    }

    /// As in Istio, a wildcard may follow what it covers, as the rest, but what it covers may not follow a wildcard.
    fn overlaps(&self, parts: &[&str]) -> bool {
        self.seen.iter().any(|[region, zone, subzone]| match parts {
            _ if region == "*" => true,
            [own, ..] if own != region => false,
            [_] => true,
            _ if zone == "*" => true,
            [_, own_zone] => own_zone == zone,
            [_, own_zone, own_subzone, ..] => {
                own_zone == zone && (subzone == "*" || own_subzone == subzone)
            }
            [] => false,
        })
    }
}
