//! What the documents do not leave out or get wrong.

use std::collections::BTreeSet;

use crate::source::{File, assert_none, code_of, folders, read, rust_files, words};

const DOCUMENTS: [&str; 4] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SOCKETS.md",
];

#[test]
fn no_folder_is_missing_from_the_code_map() {
    let map = read("ARCHITECTURE.md");
    let mut missing = [folders(""), folders("agent/src")].concat();
    missing.retain(|name| !map.contains(&format!("`{name}/`")));
    assert_none(&missing);
}

#[test]
fn no_document_names_a_command_that_does_not_exist() {
    let project = subcommands(&rust_files("xtask/src/main.rs"));
    let product = subcommands(&rust_files("agent/src/cli/"));
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let text = read(document);
        for (program, known) in [("cargo xtask ", &project), ("shunt ", &product)] {
            let mut named = commands_named(&text, program);
            // clap adds `help` by itself.
            named.retain(|name| name != "help" && !known.contains(name));
            findings.extend(
                named
                    .iter()
                    .map(|name| format!("{document} names `{program}{name}`")),
            );
        }
    }
    assert_none(&findings);
}

#[test]
fn no_rule_of_the_architecture_is_without_its_test() {
    let tests: String = rust_files("tests/tests/tidy/")
        .iter()
        .map(File::code)
        .collect();
    let map = read("ARCHITECTURE.md");
    let held = map
        .split('`')
        .filter(|word| word.starts_with("no_") || word.starts_with("nothing_"));
    let mut count = 0;
    for name in held {
        assert!(
            tests.contains(&format!("fn {name}(")),
            "there is no test {name}"
        );
        count += 1;
    }
    assert!(count >= 10, "ARCHITECTURE.md names the tests of its rules");
}

#[test]
fn no_socket_behaviour_is_without_its_test() {
    let page = read("SOCKETS.md");
    let mut findings = Vec::new();
    let mut count = 0;
    for row in rows(&page) {
        let tests = tests_linked(row);
        if tests.is_empty() {
            findings.push(format!("no test holds this: {row}"));
        }
        for (name, path) in tests {
            count += 1;
            let test = format!("#[test]\nfn {name}(");
            if !read(path).contains(&test) {
                findings.push(format!("{path} has no test {name}"));
            }
        }
    }
    assert_none(&findings);
    assert!(count >= 50, "SOCKETS.md names the tests of what it says");
}

/// The rows of the tables of a document, without their heads.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    let following = text.lines().skip(1).chain([""]);
    text.lines()
        .zip(following)
        .filter(|(line, next)| line.starts_with("| ") && !next.starts_with("|---"))
        .map(|(line, _)| line)
}

/// The links of the form [`name`](path).
fn tests_linked(text: &str) -> Vec<(&str, &str)> {
    let links = text.split("[`").skip(1);
    links
        .filter_map(|link| {
            let (name, rest) = link.split_once("`](")?;
            Some((name, rest.split_once(')')?.0))
        })
        .collect()
}

#[test]
fn rows_and_the_tests_they_link_are_found() {
    let text = "| a | test |\n|---|---|\n| is so | [`x`](a.rs), [`y`](b.rs) |\n| is not | `z` |\n";
    let found: Vec<_> = rows(text).map(tests_linked).collect();
    assert_eq!(found, [vec![("x", "a.rs"), ("y", "b.rs")], Vec::new()]);
}

/// The subcommands that clap makes of the enums of `files` that derive `Subcommand`.
fn subcommands(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files {
        let code = code_of(&file.text);
        for (at, _) in code.match_indices("Subcommand)]") {
            let body = code[at..].split_once('{').map_or("", |(_, rest)| rest);
            names.extend(variants(body).iter().map(|name| kebab(name)));
        }
    }
    assert!(!names.is_empty(), "the subcommands are found");
    names
}

/// The variants of an enum, from what follows its opening brace.
fn variants(body: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut depth, mut expected) = (0, true);
    for (at, c) in body.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            ',' if depth == 0 => expected = true,
            c if depth == 0 && expected && c.is_uppercase() => {
                found.extend(words(&body[at..]).next());
                expected = false;
            }
            _ => {}
        }
    }
    found
}

fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(c.to_lowercase());
    }
    kebab
}

/// The words that follow `program` inside code (`…` and fenced blocks) of a document.
fn commands_named(text: &str, program: &str) -> BTreeSet<String> {
    // Every second part between backquotes is code, fenced or not.
    let code = text
        .split('`')
        .filter(|part| !part.is_empty())
        .skip(1)
        .step_by(2);
    let mut names = BTreeSet::new();
    for part in code {
        for (at, _) in part.match_indices(program) {
            let before = part[..at].chars().next_back();
            let word: String = part[at + program.len()..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            let starts = before.is_none_or(|c| c.is_whitespace() || c == '/' || c == '(');
            if starts && word.starts_with(|c: char| c.is_ascii_lowercase()) {
                names.insert(word);
            }
        }
    }
    names
}

#[test]
fn commands_are_found_in_code_only() {
    let text = "shunt does things. `shunt run --x`, then\n```sh\nsudo shunt exec -- curl\ncargo xtask demo\n```\nshunt is";
    assert_eq!(
        commands_named(text, "shunt "),
        ["exec", "run"].map(str::to_owned).into()
    );
    assert_eq!(
        commands_named(text, "cargo xtask "),
        ["demo".to_owned()].into()
    );
}

#[test]
fn subcommands_are_read_off_the_enum() {
    let body =
        "Setup(setup::Arguments), GetAll { #[arg(long)] Name: String, }, Lint, } enum Other { No }";
    assert_eq!(variants(body), ["Setup", "GetAll", "Lint"]);
    assert_eq!(kebab("GetAll"), "get-all");
}
