//! Diagnostics as lines, in the form of `istioctl analyze`: `Warning [SH1003] (ServiceEntry ns/name file.yaml:12) message`.

use std::fmt::Write as _;

use clap::builder::styling::AnsiColor;

use crate::api::{Diagnostic, Severity};

use super::output::Palette;

/// One line for each, and one for its hint.
pub(super) fn render(findings: &[Diagnostic], palette: Palette) -> String {
    findings.iter().fold(String::new(), |mut text, finding| {
        let severity = match finding.severity {
            Severity::Error => palette.paint(AnsiColor::Red, "Error"),
            Severity::Warning => palette.paint(AnsiColor::Yellow, "Warning"),
            Severity::Info => palette.paint(AnsiColor::Blue, "Info"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{severity} {finding}");
        if !finding.hint.is_empty() {
            let _ = writeln!(text, "    hint: {}", finding.hint);
        }
        text
    })
}

/// How many there are of each severity, in words.
pub(super) fn summary(findings: &[Diagnostic]) -> String {
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let counts = [
        (count(Severity::Error), "error"),
        (count(Severity::Warning), "warning"),
        (count(Severity::Info), "note"),
    ];
    let words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn finding(severity: Severity) -> Diagnostic {
        Diagnostic {
            file: "rules/api.yaml".to_owned(),
            line: 12,
            severity,
            code: "SH1003".to_owned(),
            message: "`api` is not a host name".to_owned(),
            hint: "write a full name".to_owned(),
            kind: "ServiceEntry".to_owned(),
            namespace: "default".to_owned(),
            name: "api".to_owned(),
            field: "spec.hosts[0]".to_owned(),
        }
    }

    #[test]
    fn a_finding_names_severity_code_object_line_and_field() {
        expect![[r"
            Warning [SH1003] (ServiceEntry default/api rules/api.yaml:12) spec.hosts[0]: `api` is not a host name
                hint: write a full name
        "]]
        .assert_eq(&render(&[finding(Severity::Warning)], Palette::PLAIN));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let bare = Diagnostic {
            line: 0,
            hint: String::new(),
            kind: String::new(),
            namespace: String::new(),
            name: String::new(),
            field: String::new(),
            ..finding(Severity::Error)
        };
        expect![[r"
            Error [SH1003] (rules/api.yaml) `api` is not a host name
        "]]
        .assert_eq(&render(&[bare], Palette::PLAIN));
    }

    #[test]
    fn the_summary_counts_by_severity() {
        let findings = [Severity::Error, Severity::Warning, Severity::Warning].map(finding);
        assert_eq!(summary(&findings), "1 error, 2 warnings");
    }
}
