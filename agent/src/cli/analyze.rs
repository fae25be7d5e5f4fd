//! `shunt analyze`: what is wrong with files.

use std::io;

use anyhow::Result;

use super::args::{AnalyzeArgs, AnalyzeFormat, AssumedArgs};
use super::exit::Exit;
use super::findings;
use super::offline::Offline;
use super::output::{self, Palette};

pub(super) fn analyze(args: &AnalyzeArgs) -> Result<Exit> {
    let offline = Offline::build(
        &args.offline.paths,
        &args.offline.node,
        &AssumedArgs::default(),
    )?;
    let found = offline.findings();
    output::print(&match args.output {
        AnalyzeFormat::Log => findings::render(&found, Palette::for_stream(&io::stdout())),
        AnalyzeFormat::Json => output::json(&found)?,
    })?;
    let files = match offline.files {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let objects = match offline.snapshot.objects.len() {
        1 => "1 valid object".to_owned(),
        count => format!("{count} valid objects"),
    };
    output::remark(&if found.is_empty() {
        format!("✔ Nothing to report: {objects} in {files}.")
    } else {
        format!("{}: {objects} in {files}.", findings::summary(&found))
    });
    Ok(Exit::of_findings(offline.unparsable, &found))
}
