//! Rules that several kinds of object share: ports, durations, labels, selectors, exportTo.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::codes;
use super::findings::Findings;
use super::host::is_dns_label;
use super::likely::suggest;
use super::service_entry::Protocol;
use super::tree::{Cursor, Spot};

const MILLISECOND: i128 = 1_000_000;

/// The port number that `value` is. What is none is reported.
pub(super) fn port(value: i128, spot: Spot, findings: &mut Findings) -> Option<u16> {
    let port = u16::try_from(value).ok().filter(|port| *port != 0);
    if port.is_none() {
        let message = format!("{value} is not a port number");
        findings.error(
            codes::PORT_NUMBER,
            spot,
            message,
            "write a number between 1 and 65535",
        );
    }
    port
}

/// Reports a name of the port `item` that is none.
pub(super) fn port_name(item: &Cursor<'_>, findings: &mut Findings) {
    let name = item.text("name");
    if !is_dns_label(name) {
        let message = format!("`{name}` is not the name of a port");
        findings.error(
            codes::PORT_NAME,
            item.spot_of("name"),
            message,
            "use letters, digits and hyphens, at most 63",
        );
    }
}

/// The protocol of the port `item`. What is none is reported.
pub(super) fn protocol(item: &Cursor<'_>, findings: &mut Findings) -> Option<Protocol> {
    let written = item.text("protocol");
    let protocol = Protocol::parse(written);
    if protocol.is_none() {
        let known = [
            "TCP",
            "UDP",
            "HTTP",
            "HTTP2",
            "HTTPS",
            "TLS",
            "GRPC",
            "GRPC-Web",
            "HTTP_PROXY",
            "Mongo",
            "Redis",
            "MySQL",
        ];
        let hint = suggest(
            written,
            known,
            &format!("write one of {}", known.join(", ")),
        );
        findings.error(
            codes::PORT_PROTOCOL,
            item.spot_of("protocol"),
            format!("`{written}` is not a protocol"),
            hint,
        );
    }
    protocol
}

/// The IP address or CIDR prefix that `text` is, as Go reads it.
pub(super) fn address_or_prefix(text: &str) -> Option<IpNet> {
    match text.split_once('/') {
        None => text.parse::<IpAddr>().ok().map(IpNet::from),
        // `Ipv4Net` would take 10.0.0.0/08, which Go does not.
        Some((_, length)) if length.len() > 1 && length.starts_with('0') => None,
        Some((_, length)) if !length.bytes().all(|byte| byte.is_ascii_digit()) => None,
        Some(_) => text.parse().ok(),
    }
}

/// Reads a duration, and reports one that is too short or too fine for Istio. Absent is fine.
pub(super) fn duration(
    parent: &Cursor<'_>,
    name: &str,
    findings: &mut Findings,
) -> Option<Duration> {
    let nanoseconds = parent.int(name)?;
    if nanoseconds < MILLISECOND || nanoseconds % MILLISECOND != 0 {
        let message = format!("`{name}` is shorter than 1ms or not whole milliseconds");
        findings.error(
            codes::DURATION,
            parent.spot_of(name),
            message,
            "write whole milliseconds, at least 1ms",
        );
    }
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

/// A whole number of `parent` that is not negative.
pub(super) fn count(parent: &Cursor<'_>, name: &str) -> Option<u32> {
    u32::try_from(parent.int(name)?).ok()
}

/// Reports numbers of `parent` that are below 0.
pub(super) fn not_negative(parent: &Cursor<'_>, names: &[&str], findings: &mut Findings) {
    for name in names {
        if parent.int(name).is_some_and(|number| number < 0) {
            let message = format!("`{name}` is negative");
            findings.error(
                codes::RANGE,
                parent.spot_of(name),
                message,
                "write 0 or more; 0 means the default",
            );
        }
    }
}

/// Reports a number of `parent` that is no percentage.
pub(super) fn percent(parent: &Cursor<'_>, name: &str, findings: &mut Findings) {
    #[expect(clippy::cast_precision_loss, reason = "only compared with 0 and 100")]
    let value = parent
        .number(name)
        .or_else(|| parent.int(name).map(|number| number as f64));
    if value.is_some_and(|value| !(0.0..=100.0).contains(&value)) {
        let message = format!("`{name}` is not a percentage");
        findings.error(
            codes::RANGE,
            parent.spot_of(name),
            message,
            "write a number between 0 and 100",
        );
    }
}

/// Reports those of `names` that are set together, though at most one may be.
pub(super) fn at_most_one(parent: &Cursor<'_>, names: &[&str], findings: &mut Findings) {
    let set: Vec<_> = names.iter().filter(|name| parent.has(name)).collect();
    if let [first, second, ..] = set[..] {
        let message = format!("`{first}` and `{second}` exclude each other");
        findings.error(
            codes::AMBIGUOUS,
            parent.spot_of(second),
            message,
            "keep one of them",
        );
    }
}

/// Reads the labels `name`, and reports those that Istio refuses.
pub(super) fn labels(
    parent: &Cursor<'_>,
    name: &str,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    for (key, value) in parent.entries(name) {
        if !is_label_key(key) {
            let hint = "a key is a name of letters, digits, `-`, `_` and `.`, at most 63 long, perhaps after a domain name and `/`";
            findings.error(
                codes::LABEL,
                value.spot(),
                format!("`{key}` is not a label's key"),
                hint,
            );
        }
        if !value.as_text().is_empty() && !is_label_name(value.as_text()) {
            let message = format!("`{}` is not a label's value", value.as_text());
            let hint =
                "use letters, digits, `-`, `_` and `.`, and begin and end with a letter or digit";
            findings.error(codes::LABEL, value.spot(), message, hint);
        }
    }
    parent.text_map(name)
}

/// A label key: a name of up to 63 characters, perhaps after a domain name and a slash.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_domain = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_dns_label);
    name.len() <= 63 && is_label_name(name) && prefix.is_none_or(is_domain)
}

