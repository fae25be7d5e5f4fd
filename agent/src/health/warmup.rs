//! How much of its weight does an endpoint get that is new? Envoy's slow start
//! (`EdfLoadBalancerBase::applySlowStartFactor`).

use std::time::Duration;

use crate::api::Warmup;

/// The part of its weight in thousandths, `age` after it joined; 1000 once it is warm.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the factor is between 0 and 1"
)]
pub(super) fn thousandths(warmup: &Warmup, age: Duration) -> u16 {
    if age >= warmup.duration {
        return 1000;
    }
    let aggression = f64::from(warmup.aggression) / 1000.0;
    let time = age.as_secs_f64().max(1.0) / warmup.duration.as_secs_f64();
    let factor = time.powf(1.0 / aggression);
    let least = f64::from(warmup.minimum_percent) / 100.0;
    // An endpoint that gets nothing would never be seen to work.
    (factor.max(least) * 1000.0).clamp(1.0, 1000.0) as u16
}
