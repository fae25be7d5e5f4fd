//! How commands print: tables, JSON and YAML to stdout, remarks to stderr. Knows nothing of what it prints.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use clap::builder::styling::{AnsiColor, Style};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table as Grid};
use serde::Serialize;

/// Writes to stdout. A reader that has had enough (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("writing to stdout"),
    }
}

/// Writes a line to stderr, and lets it be where stderr is closed.
pub(super) fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value).context("writing JSON")?;
    text.push('\n');
    Ok(text)
}

pub(super) fn yaml<T: Serialize>(value: &T) -> Result<String> {
    serde_yaml::to_string(value).context("writing YAML")
}

/// A fraction from 0 to 1 with as many digits as eyes want.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Moves every line to the right, below what it belongs to.
pub(super) fn indent(text: &str) -> String {
    let lines = text.lines();
    lines.flat_map(|line| ["  ", line, "\n"]).collect()
}

/// Columns with at least two spaces between them and no borders, for eyes and for awk: an empty cell shows as `-`.
#[derive(Debug)]
pub(super) struct Table {
    grid: Grid,
}

impl Table {
    pub(super) fn new() -> Self {
        let mut grid = Grid::new();
        grid.load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        Self { grid }
    }

    pub(super) fn with_header(columns: &[&str]) -> Self {
        let mut table = Self::new();
        table.grid.set_header(columns.iter().copied());
        table
    }

    pub(super) fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| match cell.as_str() {
            "" => "-".to_owned(),
            _ => cell,
        });
        self.grid.add_row(cells.collect::<Vec<String>>());
    }

    pub(super) fn render(mut self) -> String {
        for column in self.grid.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines: Vec<String> = self.grid.lines().collect();
        let lines = lines.iter().map(|line| line.trim_end());
        lines.flat_map(|line| [line, "\n"]).collect()
    }
}

/// Whether marks and words are coloured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    is_on: bool,
}

impl Palette {
    pub(super) const PLAIN: Self = Self { is_on: false };

    /// For what goes to `stream`: colours on a terminal, unless `NO_COLOR` (no-color.org) is set.
    pub(super) fn for_stream(stream: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self {
            is_on: stream.is_terminal() && !refused && !is_dumb,
        }
    }

    pub(super) fn is_on(self) -> bool {
        self.is_on
    }

    pub(super) fn paint(self, color: AnsiColor, text: &str) -> String {
        let style = if self.is_on {
            color.on_default()
        } else {
            Style::new()
        };
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_are_two_spaces_apart_and_nothing_trails() {
        let mut table = Table::with_header(&["HOST", "PORT"]);
        table.add(["api.example.com".to_owned(), "443".to_owned()]);
        table.add(["b".to_owned(), String::new()]);
        expect![[r"
            HOST             PORT
            api.example.com  443
            b                -
        "]]
        .assert_eq(&table.render());
    }

    #[test]
    fn a_table_without_header_starts_with_its_first_row() {
        let mut table = Table::new();
        table.add(["a".to_owned(), "b".to_owned()]);
        assert_eq!(table.render(), "a  b\n");
    }

    #[test]
    fn a_plain_palette_writes_no_escape() {
        assert_eq!(Palette::PLAIN.paint(AnsiColor::Red, "x"), "x");
        let colored = Palette { is_on: true }.paint(AnsiColor::Red, "x");
        assert_eq!(colored, "\u{1b}[31mx\u{1b}[0m");
    }
}
