//! The table that a run prints.

use std::fmt::{self, Display};

/// What a figure is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    AtMost { limit: f64, unit: &'static str },
    None,
}

#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    ratio: String,
    budget: String,
}

/// Rows of Markdown.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// A figure of its own.
    pub(crate) fn figure(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &str,
        budget: Budget,
    ) {
        let ratio = String::new();
        self.push(
            what,
            format!("{} {unit}", shown(value)),
            ratio,
            budget.verdict(value),
        );
    }

    /// A figure beside the same of a direct connect. The budget is the ratio's.
    pub(crate) fn ratio(
        &mut self,
        what: impl Into<String>,
        figure: String,
        ratio: f64,
        budget: Budget,
    ) {
        self.push(what, figure, format!("{ratio:.3}"), budget.verdict(ratio));
    }

    fn push(&mut self, what: impl Into<String>, figure: String, ratio: String, budget: String) {
        self.0.push(Row {
            what: what.into(),
            figure,
            ratio,
            budget,
        });
    }
}

impl Budget {
    fn verdict(self, value: f64) -> String {
        match self {
            Self::AtMost { limit, unit } => {
                let verdict = if value <= limit { "ok" } else { "**over**" };
                format!("≤ {} {unit}: {verdict}", (limit * 1e3).round() / 1e3)
            }
            Self::None => String::new(),
        }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | figure | ratio to direct | budget |")?;
        writeln!(f, "|---|--:|--:|---|")?;
        for Row {
            what,
            figure,
            ratio,
            budget,
        } in &self.0
        {
            writeln!(f, "| {what} | {figure} | {ratio} | {budget} |")?;
        }
        Ok(())
    }
}

/// Three significant digits or so.
pub(crate) fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
