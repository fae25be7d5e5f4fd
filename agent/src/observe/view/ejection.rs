//! What is remembered of an endpoint's ejections, as views show it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::{Failure, Record};

/// The ejections of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EjectionView {
    /// How many there were, a present one included.
    pub count: u32,
    /// How long the present one lasts at least; absent where it is not ejected.
    pub seconds_left: Option<f64>,
    /// Failed connects in a row that led to the last one.
    pub failures: u32,
    /// What the last of them met: `refused`, `timed out` or `unreachable`.
    pub failure: String,
}

impl EjectionView {
    /// `now` is by the clock that the record goes by.
    pub(super) fn new(record: &Record, now: Duration) -> Self {
        let left = record.until.map(|until| until.saturating_sub(now));
        Self {
            count: record.count,
            seconds_left: left.map(|left| left.as_secs_f64()),
            failures: record.in_a_row,
            failure: failure(record.failure).to_owned(),
        }
    }

    /// Why it is out, or that it was.
    pub(super) fn sentence(&self) -> String {
        let Self {
            count,
            failures,
            failure,
            ..
        } = self;
        let back = match (self.seconds_left, count) {
            (None, 1) => return "was ejected once before".to_owned(),
            (None, count) => return format!("was ejected {count} times before"),
            (Some(left), _) if left <= 0.0 => "returns when the interval ends".to_owned(),
            (Some(left), _) => format!("{} s left", left.ceil()),
        };
        format!("ejection {count}, {back}: {failures} failed connects in a row, the last {failure}")
    }
}

const fn failure(failure: Failure) -> &'static str {
    match failure {
        Failure::Refused => "refused",
        Failure::TimedOut => "timed out",
        Failure::Unreachable => "unreachable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(count: u32, left: Option<u64>) -> String {
        let now = Duration::from_secs(100);
        let record = Record {
            count,
            until: left.map(|left| now + Duration::from_millis(left)),
            failure: Failure::TimedOut,
            in_a_row: 5,
        };
        EjectionView::new(&record, now).sentence()
    }

    #[test]
    fn an_ejected_endpoint_says_for_how_long_and_after_what() {
        let row = "5 failed connects in a row, the last timed out";
        for (left, expected) in [
            (24_100, format!("ejection 2, 25 s left: {row}")),
            (1, format!("ejection 2, 1 s left: {row}")),
            (
                0,
                format!("ejection 2, returns when the interval ends: {row}"),
            ),
        ] {
            assert_eq!(sentence(2, Some(left)), expected);
        }
    }

    #[test]
    fn one_that_came_back_says_how_often_it_was_out() {
        assert_eq!(sentence(1, None), "was ejected once before");
        assert_eq!(sentence(3, None), "was ejected 3 times before");
    }
}
