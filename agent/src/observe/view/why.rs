//! Why an endpoint gets the part of the connects that it gets, in a sentence.

use std::time::Duration;

use crate::compile::Endpoint;
use crate::health::{Failure, Record};
use crate::model::Vital;

/// `None` where its weight says it all. `record` and `left`: what is remembered of its ejections, and how long the present one
/// lasts still.
pub(super) fn why(
    endpoint: &Endpoint,
    record: Option<&Record>,
    left: Option<Duration>,
) -> Option<String> {
    let reason = match endpoint.vital {
        Vital::Failing => "its object says that it is unhealthy".to_owned(),
        Vital::Ejected => match (record, left) {
            (Some(record), Some(left)) => ejected(record, left),
            _ => "taken to be ejected".to_owned(),
        },
        Vital::Warming(part) => {
            format!("warms up: counts {}% of its weight", f64::from(part) / 10.0)
        }
        Vital::Healthy if endpoint.weight == 0 => "drains: gets no new connects".to_owned(),
        Vital::Healthy if endpoint.share == 0 && endpoint.priority > 0 => {
            let priority = endpoint.priority;
            format!("in reserve: priorities below {priority} take all")
        }
        Vital::Healthy if endpoint.share == 0 => "its locality gets no part".to_owned(),
        Vital::Healthy => return record.map(ejected_before),
    };
    let is_in_panic = !endpoint.vital.is_healthy() && endpoint.share > 0;
    Some(if is_in_panic {
        format!("{reason}; takes its part all the same, as fewer than minHealthPercent are healthy")
    } else {
        reason
    })
}

fn ejected(record: &Record, left: Duration) -> String {
    // What is begun counts as a whole second, so that 0 means that its time is over.
    let seconds = left.as_millis().div_ceil(1000);
    let Record {
        count, in_a_row, ..
    } = record;
    let back = match seconds {
        0 => "returns when the interval ends".to_owned(),
        seconds => format!("{seconds} s left"),
    };
    let last = failure(record.failure);
    format!("ejection {count}, {back}: {in_a_row} failed connects in a row, the last {last}")
}

fn ejected_before(record: &Record) -> String {
    match record.count {
        1 => "was ejected once before".to_owned(),
        count => format!("was ejected {count} times before"),
    }
}

/// What the last connect met.
pub(super) const fn failure(failure: Failure) -> &'static str {
    match failure {
        Failure::Refused => "refused",
        Failure::TimedOut => "timed out",
        Failure::Unreachable => "unreachable",
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::fixtures::{state, weighted};

    use super::*;

    const RECORD: Record = Record {
        count: 2,
        until: None,
        failure: Failure::TimedOut,
        in_a_row: 5,
    };

    /// What is said of an endpoint with a share of 3, changed so.
    fn said(change: impl FnOnce(&mut Endpoint), left: Option<u64>) -> Option<String> {
        let state = state(&[weighted()]);
        let service = state.compiled.program.services.values().next().unwrap();
        let mut endpoint = service.endpoints[0].clone();
        change(&mut endpoint);
        let is_known = endpoint.vital == Vital::Ejected || left.is_some();
        let left = left.map(Duration::from_millis);
        why(&endpoint, is_known.then_some(&RECORD), left)
    }

    fn of(vital: Vital, left: Option<u64>) -> Option<String> {
        let out = |endpoint: &mut Endpoint| (endpoint.vital, endpoint.share) = (vital, 0);
        said(out, left)
    }

    #[test]
    fn an_endpoint_that_gets_what_its_weight_says_needs_no_reason() {
        assert_eq!(said(|_| (), None), None);
    }

    #[test]
    fn an_ejected_endpoint_says_for_how_long_and_after_what() {
        let row = "5 failed connects in a row, the last timed out";
        for (left, expected) in [
            (Some(24_100), format!("ejection 2, 25 s left: {row}")),
            (Some(1), format!("ejection 2, 1 s left: {row}")),
            (
                Some(0),
                format!("ejection 2, returns when the interval ends: {row}"),
            ),
            (None, "taken to be ejected".to_owned()),
        ] {
            assert_eq!(of(Vital::Ejected, left), Some(expected));
        }
    }

    #[test]
    fn what_is_out_but_gets_connects_says_that_too() {
        let panicking = |endpoint: &mut Endpoint| endpoint.vital = Vital::Failing;
        assert_eq!(
            said(panicking, None).unwrap(),
            "its object says that it is unhealthy; takes its part all the same, as fewer than minHealthPercent are healthy"
        );
    }

    #[test]
    fn a_part_that_differs_from_the_weight_is_explained() {
        let share = |share| move |endpoint: &mut Endpoint| endpoint.share = share;
        let warming = |endpoint: &mut Endpoint| endpoint.vital = Vital::Warming(125);
        let draining = |endpoint: &mut Endpoint| endpoint.weight = 0;
        let later = |endpoint: &mut Endpoint| (endpoint.share, endpoint.priority) = (0, 2);
        for (found, expected) in [
            (said(warming, None), "warms up: counts 12.5% of its weight"),
            (said(draining, None), "drains: gets no new connects"),
            (said(later, None), "in reserve: priorities below 2 take all"),
            (said(share(0), None), "its locality gets no part"),
            (said(share(3), Some(0)), "was ejected 2 times before"),
        ] {
            assert_eq!(found.as_deref(), Some(expected));
        }
    }
}