/// What a key's name and a value consist of. A value may be of any length.
fn is_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let edges = [bytes.first(), bytes.last()];
    edges
        .iter()
        .all(|edge| edge.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Reports a list that is longer than Istio accepts.
pub(super) fn at_most(
    parent: &Cursor<'_>,
    name: &str,
    most: usize,
    hint: &'static str,
    findings: &mut Findings,
) {
    let count = parent.items(name).len();
    if count > most {
        let message = format!("`{name}` has {count} items, and Istio accepts {most}");
        findings.error(codes::TOO_MANY, parent.spot_of(name), message, hint);
    }
}

/// Reads the selector `name`, whose labels are in `labels_name`. `None` where there is none.
pub(super) fn selector(
    spec: &Cursor<'_>,
    name: &str,
    labels_name: &str,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let selector = spec.field(name)?;
    for (key, value) in selector.entries(labels_name) {
        let text = value.as_text();
        if key.is_empty() {
            findings.error(
                codes::SELECTOR,
                value.spot(),
                "a selector's key is empty",
                "name a label",
            );
        } else if key.contains('*') || text.contains('*') {
            let message = format!("`{key}: {text}` has a wildcard, which a selector cannot have");
            findings.error(
                codes::SELECTOR,
                value.spot(),
                message,
                "write the label's key and value in full",
            );
        } else if text.len() > 63 {
            let message = format!("the value of `{key}` is longer than 63 characters");
            findings.error(
                codes::SELECTOR,
                value.spot(),
                message,
                "no label has such a value; shorten it",
            );
        }
    }
    let labels: BTreeMap<_, _> = selector.text_map(labels_name);
    if labels.is_empty() {
        let message = "a selector without labels selects everything in its namespace";
        findings.warning(
            codes::SELECTOR_EMPTY,
            selector.spot(),
            message,
            "name the labels to select by",
        );
    }
    Some(labels)
}

/// What `exportTo` may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exports {
    /// `~`, nobody, among others.
    Service,
    Rule,
    /// Only the rule's own namespace: it selects workloads.
    RuleWithSelector,
}

/// Reads the exports `name`, and reports what contradicts itself.
pub(super) fn export_to(
    spec: &Cursor<'_>,
    name: &str,
    namespace: &str,
    kind: Exports,
    findings: &mut Findings,
) -> Vec<String> {
    let mut seen = BTreeSet::new();
    for item in spec.items(name) {
        let written = item.as_text();
        let meant = if written == "." { namespace } else { written };
        if seen.contains(meant) {
            let message = format!("`{written}` exports to a namespace that is there already");
            findings.error(codes::EXPORT_TO, item.spot(), message, "remove one of them");
        } else if written == "~" && kind != Exports::Service {
            let message = "`~`, which exports to nobody, is only for ServiceEntry";
            findings.error(
                codes::EXPORT_TO,
                item.spot(),
                message,
                "write `.` for the own namespace",
            );
        } else if !matches!(written, "*" | "~" | ".") && !is_dns_label(written) {
            let message = format!("`{written}` is not a namespace");
            findings.error(
                codes::EXPORT_TO,
                item.spot(),
                message,
                "write a namespace, `.` for the own, or `*` for all",
            );
        } else {
            seen.insert(meant);
        }
    }
    for all_or_none in ["*", "~"] {
        if seen.contains(all_or_none) && spec.items(name).len() > 1 {
            let message = format!("`{all_or_none}` stands beside other entries");
            let hint = format!("write `{all_or_none}` alone, or only the other entries");
            findings.error(codes::EXPORT_TO, spec.spot_of(name), message, hint);
        }
    }
    if kind == Exports::RuleWithSelector && !seen.is_empty() && seen != BTreeSet::from([namespace])
    {
        let message = "a rule with a workloadSelector is for its own namespace only";
        findings.error(
            codes::EXPORT_TO,
            spec.spot_of(name),
            message,
            "write exportTo: [\".\"], or leave it out",
        );
    }
    spec.texts(name)
}
