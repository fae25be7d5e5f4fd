//! What no file of code contains.

use crate::source::{File, rust_files, text_files, words};

/// Files, or folders of them, that may say `unsafe`, and why they must.
const UNSAFE: [(&str, &str); 5] = [
    (
        "agent-common/src/abi.rs",
        "a cell of the arena is read as one of two plain structures",
    ),
    (
        "agent-ebpf/src/",
        "contexts and map values are raw pointers in a kernel program",
    ),
    (
        "agent/src/dataplane/kernel/mapping.rs",
        "maps are written and read through shared memory",
    ),
    (
        "agent/src/dataplane/kernel/tables.rs",
        "types of the kernel ABI are declared to be plain data",
    ),
    (
        "agent/src/dataplane/mounts.rs",
        "mounting is a raw system call",
    ),
];

/// A file answers one question; more lines than this are mostly two.
const LINES: usize = 450;

/// Longer files, and why they are one.
const LONG: [(&str, &str); 1] = [(
    "agent-common/src/abi.rs",
    "the layout of every map, in one place for both sides",
)];

#[test]
fn no_file_says_unsafe_but_those_that_must() {
    let files = rust_files("");
    let says_unsafe = |file: &File| words(&file.code()).any(|word| word == "unsafe");
    for file in files.iter().filter(|file| says_unsafe(file)) {
        let allowed = UNSAFE.iter().any(|(path, _)| file.path.starts_with(path));
        assert!(allowed, "{} says unsafe", file.path);
    }
    for (path, _) in UNSAFE {
        let mut matching = files.iter().filter(|file| file.path.starts_with(path));
        assert!(
            matching.clone().count() == 0 || matching.any(says_unsafe),
            "{path} no longer needs its leave to say unsafe"
        );
    }
}

#[test]
fn no_file_answers_two_questions() {
    let allowed = |path: &str| LONG.iter().any(|(file, _)| *file == path);
    for file in rust_files("") {
        let lines = file.text.lines().count();
        assert!(
            lines <= LINES || allowed(&file.path),
            "{} has {lines} lines: split it, or give the reason here",
            file.path
        );
        assert!(
            lines > LINES || !allowed(&file.path),
            "{} no longer needs its leave to be long",
            file.path
        );
    }
}

#[test]
fn no_file_starts_without_saying_what_it_answers() {
    for file in rust_files("") {
        assert!(
            file.text.starts_with("//! "),
            "{} has no module documentation first",
            file.path
        );
    }
}

#[test]
fn nothing_is_left_unfinished() {
    // In two parts, so that this file does not find itself.
    let marks = [
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
        concat!("#[ign", "ore"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X"),
        concat!("dbg", "!("),
    ];
    for file in text_files() {
        for mark in marks {
            let line = file.text.lines().position(|line| line.contains(mark));
            assert_eq!(
                line, None,
                "{} says {mark} (line counted from 0)",
                file.path
            );
        }
    }
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let places = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
    ];
    for file in text_files() {
        for place in places {
            let line = file.text.lines().position(|line| line.contains(place));
            assert_eq!(
                line, None,
                "{} names {place} (line counted from 0)",
                file.path
            );
        }
    }
}

#[test]
fn no_lint_is_silenced_without_a_reason() {
    for file in rust_files("") {
        let code = file.code();
        for silence in [concat!("#[al", "low("), concat!("#![al", "low(")] {
            assert!(
                !code.contains(silence),
                "{} silences a lint; `#[expect(…, reason = …)]` says why and tells when it is no longer needed",
                file.path
            );
        }
        for (at, _) in code.match_indices("[expect(") {
            let end = code[at..].find(']').map_or(code.len(), |end| at + end);
            assert!(
                words(&code[at..end]).any(|word| word == "reason"),
                "{} expects a lint without a reason",
                file.path
            );
        }
    }
}
