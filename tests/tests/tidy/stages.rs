//! Who sees whom: the stages of the agent, in their order.

use crate::source::{File, assert_none, code_of, folders, rust_files, words};

/// Each part of the agent, and the parts that it may name. The binary's own files see all.
const VISIBLE: [(&str, &[&str]); 11] = [
    ("api", &[]),
    ("model", &["api"]),
    ("settings", &["api", "model", "dataplane"]),
    ("sources", &["api", "model"]),
    ("compile", &["api", "model"]),
    ("dataplane", &["api", "model", "compile"]),
    ("nameserver", &["api", "model", "compile"]),
    ("health", &["api", "model", "compile"]),
    (
        "observe",
        &[
            "api",
            "model",
            "compile",
            "dataplane",
            "nameserver",
            "health",
        ],
    ),
    (
        "app",
        &[
            "api",
            "model",
            "settings",
            "sources",
            "compile",
            "dataplane",
            "nameserver",
            "health",
            "observe",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "model",
            "settings",
            "sources",
            "compile",
            "dataplane",
            "nameserver",
            "health",
            "observe",
            "app",
        ],
    ),
];

/// What a pure stage does not know: it is given time, randomness and text, and gives back values.
const IMPURE: [&str; 12] = [
    "tokio",
    "aya",
    "libc",
    "rustix",
    "rand",
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixStream",
];
/// The same of modules of the standard library.
const IMPURE_STD: [&str; 4] = ["env", "fs", "process", "thread"];
/// What one file may name all the same, and why that leaves it pure.
const LEAVE: (&str, &str, &str) = (
    "agent/src/api/decode.rs",
    "thread",
    "threads of one scope that share nothing: what they give does not depend on how they ran",
);

#[test]
fn no_stage_names_a_later_one() {
    let mut findings = Vec::new();
    for (part, visible) in VISIBLE {
        for file in files_of(part) {
            for named in parts_named_in(&file) {
                if named != part && !visible.contains(&named) {
                    findings.push(format!("{} names {named}", file.path));
                }
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn no_folder_of_the_agent_is_outside_the_order() {
    let mut outside = folders("agent/src");
    outside.retain(|folder| VISIBLE.iter().all(|(part, _)| part != folder));
    assert_none(&outside);
}

#[test]
fn no_pure_stage_reaches_the_outside() {
    let pure = ["api", "model", "compile", "health"]
        .iter()
        .flat_map(|part| files_of(part));
    let mut findings = Vec::new();
    for file in pure.chain(rust_files("agent-common/src/")) {
        let code = file.code();
        let of_std = code
            .match_indices("std::")
            .flat_map(|(at, path)| first_names(&code[at + path.len()..]))
            .filter(|name| {
                IMPURE_STD.contains(name) && (file.path.as_str(), *name) != (LEAVE.0, LEAVE.1)
            });
        let impure = words(&code).filter(|word| IMPURE.contains(word));
        let named = impure
            .chain(of_std)
            .map(|name| format!("{} names {name}", file.path));
        findings.extend(named);
    }
    assert_none(&findings);
}

#[test]
fn no_stage_but_the_dataplane_knows_aya() {
    let mut findings = Vec::new();
    for file in rust_files("agent/") {
        let knows = |code: &str| words(code).any(|word| word == "aya" || word.starts_with("aya_"));
        if !file.path.starts_with("agent/src/dataplane/") && knows(&file.code()) {
            findings.push(file.path);
        }
    }
    assert_none(&findings);
}

fn files_of(part: &str) -> Vec<File> {
    let (folder, file) = (format!("agent/src/{part}/"), format!("agent/src/{part}.rs"));
    let mut files = rust_files("agent/src/");
    files.retain(|f| f.path.starts_with(&folder) || f.path == file);
    assert!(!files.is_empty(), "the agent has {part}");
    files
}

/// The parts of the agent that a file names by a path from the crate's root.
fn parts_named_in(file: &File) -> Vec<&'static str> {
    let code = file.code();
    let depth = file.path.matches('/').count() - 1 - usize::from(file.path.ends_with("/mod.rs"));
    let mut named = Vec::new();
    for (prefix, at_least) in [("crate::", 1), ("super::", depth.max(1))] {
        let from_root = prefix.repeat(at_least);
        for (at, _) in code.match_indices(&from_root) {
            named.extend(first_names(&code[at + from_root.len()..]));
        }
    }
    let known = VISIBLE.iter().map(|(part, _)| *part);
    known.filter(|part| named.contains(part)).collect()
}

/// The names that may follow a path that ends before `rest`: one, or each that begins an item of a group in braces.
fn first_names(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest).next().into_iter().collect();
    };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(words(&group[start..at]).next());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(words(&group[start..at]).next());
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn imports_are_found_in_every_form() {
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let grouped = "use crate::{api::{Kind, Object}, model, compile::compile};\n// crate::app";
    assert_eq!(
        parts_named_in(&file("agent/src/observe/mod.rs", grouped)),
        ["api", "model", "compile"]
    );
    let inline = "fn f() { let _ = crate::app::start(super::super::cli::NAME); }";
    assert_eq!(
        parts_named_in(&file("agent/src/observe/table.rs", inline)),
        ["app", "cli"]
    );
    let own = "use super::model::Thing;";
    assert!(parts_named_in(&file("agent/src/observe/table.rs", own)).is_empty());
    assert_eq!(code_of("// crate::app"), "");
}
