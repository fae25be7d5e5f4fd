//! How often are endpoints probed that see no traffic? As an annotation of the entry says, where failures count.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{self, Diagnostic, Meta, Severity};
use agent_common::abi::TCP;

use super::catalog::Entry;
use super::codes;
use super::findings::listed;
use super::hosts::Declared;
use super::program::{Action, Service, ServiceKey};
use super::spread::Policy;

/// The annotation of entries whose endpoints are to be probed.
const PROBE_INTERVAL: &str = "shunt.internal/probe-interval";
/// What is shorter would be a load on endpoints rather than a look at them.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often endpoints of a declared port are probed; `None` where nothing would follow from that.
pub(super) fn interval(declared: &Declared, policy: &Policy) -> Option<Duration> {
    let ejects = policy
        .outlier_detection
        .is_some_and(|detection| detection.threshold().is_some());
    let is_probed = ejects && declared.transport() == TCP;
    let written = is_probed.then(|| written(declared.entry.meta));
    written.flatten()?.ok()
}

/// Why endpoints are probed, for people.
pub(super) fn reason(interval: Duration) -> String {
    format!("{PROBE_INTERVAL}: an endpoint without traffic is probed every {interval:?}")
}

/// What of an entry's annotation is not carried out, whatever its hosts.
pub(super) fn undone(entry: &Entry) -> Option<Diagnostic> {
    let mut ports = entry.spec.ports.iter();
    match written(entry.meta)? {
        Err(text) => {
            let why = match api::duration(text) {
                Some(_) => "is too short an interval",
                None => "is not a duration",
            };
            let message = format!("`{text}` {why}: endpoints are not probed");
            let hint = "write a number with its unit, at least 1s, such as 10s or 1m";
            Some(finding(Severity::Error, entry.meta, message, hint))
        }
        Ok(_) if ports.all(|port| port.protocol.is_udp()) => {
            let message =
                "there is no TCP port, and only those are probed: the annotation has no effect";
            let hint = "remove the annotation";
            Some(finding(Severity::Warning, entry.meta, message, hint))
        }
        Ok(_) => None,
    }
}

/// What the annotation says, if it is there: an interval, or what is none.
fn written(meta: &Meta) -> Option<Result<Duration, &str>> {
    let text = meta.annotations.get(PROBE_INTERVAL)?;
    let interval = api::duration(text).filter(|interval| *interval >= SHORTEST);
    Some(interval.ok_or(text))
}

fn finding(
    severity: Severity,
    meta: &Meta,
    message: impl Into<String>,
    hint: &'static str,
) -> Diagnostic {
    Diagnostic::about(severity, codes::PROBE_INTERVAL, meta, message)
        .at(format!("metadata.annotations[{PROBE_INTERVAL}]"), 0)
        .hint(hint)
}

/// Services of entries that ask for probes, and of whose endpoints none is probed; by the age of the entry.
#[derive(Default)]
pub(super) struct Unprobed<'a>(BTreeMap<usize, Found<'a>>);

struct Found<'a> {
    meta: &'a Meta,
    /// No failure counts there.
    unjudged: Vec<String>,
    /// There are no endpoints there, but what clients ask for.
    original: Vec<String>,
}

impl<'a> Unprobed<'a> {
    /// Takes a service of `entry` into account.
    pub(super) fn note(&mut self, entry: &Entry<'a>, key: &ServiceKey, service: &Service) {
        let is_probed = || service.clusters.iter().any(|c| c.probe_interval.is_some());
        let asks = matches!(written(entry.meta), Some(Ok(_)));
        if !asks || key.transport != TCP || is_probed() {
            return;
        }
        let found = self.0.entry(entry.age).or_insert(Found {
            meta: entry.meta,
            unjudged: Vec::new(),
            original: Vec::new(),
        });
        match service.action {
            Action::Balance => found.unjudged.push(key.to_string()),
            Action::Original { .. } => found.original.push(key.to_string()),
            // Which is said of the object that is to blame.
            Action::Refuse(_) => {}
        }
    }

    pub(super) fn report(self) -> impl Iterator<Item = Diagnostic> {
        self.0.into_values().flat_map(|found| {
            let unjudged = without_effect(
                &found,
                &found.unjudged,
                "no outlierDetection that counts failures is in effect there",
                "write outlierDetection into the trafficPolicy of a DestinationRule for the host, or remove the annotation",
            );
            let original = without_effect(
                &found,
                &found.original,
                "connects keep their address there, so no endpoint can be left out",
                "have the ServiceEntry balance over endpoints (another resolution than NONE, no PASSTHROUGH), or remove the annotation",
            );
            unjudged.into_iter().chain(original)
        })
    }
}

fn without_effect(
    found: &Found,
    services: &[String],
    why: &str,
    hint: &'static str,
) -> Option<Diagnostic> {
    let message = format!("nothing is probed of {}: {why}", listed(services));
    let is_any = !services.is_empty();
    is_any.then(|| finding(Severity::Warning, found.meta, message, hint))
}
