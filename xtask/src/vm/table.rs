//! The table of all kernels: a column for each, a row for each figure.

use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::report::Report;

/// What failed and what was skipped, by kernel; the table; and the sum.
pub(super) fn of(reports: &[(String, Report)]) -> String {
    let mut text = String::new();
    for (release, report) in reports {
        for line in report.tally.findings() {
            writeln!(text, "Linux {release}: {line}").expect("strings take all");
        }
        for failure in &report.failures {
            writeln!(text, "Linux {release}: {failure}").expect("strings take all");
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let sum = |count: fn(&Report) -> usize| -> usize {
        reports.iter().map(|(_, report)| count(report)).sum()
    };
    write!(
        text,
        "{}\n\nkernels: {} passed, {} failed, {} skipped",
        grid(reports),
        sum(|report| report.tally.passed()),
        sum(|report| report.tally.failed() + report.failures.len()),
        sum(|report| report.tally.skipped()),
    )
    .expect("strings take all");
    text
}

fn grid(reports: &[(String, Report)]) -> Table {
    let mut grid = Table::new();
    grid.load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let mut row = |label: String, cell: &dyn Fn(&Report) -> String| {
        let cells = reports.iter().map(|(_, report)| cell(report));
        grid.add_row([label].into_iter().chain(cells));
    };
    row("tests passed".to_owned(), &|report| {
        report.tally.passed().to_string()
    });
    row("tests failed".to_owned(), &|report| {
        report.tally.failed().to_string()
    });
    row("tests skipped".to_owned(), &|report| {
        report.tally.skipped().to_string()
    });
    row("machine".to_owned(), &|report| {
        if report.failures.is_empty() {
            "ended well"
        } else {
            "FAILED"
        }
        .to_owned()
    });
    row("time".to_owned(), &|report| {
        format!("{} s", report.elapsed.as_secs())
    });
    for program in programs(reports) {
        row(format!("verified instructions of {program}"), &|report| {
            let found = report.programs.iter().find(|(name, _)| *name == program);
            found.map_or_else(|| "-".to_owned(), |(_, count)| count.clone())
        });
    }
    let releases = reports.iter().map(|(release, _)| release.clone());
    grid.set_header([String::new()].into_iter().chain(releases));
    for column in grid.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    grid
}

/// Of any kernel, in the order in which they are told.
fn programs(reports: &[(String, Report)]) -> Vec<String> {
    let mut programs: Vec<String> = Vec::new();
    for (name, _) in reports.iter().flat_map(|(_, report)| &report.programs) {
        if !programs.contains(name) {
            programs.push(name.clone());
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_one_kernel_lacks_has_a_row_all_the_same() {
        let report = |lines: &[&str]| {
            let mut report = Report::default();
            for line in lines {
                report.take(line);
            }
            report
        };
        let old = report(&["vm: program shunt_connect4 1446", "vm: done"]);
        let new = report(&[
            "vm: program shunt_connect4 2916",
            "vm: program shunt_sockops 421",
            "vm: done",
        ]);
        let text = of(&[("5.10".to_owned(), old), ("6.18".to_owned(), new)]);
        let cells = |program: &str| -> Vec<String> {
            let row = text.lines().find(|line| line.contains(program));
            let words = row.expect("there is a row").split_whitespace();
            words.skip(3).map(str::to_owned).collect()
        };
        assert_eq!(cells("shunt_connect4"), ["shunt_connect4", "1446", "2916"]);
        assert_eq!(cells("shunt_sockops"), ["shunt_sockops", "-", "421"]);
        assert!(
            text.ends_with("kernels: 0 passed, 0 failed, 0 skipped"),
            "{text}"
        );
    }
}
