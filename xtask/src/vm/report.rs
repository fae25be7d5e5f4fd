//! How the tests went in one virtual machine, read off what it says on its ports.

use std::time::Duration;

use crate::test::tally::Tally;

/// Words of the kernel's console that tell that it is broken.
const BROKEN: [&str; 6] = [
    "Kernel panic",
    "BUG: ",
    "Oops",
    "soft lockup",
    "general protection fault",
    "rcu_sched self-detected stall",
];

#[derive(Debug, Default)]
pub(super) struct Report {
    pub tally: Tally,
    /// Instructions that the verifier looked at, by program; or why there is no number.
    pub programs: Vec<(String, String)>,
    /// What went wrong besides tests that failed.
    pub failures: Vec<String>,
    pub elapsed: Duration,
    running: Option<String>,
    is_done: bool,
}

impl Report {
    /// Of a kernel that could not be booted at all.
    pub(super) fn of_failure(why: String) -> Self {
        Self {
            failures: vec![why],
            ..Self::default()
        }
    }

    /// Takes a line of the port of the tests into account.
    pub(super) fn take(&mut self, line: &str) {
        let Some(told) = line.strip_prefix("vm: ") else {
            self.tally.count(line);
            return;
        };
        let words: Vec<&str> = told.splitn(3, ' ').collect();
        match words[..] {
            ["done"] => self.is_done = true,
            ["start", name] => self.running = Some(name.to_owned()),
            ["end", name, outcome] => {
                self.running = None;
                // 101 is how libtest ends where tests have failed, which are counted.
                let status = outcome.split(' ').next();
                if !matches!(status, Some("0" | "101")) {
                    self.failures.push(format!(
                        "{name} ended with status {}",
                        status.unwrap_or("?")
                    ));
                }
            }
            // A program may be loaded more than once.
            ["program", name, count] if self.programs.iter().all(|(known, _)| known != name) => {
                self.programs.push((name.to_owned(), count.to_owned()));
            }
            ["failed:", ..] => self.failures.push(told.to_owned()),
            _ => {}
        }
    }

    /// What runs now, for who looks on.
    pub(super) fn running(&self) -> Option<&str> {
        self.running.as_deref()
    }

    /// Notes the end of the machine: after `elapsed`, killed or by itself, with `console` as what its kernel said.
    pub(super) fn end(&mut self, elapsed: Duration, killed: bool, console: &str) {
        self.elapsed = elapsed;
        let broken = console
            .lines()
            .find(|line| BROKEN.iter().any(|mark| line.contains(mark)));
        if let Some(line) = broken {
            self.failures
                .push(format!("the kernel said: {}", line.trim()));
        }
        if self.is_done {
            return;
        }
        let during = self.running.as_deref().unwrap_or("the start");
        self.failures.push(if killed {
            format!(
                "it was stopped after {} s, during {during}",
                elapsed.as_secs()
            )
        } else {
            format!("the machine ended during {during}")
        });
    }

    pub(super) fn is_good(&self) -> bool {
        self.failures.is_empty() && self.tally.failed() == 0 && self.tally.passed() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [&str; 8] = [
        "vm: kernel 6.1.0-50-cloud-amd64",
        "vm: start verifier",
        "vm: program shunt_connect4 1234",
        "vm: end verifier 0 0.4",
        "vm: start kernel_rewrite",
        "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 3.01s",
        "vm: end kernel_rewrite 0 3.1",
        "vm: done",
    ];

    fn report(lines: &[&str], console: &str) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.take(line);
        }
        report.end(Duration::from_secs(9), false, console);
        report
    }

    #[test]
    fn a_machine_that_ran_all_is_good() {
        let report = report(&GOOD, "[    0.0] Linux version 6.1.0");
        assert!(report.is_good(), "{report:?}");
        assert_eq!(report.tally.passed(), 12);
        let program = ("shunt_connect4".to_owned(), "1234".to_owned());
        assert_eq!(report.programs, [program]);
    }

    #[test]
    fn a_panic_and_what_ran_at_that_time_are_told() {
        let report = report(
            &GOOD[..5],
            "[   12.0] Kernel panic - not syncing: softlockup: hung tasks\r\n",
        );
        assert!(!report.is_good());
        let [panic, during] = &report.failures[..] else {
            panic!("{report:?}");
        };
        assert!(panic.contains("softlockup"), "{panic}");
        assert!(during.contains("kernel_rewrite"), "{during}");
    }

    #[test]
    fn a_program_that_a_signal_ended_is_a_failure_of_its_own() {
        let mut lines = GOOD.to_vec();
        lines.insert(6, "vm: end kernel_refuse 134 0.1");
        let report = report(&lines, "");
        assert_eq!(report.failures, ["kernel_refuse ended with status 134"]);
    }

    #[test]
    fn tests_that_failed_are_no_success() {
        let mut lines = GOOD.to_vec();
        lines.insert(
            5,
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        );
        let report = report(&lines, "");
        assert!(!report.is_good());
        assert_eq!((report.tally.passed(), report.tally.failed()), (13, 1));
    }
}
