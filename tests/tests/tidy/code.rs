//! What no file of code contains.

use crate::source::{assert_none, rust_files, text_files, words};

/// Files, or folders of them, that may say `unsafe`, and why they must.
const UNSAFE: &[(&str, &str)] = &[
    (
        "agent-common/src/abi/group.rs",
        "a cell of the arena is read as one of two plain structures",
    ),
    (
        "agent-ebpf/src/",
        "contexts and map values are raw pointers in a kernel program",
    ),
    (
        "agent/src/dataplane/bpf.rs",
        "what aya does not offer of bpf(2) are raw system calls",
    ),
    (
        "tests/src/bpf.rs",
        "programs that are not shunt's are loaded by raw system calls",
    ),
    (
        "tests/src/bin/verifier.rs",
        "the verifier's log of what aya loads is had by replacing a function of the C library",
    ),
    (
        "agent/src/dataplane/kernel/events.rs",
        "a descriptor is watched for as long as its owner lives",
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
    (
        "agent/src/observe/control/peer.rs",
        "the groups of a peer are had by a raw system call",
    ),
    (
        "agent/src/app/heap.rs",
        "how the heap is divided is set by a function of the C library",
    ),
    (
        "agent/src/app/netns.rs",
        "leaving a network namespace is a raw system call",
    ),
    (
        "tests/src/askers.rs",
        "leaving the mounts of others is said to be unsafe for programs with threads",
    ),
    ("tests/src/bpffs.rs", "mounting is a raw system call"),
    (
        "tests/src/faults.rs",
        "system calls are handed over by raw system calls",
    ),
    (
        "tests/src/hang.rs",
        "one thread of another process is stopped by raw system calls",
    ),
    (
        "tests/src/netns.rs",
        "addresses of devices are set by raw system calls",
    ),
    (
        "tests/src/sockets/open.rs",
        "options of sockets that no library offers are set and read by raw system calls",
    ),
    (
        "tests/src/sockets/ring.rs",
        "what is submitted to io_uring must outlive its completion",
    ),
];

/// A file answers one question; more lines than this are mostly two.
const LINES: usize = 450;

#[test]
fn no_file_says_unsafe_but_those_that_must() {
    let mut findings = Vec::new();
    let mut needed = vec![false; UNSAFE.len()];
    for file in rust_files("") {
        if !words(&file.code()).any(|word| word == "unsafe") {
            continue;
        }
        let allowed = UNSAFE
            .iter()
            .position(|(path, _)| file.path.starts_with(path));
        match allowed {
            Some(leave) => needed[leave] = true,
            None => findings.push(format!("{} says unsafe", file.path)),
        }
    }
    for ((path, _), needed) in UNSAFE.iter().zip(needed) {
        if !needed {
            findings.push(format!("{path} no longer needs its leave to say unsafe"));
        }
    }
    assert_none(&findings);
}

#[test]
fn no_file_answers_two_questions() {
    let mut findings = Vec::new();
    for file in rust_files("") {
        let lines = file.text.lines().count();
        if lines > LINES {
            findings.push(format!("{} has {lines} lines: split it", file.path));
        }
    }
    assert_none(&findings);
}

#[test]
fn no_file_starts_without_saying_what_it_answers() {
    let mut files = rust_files("");
    // A `tests.rs` answers what the module above it asks.
    files.retain(|file| !file.text.starts_with("//! ") && !file.path.ends_with("/tests.rs"));
    let silent: Vec<_> = files.into_iter().map(|file| file.path).collect();
    assert_none(&silent);
}

#[test]
fn nothing_is_left_unfinished() {
    // In two parts, so that this file does not find itself.
    assert_none(&places_of(&[
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
        concat!("#[ign", "ore"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X"),
        concat!("dbg", "!("),
    ]));
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    assert_none(&places_of(&[
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
    ]));
}

/// Where one of `marks` stands in the tree.
fn places_of(marks: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for file in text_files() {
        for (line, text) in (1..).zip(file.text.lines()) {
            if let Some(mark) = marks.iter().find(|mark| text.contains(**mark)) {
                places.push(format!("{}:{line} says {mark}", file.path));
            }
        }
    }
    places
}

#[test]
fn no_lint_is_silenced_without_a_reason() {
    let mut findings = Vec::new();
    for file in rust_files("") {
        let code = file.code();
        if code.contains(concat!("[al", "low(")) {
            findings.push(format!(
                "{} silences a lint; `expect` tells when it is no longer needed",
                file.path
            ));
        }
        for (at, _) in code.match_indices("[expect(") {
            let end = code[at..].find(']').map_or(code.len(), |end| at + end);
            if !words(&code[at..end]).any(|word| word == "reason") {
                findings.push(format!("{} expects a lint without a reason", file.path));
            }
        }
    }
    assert_none(&findings);
}
