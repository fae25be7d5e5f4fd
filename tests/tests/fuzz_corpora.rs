//! What fuzzers have found worth trying goes on to be tried: every file of every corpus, by the same functions.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tests::fuzz::TARGETS;

/// Bytes of all corpora together, so that a clone stays small.
const MAX_BYTES: u64 = 300 << 10;
/// Files of one corpus.
const MAX_FILES: usize = 150;

fn corpora() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"))
}

fn names_in(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

#[test]
fn every_input_of_every_corpus_keeps_what_is_promised() -> Result<()> {
    for (target, try_input) in TARGETS {
        let folder = corpora().join(target);
        let files = names_in(&folder)?;
        assert!(!files.is_empty(), "{target} has no corpus");
        for file in files {
            let input = fs::read(folder.join(&file))?;
            // Shown where the test fails.
            println!("{target}/{file}");
            try_input(&input);
        }
    }
    Ok(())
}

#[test]
fn every_corpus_belongs_to_a_target_and_all_are_small() -> Result<()> {
    let targets: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
    assert_eq!(names_in(corpora())?, targets);
    let mut bytes = 0;
    for target in targets {
        let folder = corpora().join(target);
        let files = names_in(&folder)?;
        assert!(files.len() <= MAX_FILES, "{}", folder.display());
        for file in files {
            bytes += fs::metadata(folder.join(file))?.len();
        }
    }
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
    Ok(())
}
