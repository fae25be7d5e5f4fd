//! What the demo prints: for each target the part that each server should get and the part that it got.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use super::scene::{Expectation, Target};

/// Widest bar, for a part of 100 %.
const BAR: usize = 25;
/// How many standard deviations a part may be off by chance: once in 15,000 times more.
const DEVIATIONS: f64 = 4.0;
/// Fewer connects than this prove nothing.
const ENOUGH: u64 = 200;

/// Connects of the present step: target → answer → count.
#[derive(Default)]
pub(super) struct Board {
    counts: BTreeMap<Target, BTreeMap<String, u64>>,
    drawn: usize,
}

impl Board {
    pub(super) fn count(&mut self, target: Target, answer: String, connects: u64) {
        *self
            .counts
            .entry(target)
            .or_default()
            .entry(answer)
            .or_default() += connects;
    }

    /// Draws over the last drawing on a terminal; elsewhere only the last drawing of a step is printed.
    pub(super) fn draw(&mut self, expected: &Expectation, last: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !out.is_terminal() && !last {
            return Ok(());
        }
        let lines = self.lines(expected);
        if self.drawn > 0 {
            write!(out, "\x1b[{}A", self.drawn)?;
        }
        for line in &lines {
            let clear = if self.drawn > 0 { "\x1b[2K" } else { "" };
            writeln!(out, "{clear}{line}")?;
        }
        self.drawn = lines.len();
        out.flush()
    }

    fn lines(&self, expected: &Expectation) -> Vec<String> {
        let mut lines = Vec::new();
        for (target, shares) in expected {
            let counts = self.counts.get(target);
            let total: u64 = counts.map_or(0, |counts| counts.values().sum());
            let unexpected = counts
                .into_iter()
                .flat_map(BTreeMap::keys)
                .filter(|answer| !shares.contains_key(answer.as_str()))
                .map(|answer| (answer.as_str(), 0.0));
            let rows = shares.iter().map(|(server, share)| (*server, *share));
            let mut name = format!("{}:{}", target.host, target.port);
            let mut resolution = target.resolution;
            for (answer, share) in rows.chain(unexpected) {
                let count = counts.and_then(|counts| counts.get(answer)).copied();
                let count = count.unwrap_or(0);
                let got = part(count, total);
                lines.push(format!(
                    "  {name:<26}  {resolution:<16}  {answer:<16}  {:>5.1} %  {:>5.1} %  {:<BAR$}  {count:>6}",
                    share * 100.0,
                    got * 100.0,
                    bar(got),
                ));
                name.clear();
                resolution = "";
            }
        }
        lines
    }

    /// The connects so far.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().flat_map(BTreeMap::values).sum()
    }

    /// What is not as it should be; empty when all is.
    pub(super) fn faults(&self, expected: &Expectation) -> Vec<String> {
        let nothing = BTreeMap::new();
        let mut faults = Vec::new();
        for (target, shares) in expected {
            let counts = self.counts.get(target).unwrap_or(&nothing);
            let total: u64 = counts.values().sum();
            if total < ENOUGH {
                faults.push(format!("{}: only {total} connects", target.host));
            }
            for (answer, count) in counts {
                let share = shares.get(answer.as_str()).copied().unwrap_or(0.0);
                let got = part(*count, total);
                if (got - share).abs() > chance(share, total) {
                    faults.push(format!(
                        "{}: {answer} got {:.1} % and not {:.1} %",
                        target.host,
                        got * 100.0,
                        share * 100.0
                    ));
                }
            }
        }
        faults
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
fn part(count: u64, total: u64) -> f64 {
    if total == 0 {
        0.0
    } else {
        count as f64 / total as f64
    }
}

/// How far from `share` a part of `total` draws may be; nothing where the share leaves no choice.
#[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
fn chance(share: f64, total: u64) -> f64 {
    DEVIATIONS * (share * (1.0 - share) / total as f64).sqrt()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part lies between 0 and 1"
)]
fn bar(part: f64) -> String {
    "█".repeat((part * BAR as f64).round() as usize)
}

#[cfg(test)]
mod tests {
    use super::super::scene::SHOP;
    use super::*;

    fn board(answers: &[(&str, u64)]) -> Board {
        let mut board = Board::default();
        for (answer, connects) in answers {
            board.count(SHOP, (*answer).to_owned(), *connects);
        }
        board
    }

    fn expectation() -> Expectation {
        [(SHOP, [("a", 0.7), ("b", 0.3)].into())].into()
    }

    #[test]
    fn a_split_near_the_expected_one_has_no_faults() {
        let board = board(&[("a", 690), ("b", 310)]);
        assert_eq!(board.faults(&expectation()), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_split_and_an_unexpected_answer_and_too_few_connects_are_faults() {
        assert_eq!(
            board(&[("a", 310), ("b", 690)])
                .faults(&expectation())
                .len(),
            2
        );
        assert_eq!(
            board(&[("a", 700), ("b", 299), ("c", 1)])
                .faults(&expectation())
                .len(),
            1
        );
        assert_eq!(board(&[("a", 7), ("b", 3)]).faults(&expectation()).len(), 1);
    }
}
