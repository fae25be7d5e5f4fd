//! What a run of `cargo test` said, counted.

use std::fmt;

/// Tests passed, failed and skipped, read off the lines of libtest and of the tests' own `skipped: TEST: REASON`.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    ignored: usize,
    failures: Vec<String>,
    /// `TEST: REASON` of those that passed only because they could not run.
    skips: Vec<String>,
    failed: usize,
    in_failures: bool,
}

impl Tally {
    pub(crate) fn passed(&self) -> usize {
        self.passed.saturating_sub(self.skips.len())
    }

    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    pub(crate) fn skipped(&self) -> usize {
        self.ignored + self.skips.len()
    }

    /// Which tests were skipped, why, and which failed.
    pub(crate) fn findings(&self) -> impl Iterator<Item = String> {
        let skipped = self.skips.iter().map(|skip| format!("skipped  {skip}"));
        let failed = self.failures.iter().map(|name| format!("FAILED   {name}"));
        skipped.chain(failed)
    }

    /// Takes one line of output into account.
    pub(crate) fn count(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += number_before(result, " passed");
            self.failed += number_before(result, " failed");
            self.ignored += number_before(result, " ignored");
        } else if let Some(skip) = skip(line) {
            self.skips.push(skip.to_owned());
        }
        // libtest ends with "failures:" and the names, one to a line, indented.
        if self.in_failures
            && let Some(name) = line.strip_prefix("    ")
        {
            self.failures.push(name.to_owned());
        } else {
            self.in_failures = line == "failures:";
        }
    }
}

/// The rest of a line that says `skipped: `, which may stand behind the name that libtest has begun the line with.
fn skip(line: &str) -> Option<&str> {
    let (before, skip) = line.split_once("skipped: ")?;
    (before.is_empty() || before.ends_with("... ")).then_some(skip)
}

/// The number that stands before `label` in "ok. 3 passed; 0 failed; …".
fn number_before(result: &str, label: &str) -> usize {
    result
        .split_once(label)
        .and_then(|(before, _)| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings() {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "all tests: {} passed, {} failed, {} skipped",
            self.passed(),
            self.failed(),
            self.skipped()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(text: &str) -> Tally {
        let mut tally = Tally::default();
        for line in text.lines() {
            tally.count(line);
        }
        tally
    }

    #[test]
    fn results_of_several_binaries_add_up() {
        let tally = tally_of(
            "running 2 tests\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test result: FAILED. 10 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 1.01s\n",
        );
        assert_eq!(
            (tally.passed(), tally.failed(), tally.skipped()),
            (12, 1, 3)
        );
    }

    #[test]
    fn a_test_that_says_skipped_is_not_counted_as_passed() {
        let tally = tally_of(
            "skipped: weights_hold: needs root\n\
             test a_restart_loses_nothing ... skipped: a_restart_loses_nothing: needs root\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        );
        assert_eq!((tally.passed(), tally.skipped()), (1, 2));
        assert!(tally.to_string().contains("weights_hold: needs root"));
    }

    #[test]
    fn failures_are_named_once() {
        let tally = tally_of(
            "failures:\n\n---- a_thing stdout ----\n    indented\n\nfailures:\n    a_thing\n    another::thing\n\n\
             test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        );
        assert_eq!(tally.failures, ["a_thing", "another::thing"]);
    }
}
