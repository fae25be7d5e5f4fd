//! Reads and validates a `loadBalancer`, of which the locality setting is carried out.

use std::collections::BTreeSet;

use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;
use super::{LocalityLbSetting, locality_setting};

/// Envoy's limit of a Maglev table.
const MAGLEV_LIMIT: i128 = 5_000_011;

/// The locality setting, where there is one.
pub(super) fn read(
    balancer: &Cursor<'_>,
    has_outlier_detection: bool,
    findings: &mut Findings,
) -> Option<LocalityLbSetting> {
    rules::at_most_one(balancer, &["simple", "consistentHash"], findings);
    rules::at_most_one(
        balancer,
        &["localityLbSetting", "zoneAwareLbSetting"],
        findings,
    );
    check_simple(balancer, findings);
    if let Some(hash) = balancer.field("consistentHash") {
        check_consistent_hash(&hash, findings);
    }
    rules::duration(balancer, "warmupDurationSecs", findings);
    if let Some(warmup) = balancer.field("warmup") {
        check_warmup(&warmup, findings);
    }
    if let Some(setting) = balancer.field("zoneAwareLbSetting") {
        locality_setting::check_failover(&setting, findings);
    }
    let setting = balancer.field("localityLbSetting")?;
    if !has_outlier_detection {
        report_idle_failover(&setting, findings);
    }
    Some(locality_setting::read(&setting, findings))
}

fn check_simple(balancer: &Cursor<'_>, findings: &mut Findings) {
    let simple = balancer.text("simple");
    let instead = match simple {
        "ROUND_ROBIN" => {
            "endpoints are picked at random by weight, which gives each the same share in the long run"
        }
        "PASSTHROUGH" => {
            "connections are spread over the endpoints; write resolution: NONE to pass them on"
        }
        // At random by weight is what these come to, where no requests are counted.
        _ => return,
    };
    let message = format!("the algorithm {simple} is not carried out");
    findings.warning(
        codes::LOAD_BALANCER_NOT_CARRIED_OUT,
        balancer.spot_of("simple"),
        message,
        instead,
    );
}

fn check_consistent_hash(hash: &Cursor<'_>, findings: &mut Findings) {
    rules::at_most_one(
        hash,
        &[
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
        ],
        findings,
    );
    rules::at_most_one(hash, &["ringHash", "maglev"], findings);
    if let Some(cookie) = hash.field("httpCookie") {
        check_cookie(&cookie, findings);
    }
    if hash.int("minimumRingSize").is_some_and(|size| size != 0) {
        let message = "`minimumRingSize` is deprecated here";
        findings.warning(
            codes::DEPRECATED,
            hash.spot_of("minimumRingSize"),
            message,
            "write it below ringHash",
        );
        if hash.has("ringHash") || hash.has("maglev") {
            let message = "`minimumRingSize` and a hash algorithm exclude each other";
            findings.error(
                codes::CONSISTENT_HASH,
                hash.spot_of("minimumRingSize"),
                message,
                "keep the algorithm",
            );
        }
    }
    if let Some(maglev) = hash.field("maglev") {
        let size = maglev.int("tableSize").unwrap_or(0);
        if size >= MAGLEV_LIMIT || !is_prime(size) {
            let message = format!("{size} is not a prime number below {MAGLEV_LIMIT}");
            findings.error(
                codes::CONSISTENT_HASH,
                maglev.spot_of("tableSize"),
                message,
                "write a prime, such as 65537",
            );
        }
    }
}

fn check_cookie(cookie: &Cursor<'_>, findings: &mut Findings) {
    if cookie.text("name").is_empty() {
        findings.error(
            codes::REQUIRED,
            cookie.spot_of("name"),
            "the cookie has no name",
            "write its name",
        );
    }
    let mut names = BTreeSet::new();
    for attribute in cookie.items("attributes") {
        let name = attribute.text("name");
        if name.is_empty() {
            findings.error(
                codes::REQUIRED,
                attribute.spot_of("name"),
                "the attribute has no name",
                "write its name",
            );
        } else if !names.insert(name) {
            let message = format!("the attribute `{name}` is written twice");
            findings.error(
                codes::CONSISTENT_HASH,
                attribute.spot_of("name"),
                message,
                "remove one of them",
            );
        }
    }
}

fn check_warmup(warmup: &Cursor<'_>, findings: &mut Findings) {
    if !warmup.has("duration") {
        findings.error(
            codes::REQUIRED,
            warmup.spot_of("duration"),
            "the warmup has no duration",
            "write how long it takes",
        );
    }
    rules::duration(warmup, "duration", findings);
    rules::percent(warmup, "minimumPercent", findings);
    if warmup
        .number("aggression")
        .is_some_and(|aggression| aggression <= 0.0)
    {
        let message = "`aggression` is not above 0";
        findings.error(
            codes::RANGE,
            warmup.spot_of("aggression"),
            message,
            "write 1 or more",
        );
    }
}

fn report_idle_failover(setting: &Cursor<'_>, findings: &mut Findings) {
    for name in ["failover", "failoverPriority"] {
        if setting.items(name).len() > 0 {
            let message = format!("`{name}` has no effect without outlierDetection");
            let hint = "write outlierDetection beside loadBalancer";
            findings.warning(
                codes::FAILOVER_WITHOUT_OUTLIER_DETECTION,
                setting.spot_of(name),
                message,
                hint,
            );
        }
    }
}

/// By trial division: the numbers are below [`MAGLEV_LIMIT`].
fn is_prime(number: i128) -> bool {
    number > 0
        && (number < 4
            || number % 2 != 0
                && (3..)
                    .step_by(2)
                    .take_while(|d| d * d <= number)
                    .all(|d| number % d != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_told_as_envoy_tells_them() {
        // Envoy counts 1 as a prime.
        let primes: Vec<i128> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65537) && !is_prime(65536));
    }
}
