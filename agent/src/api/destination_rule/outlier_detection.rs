//! Reads and validates an `outlierDetection`, of a `DestinationRule` or of the mesh.

use super::super::codes;
use super::super::findings::Findings;
use super::super::rules;
use super::super::tree::Cursor;
use super::OutlierDetection;

/// Reads a block that conforms to its schema; what it leaves out has Envoy's default.
pub(in crate::api) fn read(outlier: &Cursor<'_>, findings: &mut Findings) -> OutlierDetection {
    check(outlier, findings);
    let default = OutlierDetection::default();
    let count = |name| rules::count(outlier, name);
    let base_ejection_time = rules::duration(outlier, "baseEjectionTime", findings);
    let interval = rules::duration(outlier, "interval", findings);
    OutlierDetection {
        consecutive_5xx_errors: count("consecutive5xxErrors")
            .unwrap_or(default.consecutive_5xx_errors),
        consecutive_gateway_errors: count("consecutiveGatewayErrors")
            .unwrap_or(default.consecutive_gateway_errors),
        split_external_local_origin_errors: outlier.flag("splitExternalLocalOriginErrors")
            == Some(true),
        // Istio passes on only what is above 0.
        consecutive_local_origin_failures: count("consecutiveLocalOriginFailures")
            .filter(|failures| *failures > 0)
            .unwrap_or(default.consecutive_local_origin_failures),
        interval: interval.unwrap_or(default.interval),
        base_ejection_time: base_ejection_time.unwrap_or(default.base_ejection_time),
        max_ejection_percent: count("maxEjectionPercent")
            .filter(|percent| *percent > 0)
            .unwrap_or(default.max_ejection_percent),
        min_health_percent: count("minHealthPercent").unwrap_or(default.min_health_percent),
    }
}

fn check(outlier: &Cursor<'_>, findings: &mut Findings) {
    rules::percent(outlier, "maxEjectionPercent", findings);
    rules::percent(outlier, "minHealthPercent", findings);
    if outlier
        .int("consecutiveErrors")
        .is_some_and(|errors| errors != 0)
    {
        let message = "`consecutiveErrors` is deprecated";
        let hint = "write consecutive5xxErrors or consecutiveGatewayErrors";
        findings.warning(
            codes::DEPRECATED,
            outlier.spot_of("consecutiveErrors"),
            message,
            hint,
        );
    }
    let local = outlier.int("consecutiveLocalOriginFailures").unwrap_or(0);
    if local > 0 && outlier.flag("splitExternalLocalOriginErrors") != Some(true) {
        let message = "failures of local origin are counted only when they are split from others";
        let hint = "write splitExternalLocalOriginErrors: true, or remove this";
        findings.error(
            codes::OUTLIER_DETECTION,
            outlier.spot_of("consecutiveLocalOriginFailures"),
            message,
            hint,
        );
    }
}
