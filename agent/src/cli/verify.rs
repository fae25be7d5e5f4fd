//! `shunt verify`: is what the agent put into the kernel as it should be?

use anyhow::Result;

use crate::observe::SurveyView;

use super::args::{ReportFormat, VerifyArgs};
use super::client;
use super::exit::Exit;
use super::output::{self, Table};

pub(super) fn verify(args: &VerifyArgs) -> Result<Exit> {
    let view = client::verify(&args.socket.socket)?;
    output::print(&match args.output {
        ReportFormat::Text => render(&view),
        ReportFormat::Json => output::json(&view)?,
    })?;
    let found = view.found.len();
    if found == 0 {
        output::remark("All is as it should be.");
        return Ok(Exit::Success);
    }
    let failed = view.found.iter().filter(|found| found.failure.is_some());
    let repaired = found - failed.count();
    output::remark(&format!(
        "Not all was as it should be: {repaired} of {found} differences are repaired."
    ));
    Ok(Exit::Failure)
}

fn render(view: &SurveyView) -> String {
    let mut parts = Table::with_header(&[
        "PART", "COMPARED", "MISSING", "CHANGED", "FOREIGN", "REPAIRED", "FAILED",
    ]);
    for part in &view.parts {
        let numbers = [
            part.compared,
            part.missing,
            part.changed,
            part.foreign,
            part.repaired,
            part.failed,
        ];
        let numbers = numbers.map(|number| number.to_string());
        parts.add([part.name.clone()].into_iter().chain(numbers));
    }
    if view.found.is_empty() {
        return parts.render();
    }
    let mut found = Table::with_header(&["PART", "FOUND", "WHAT", "DONE", "FAILURE"]);
    for difference in &view.found {
        found.add([
            difference.part.clone(),
            difference.deviation.clone(),
            difference.what.clone(),
            difference.remedy.clone(),
            difference.failure.clone().unwrap_or_default(),
        ]);
    }
    format!("{}\n{}", parts.render(), found.render())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::observe::view::{FoundView, PartView};

    use super::*;

    #[test]
    fn parts_are_counted_and_what_was_found_is_listed() {
        let view = SurveyView {
            parts: vec![PartView {
                name: "FRONTENDS".to_owned(),
                compared: 7,
                missing: 1,
                repaired: 1,
                ..PartView::default()
            }],
            found: vec![FoundView {
                part: "FRONTENDS".to_owned(),
                deviation: "missing".to_owned(),
                what: "10.1.0.1:80 of default/a.test:80".to_owned(),
                remedy: "put back".to_owned(),
                failure: None,
            }],
        };
        expect![[r"
            PART       COMPARED  MISSING  CHANGED  FOREIGN  REPAIRED  FAILED
            FRONTENDS  7         1        0        0        1         0

            PART       FOUND    WHAT                              DONE      FAILURE
            FRONTENDS  missing  10.1.0.1:80 of default/a.test:80  put back  -
        "]]
        .assert_eq(&render(&view));
    }
}
