//! Reads and validates a `loadBalancer`.

use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;
use super::{Algorithm, LoadBalancer, Warmup, consistent_hash, locality_setting};

/// Istio's part of its weight, in percent, that an endpoint gets at first where none is written.
const MINIMUM_PERCENT: f64 = 10.0;

/// Reads a block that conforms to its schema.
pub(super) fn read(
    balancer: &Cursor<'_>,
    has_outlier_detection: bool,
    findings: &mut Findings,
) -> LoadBalancer {
    rules::at_most_one(balancer, &["simple", "consistentHash"], findings);
    rules::at_most_one(
        balancer,
        &["localityLbSetting", "zoneAwareLbSetting"],
        findings,
    );
    let algorithm = balancer.field("consistentHash").map_or_else(
        || simple(balancer.text("simple")),
        |hash| consistent_hash::read(&hash, findings),
    );
    if let Some(setting) = balancer.field("zoneAwareLbSetting") {
        locality_setting::check_failover(&setting, findings);
    }
    let locality_lb = balancer.field("localityLbSetting").map(|setting| {
        if !has_outlier_detection {
            report_idle_failover(&setting, findings);
        }
        locality_setting::read(&setting, findings)
    });
    LoadBalancer {
        algorithm,
        warmup: read_warmup(balancer, algorithm, findings),
        locality_lb,
    }
}

fn simple(name: &str) -> Algorithm {
    match name {
        "ROUND_ROBIN" => Algorithm::RoundRobin,
        "RANDOM" => Algorithm::Random,
        "PASSTHROUGH" => Algorithm::Passthrough,
        _ => Algorithm::LeastRequest,
    }
}

/// The warmup, where it goes with the algorithm.
fn read_warmup(
    balancer: &Cursor<'_>,
    algorithm: Algorithm,
    findings: &mut Findings,
) -> Option<Warmup> {
    let short = rules::duration(balancer, "warmupDurationSecs", findings);
    if short.is_some() {
        findings.warning(
            codes::DEPRECATED,
            balancer.spot_of("warmupDurationSecs"),
            "`warmupDurationSecs` is deprecated",
            "write warmup.duration",
        );
    }
    let written = balancer.field("warmup");
    let name = if written.is_some() {
        "warmup"
    } else {
        "warmupDurationSecs"
    };
    let warmup = match &written {
        Some(warmup) => parts(warmup, findings),
        None => short.map(|duration| Warmup {
            duration,
            minimum_percent: rounded(MINIMUM_PERCENT),
            aggression: rounded(1000.0),
        }),
    }?;
    if matches!(algorithm, Algorithm::RoundRobin | Algorithm::LeastRequest) {
        return Some(warmup);
    }
    findings.warning(
        codes::LOAD_BALANCER_NOT_CARRIED_OUT,
        balancer.spot_of(name),
        format!("`{name}` has no effect with this algorithm"),
        "write simple: ROUND_ROBIN or LEAST_REQUEST, or remove it",
    );
    None
}

fn parts(warmup: &Cursor<'_>, findings: &mut Findings) -> Option<Warmup> {
    if !warmup.has("duration") {
        findings.error(
            codes::REQUIRED,
            warmup.spot_of("duration"),
            "the warmup has no duration",
            "write how long it takes",
        );
    }
    let duration = rules::duration(warmup, "duration", findings);
    rules::percent(warmup, "minimumPercent", findings);
    let aggression = warmup.number("aggression").unwrap_or(1.0);
    if aggression <= 0.0 {
        let message = "`aggression` is not above 0";
        findings.error(
            codes::RANGE,
            warmup.spot_of("aggression"),
            message,
            "write 1 or more",
        );
    }
    let minimum = warmup.number("minimumPercent").unwrap_or(MINIMUM_PERCENT);
    Some(Warmup {
        duration: duration?,
        minimum_percent: rounded(minimum).min(100),
        // Below a thousandth it could as well not grow at all.
        aggression: rounded(aggression * 1000.0).max(1),
    })
}

/// The nearest whole number; what is negative counts as 0.
fn rounded(number: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is too large, negative or no number is saturated"
    )]
    let whole = number.round() as u32;
    whole
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
