//! Tables that are too small: what fits works, and the findings name the objects.

use crate::compile::Program;
use crate::dataplane::Limits;

use super::super::memory::MemoryDataplane;
use super::programs::{add, forget_frontends, key};

const LIMITS: Limits = Limits {
    frontends: 8,
    prefixes: 8,
    cells: 64,
    services: 8,
    endpoints: 8,
    flows: 8,
    replies: 8,
    cgroups: 64,
    exempt: 16,
};

/// Three services with an address and an endpoint each.
fn program() -> Program {
    let mut program = Program::default();
    add(&mut program, "a", &["240.240.0.1"], &[("10.0.0.1:80", 1)]);
    add(&mut program, "b", &["240.240.0.2"], &[("10.0.0.2:80", 1)]);
    add(&mut program, "c", &["240.240.0.3"], &[("10.0.0.3:80", 1)]);
    program
}

/// The codes of the findings, each with what it is about.
fn codes(dataplane: &mut MemoryDataplane, program: &Program) -> Vec<String> {
    let applied = dataplane.apply(program);
    let findings = applied.diagnostics.into_iter();
    findings
        .map(|finding| {
            assert_eq!(
                (finding.file.as_str(), finding.line, finding.name.as_str()),
                ("a.yaml", 7, "entry")
            );
            let host = finding.message.split(' ').next().unwrap_or_default();
            format!("{} {host}", finding.code)
        })
        .collect()
}

#[test]
fn a_full_arena_names_what_does_not_fit_and_recovers_when_there_is_room() {
    let mut dataplane = MemoryDataplane::in_memory(&Limits { cells: 6, ..LIMITS });
    let mut program = program();
    assert_eq!(codes(&mut dataplane, &program), ["SH4001 c"]);
    assert_eq!(dataplane.tables().frontends.iter().count(), 2);

    program.services.remove(&key("a"));
    forget_frontends(&mut program, &key("a"));
    assert_eq!(codes(&mut dataplane, &program), [""; 0]);
    assert_eq!(dataplane.tables().frontends.iter().count(), 2);
}

#[test]
fn a_group_that_cannot_grow_keeps_its_old_endpoints() {
    let mut dataplane = MemoryDataplane::in_memory(&Limits { cells: 8, ..LIMITS });
    let mut program = program();
    assert_eq!(codes(&mut dataplane, &program), [""; 0]);
    add(
        &mut program,
        "a",
        &["240.240.0.1"],
        &[("10.0.0.1:80", 1), ("10.0.0.9:80", 1)],
    );
    assert_eq!(codes(&mut dataplane, &program), ["SH4001 a"]);
    assert_eq!(dataplane.tables().frontends.iter().count(), 3);
}

#[test]
fn full_frontends_name_what_is_not_captured_and_are_tried_again() {
    let mut dataplane = MemoryDataplane::in_memory(&Limits {
        frontends: 2,
        ..LIMITS
    });
    let mut program = program();
    assert_eq!(codes(&mut dataplane, &program), ["SH4002 c"]);
    assert_eq!(codes(&mut dataplane, &program), ["SH4002 c"]);
    forget_frontends(&mut program, &key("b"));
    assert_eq!(codes(&mut dataplane, &program), [""; 0]);
}

#[test]
fn full_prefixes_name_what_is_not_captured() {
    let mut dataplane = MemoryDataplane::in_memory(&Limits {
        prefixes: 1,
        ..LIMITS
    });
    let mut program = Program::default();
    add(&mut program, "a", &["10.0.0.0/8"], &[("10.0.0.1:80", 1)]);
    add(&mut program, "b", &["11.0.0.0/8"], &[("10.0.0.1:80", 1)]);
    assert_eq!(codes(&mut dataplane, &program), ["SH4003 b"]);
    assert_eq!(dataplane.tables().prefixes.iter().count(), 1);
}

#[test]
fn what_cannot_be_counted_works_all_the_same() {
    let mut dataplane = MemoryDataplane::in_memory(&Limits {
        services: 2,
        endpoints: 1,
        ..LIMITS
    });
    let program = program();
    let expected = ["SH4005 b", "SH4004 c", "SH4005 c"];
    assert_eq!(codes(&mut dataplane, &program), expected);
    assert_eq!(codes(&mut dataplane, &program), expected);
    assert_eq!(dataplane.tables().frontends.iter().count(), 3);
}
