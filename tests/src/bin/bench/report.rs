//! The table that is printed: markdown, one row for each measurement.

use std::fs;

/// Rows in the order of measuring.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<[String; 3]>,
}

impl Report {
    /// Adds a row, and says on standard error that it is there.
    pub(crate) fn row(&mut self, what: impl Into<String>, figure: impl Into<String>, budget: &str) {
        let row = [what.into(), figure.into(), budget.to_owned()];
        eprintln!("  {}: {}", row[0], row[1]);
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        println!("Linux {}, {cpus} CPUs.\n", kernel.trim());
        println!("| measured | result | budget |\n|---|--:|--:|");
        for [what, figure, budget] in &self.rows {
            println!("| {what} | {figure} | {budget} |");
        }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
