//! The files of the tree, and their Rust code without comments and literals.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the tree.
pub(crate) struct File {
    /// From the top of the tree, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == "rs")
    }

    pub(crate) fn code(&self) -> String {
        code_of(&self.text)
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a folder of the repository")
}

/// Fails with all of `findings`, if there are any.
pub(crate) fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}

/// The text of one file that must be there.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All text files of the tree but what is built or belongs to git.
pub(crate) fn text_files() -> Vec<File> {
    let mut files = Vec::new();
    collect(root(), &mut files);
    assert!(!files.is_empty(), "the tree has files");
    files
}

/// The Rust files below `folder` (all of them for "").
pub(crate) fn rust_files(folder: &str) -> Vec<File> {
    let mut files = text_files();
    files.retain(|file| file.path.starts_with(folder) && file.is_rust());
    assert!(!files.is_empty(), "{folder} has Rust files");
    files
}

/// The names of the folders in `folder`, hidden ones and what is built left out.
pub(crate) fn folders(folder: &str) -> Vec<String> {
    let mut names: Vec<_> = entries(&root().join(folder))
        .into_iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn collect(folder: &Path, files: &mut Vec<File>) {
    for path in entries(folder) {
        if path.is_dir() {
            collect(&path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).expect("it was found below");
            files.push(File {
                path: path.to_str().expect("names are UTF-8").to_owned(),
                text,
            });
        }
    }
}

/// What is in `folder`, but for what is built or git's own.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| !path.ends_with("target") && !path.ends_with(".git"))
        .collect()
}

/// The identifiers of `code`.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// `text` without comments, and with its string and character literals emptied. Line breaks stay.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest, &code) {
            let end = format!("\"{hashes}");
            let start = 1 + end.len();
            rest[start..]
                .find(&end)
                .map_or(rest.len(), |at| start + at + end.len())
        } else if c == '"' {
            literal_length(rest, '"')
        } else if c == '\'' && is_character(rest) {
            literal_length(rest, '\'')
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        if !rest.starts_with('/') {
            code.push_str("\"\"");
        }
        code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        rest = &rest[skipped..];
    }
    code
}

/// The hashes of the raw string that `rest` starts with, if it starts with one.
fn raw_string<'a>(rest: &'a str, before: &str) -> Option<&'a str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if before.ends_with(|c| is_word(c) && c != 'b') {
        return None;
    }
    let after = rest.strip_prefix('r')?;
    let hashes = &after[..after.find(|c| c != '#')?];
    after[hashes.len()..].starts_with('"').then_some(hashes)
}

/// Whether a quote begins a character, and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut next = rest.chars().skip(1);
    next.next() == Some('\\') || next.next() == Some('\'')
}

fn literal_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "let a = \"tokio // \\\" \"; // aya\n/* Instant */ let b: &'static str = r#\"fs \" x\"#; let c = '\"'; d\n";
    let code = code_of(text);
    let found: Vec<_> = words(&code).collect();
    assert_eq!(
        found,
        ["let", "a", "let", "b", "static", "str", "let", "c", "d"]
    );
    assert_eq!(code.lines().count(), 2);
}
