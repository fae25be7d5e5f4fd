//! One service that is published anew: the short way leaves what the long way would.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::compile::{Program, Service};
use crate::dataplane::Limits;

use super::super::memory::MemoryDataplane;
use super::programs::{add, any, key};

/// The services with other shares.
fn reshared(program: &Program, shares: &[u64]) -> Program {
    let mut after = program.clone();
    for (key, service) in &program.services {
        let mut changed = Service::clone(service);
        for (endpoint, share) in changed.endpoints.iter_mut().zip(shares) {
            endpoint.share = *share;
        }
        after.services.insert(key.clone(), Arc::new(changed));
    }
    after
}

/// How many frontends each service has.
fn held(engine: &MemoryDataplane) -> BTreeMap<u32, usize> {
    let mut held = BTreeMap::new();
    for (_, word) in engine.tables().frontends.iter() {
        *held.entry(word.group()).or_default() += 1;
    }
    held
}

proptest! {
    #[test]
    fn after_the_short_way_nothing_is_left_to_do(
        program in any(),
        shares in proptest::collection::vec(0u64..4, 8),
    ) {
        let mut engine = MemoryDataplane::in_memory(&Limits::small());
        prop_assert_eq!(engine.apply(&program).diagnostics, []);
        let before = held(&engine);
        let after = reshared(&program, &shares);
        for (key, service) in &after.services {
            prop_assert!(engine.replace(key, service));
        }
        prop_assert_eq!(engine.apply(&after).steps, 0);
        prop_assert_eq!(before.values().sum::<usize>(), held(&engine).values().sum::<usize>());
        // What was replaced is free again: there is room for any number of turns.
        for _ in 0..50 {
            for (key, service) in program.services.iter().chain(&after.services) {
                prop_assert!(engine.replace(key, service));
                engine.release_replaced();
            }
        }
    }
}

#[test]
fn what_was_replaced_is_kept_while_a_reader_may_hold_it() {
    let mut program = Program::default();
    add(
        &mut program,
        "a",
        &["10.1.0.1"],
        &[("10.9.0.1:80", 2), ("10.9.0.2:80", 1)],
    );
    let mut engine = MemoryDataplane::in_memory(&Limits::small());
    let empty = engine.space.used();
    engine.apply(&program);
    let (first, after) = (engine.space.used(), reshared(&program, &[1, 2]));
    let mut replace = |program: &Program| {
        assert!(engine.replace(&key("a"), &program.services[&key("a")]));
        let both = engine.space.used();
        engine.release_replaced();
        (both, engine.space.used())
    };
    let (both, second) = replace(&after);
    assert_eq!(both - empty, (first - empty) + (second - empty));
    assert_eq!(replace(&program), (both, first));

    assert!(engine.replace(&key("a"), &after.services[&key("a")]));
    engine.apply(&after);
    assert_eq!(engine.space.used(), second, "an update releases it, too");
    engine.release_replaced();
    assert_eq!(engine.space.used(), second, "and once only");
}

#[test]
fn what_has_no_group_or_no_room_is_left_to_the_long_way() {
    let mut program = Program::default();
    add(
        &mut program,
        "a",
        &["10.1.0.1"],
        &[("10.9.0.1:80", 1), ("10.9.0.2:80", 1)],
    );
    let after = reshared(&program, &[1, 2]);
    let service = &after.services[&key("a")];
    let mut engine = MemoryDataplane::in_memory(&Limits::small());
    assert!(
        !engine.replace(&key("a"), service),
        "it was never published"
    );
    let mut engine = MemoryDataplane::in_memory(&Limits {
        cells: 7,
        ..Limits::small()
    });
    assert_eq!(engine.apply(&program).diagnostics, []);
    assert!(
        !engine.replace(&key("a"), service),
        "there is no room for a second group"
    );
}
