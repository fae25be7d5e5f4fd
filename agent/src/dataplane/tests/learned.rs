//! Further addresses for services that are there: the short way leaves what the long way would.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::compile::{Destination, Frontend, Program, ServiceKey};
use crate::dataplane::Limits;

use super::super::memory::MemoryDataplane;
use super::programs::{add, any, frontend, key};

/// `program` without the frontends of the addresses that `are_late`, and those.
fn split(program: &Program, are_late: &BTreeSet<usize>) -> (Program, Vec<(Frontend, ServiceKey)>) {
    let mut before = program.clone();
    let addresses = program
        .frontends
        .iter()
        .filter(|(frontend, _)| matches!(frontend.destination, Destination::Address(_)));
    let late: Vec<_> = addresses
        .enumerate()
        .filter(|(i, _)| are_late.contains(i))
        .map(|(_, (frontend, key))| (*frontend, key.clone()))
        .collect();
    for (frontend, _) in &late {
        before.frontends.remove(frontend);
    }
    (before, late)
}

proptest! {
    #[test]
    fn after_the_short_way_nothing_is_left_to_do(
        program in any(),
        late in proptest::collection::btree_set(0usize..8, 0..8),
    ) {
        let (before, late) = split(&program, &late);
        let mut engine = MemoryDataplane::in_memory(&Limits::small());
        prop_assert_eq!(engine.apply(&before).diagnostics, []);
        prop_assert!(engine.extend(&late));
        prop_assert_eq!(engine.apply(&program).steps, 0);
        let mut anew = MemoryDataplane::in_memory(&Limits::small());
        anew.apply(&program);
        let keys = |engine: &MemoryDataplane| -> Vec<_> {
            engine.tables().frontends.iter().map(|(key, _)| *key).collect()
        };
        prop_assert_eq!(keys(&engine), keys(&anew));
    }
}

#[test]
fn what_has_no_group_or_no_room_is_left_to_the_long_way() {
    let (key, frontend) = (key("a"), frontend("10.0.0.1"));
    let mut engine = MemoryDataplane::in_memory(&Limits::small());
    assert!(!engine.extend(&[(frontend, key.clone())]));

    let limits = Limits {
        frontends: 0,
        ..Limits::small()
    };
    let mut program = Program::default();
    add(&mut program, "a", &[], &[("10.9.0.1:80", 1)]);
    let mut engine = MemoryDataplane::in_memory(&limits);
    engine.apply(&program);
    assert!(!engine.extend(&[(frontend, key.clone())]));
    program.frontends.insert(frontend, key);
    assert_eq!(engine.apply(&program).diagnostics.len(), 1);
}
