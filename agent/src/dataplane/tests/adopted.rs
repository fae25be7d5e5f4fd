//! Agents that are killed at any moment, and others that go on from the tables that they leave.

use std::collections::BTreeMap;

use agent_common::abi::{Address, Cell, Identified, Port};
use proptest::prelude::*;

use crate::compile::{Program, ServiceKey};
use crate::dataplane::Limits;

use super::super::engine::Engine;
use super::super::inheritance::Damage;
use super::super::memory::{MemoryDataplane, MemoryTables};
use super::super::names::UNCOUNTED;
use super::super::plan::{Allocators, plan};
use super::super::store::{Map, Store};
use super::super::wanted::Wanted;
use super::programs::{add, any, key};
use super::updates::{LIMITS, all_fates, fresh, has_prefixes, walk};

/// Nothing but its tables is left of the agent.
fn adopt(killed: MemoryDataplane) -> MemoryDataplane {
    Engine::adopt(killed.store, &LIMITS).expect("no agent leaves damage")
}

/// Goes towards `program`, and no further than that many steps.
fn set_out(dataplane: &mut MemoryDataplane, program: &Program, steps: usize) {
    let mut alloc = Allocators {
        names: &mut dataplane.names,
        space: &mut dataplane.space,
    };
    let wanted = Wanted::new(program);
    let plan = plan(&dataplane.live, &wanted, &dataplane.base, &mut alloc);
    for step in plan.steps.into_iter().take(steps) {
        assert!(dataplane.execute(step).is_ok());
    }
}

/// The ids under which something may count: of the endpoints of groups that are written.
type Ids = BTreeMap<(ServiceKey, Address, Port), u32>;

fn ids(dataplane: &MemoryDataplane) -> Ids {
    let groups = dataplane.live.groups.values();
    let of_group =
        groups.flat_map(|group| group.endpoint_ids.iter().map(|&id| (&group.service, id)));
    of_group
        .filter(|(_, id)| *id != UNCOUNTED)
        .map(|(service, id)| {
            let &(_, address, port) = dataplane.names.endpoints.key(id).expect("a group has it");
            ((service.clone(), address, port), id)
        })
        .collect()
}

/// Connects of each service, and of what it had.
fn connects(dataplane: &MemoryDataplane, service: &ServiceKey) -> u64 {
    let names = &dataplane.names;
    let Some(id) = names.services.get(service) else {
        return 0;
    };
    let of_endpoints = names.endpoints.iter().filter(|(_, (of, ..))| *of == id);
    let of_endpoints = of_endpoints.map(|(id, _)| {
        let counter = dataplane.store.counter(id);
        counter.expect("memory can be read").connects
    });
    dataplane.retired.get(&id).unwrap_or(&0) + of_endpoints.sum::<u64>()
}

/// Has something counted, and some of it be open, under every id.
fn count(dataplane: &mut MemoryDataplane, open: &[bool]) {
    for (id, is_open) in ids(dataplane).into_values().zip(open) {
        let counter = dataplane.store.counters.entry(id).or_default();
        counter.connects += u64::from(id);
        if *is_open {
            dataplane.store.open.insert(id, 1);
        }
    }
}

proptest! {
    #[test]
    fn whoever_goes_on_from_the_tables_of_one_that_was_killed_ends_where_it_would_have(
        old in any(), half_done in any(), steps in 0usize..40, new in any(),
    ) {
        let mut killed = fresh(&old);
        set_out(&mut killed, &half_done, steps);
        let left = all_fates(killed.tables());
        let is_exact = ![&old, &half_done, &new].iter().any(|program| has_prefixes(program));

        let mut next = adopt(killed);

        prop_assert_eq!(all_fates(next.tables()), left);
        let inheritance = next.inheritance.take().unwrap();
        next.settle(inheritance, &new);
        walk(&mut next, &new, is_exact)?;
        prop_assert_eq!(next.apply(&new).steps, 0);
        let direct = fresh(&new);
        prop_assert_eq!(next.space.used(), direct.space.used());
        prop_assert_eq!(next.names.services.count(), direct.names.services.count());
        prop_assert_eq!(next.names.endpoints.count(), direct.names.endpoints.count());
        prop_assert_eq!(next.names.prefixes.count(), direct.names.prefixes.count());
        let sizes = |tables: &MemoryTables| {
            let found = tables.inventory().unwrap();
            (found.frontends.len(), found.prefixes.len(), found.identities.len())
        };
        prop_assert_eq!(sizes(next.tables()), sizes(direct.tables()));
    }

    #[test]
    fn ids_and_what_is_counted_under_them_stay_with_their_endpoints(
        first in any(), old in any(), half_done in any(), steps in 0usize..40, new in any(),
        open in prop::collection::vec(any_bool(), 64),
    ) {
        let mut killed = fresh(&first);
        count(&mut killed, &open);
        killed.apply(&old);
        set_out(&mut killed, &half_done, steps);
        count(&mut killed, &open);
        let before = ids(&killed);
        let counted: BTreeMap<ServiceKey, u64> = killed
            .live
            .services
            .keys()
            .map(|service| (service.clone(), connects(&killed, service)))
            .collect();
        let identified: Vec<_> = killed
            .store
            .open
            .keys()
            .map(|&id| (id, killed.store.identity(id)))
            .collect();

        let mut next = adopt(killed);
        prop_assert_eq!(next.apply(&new).diagnostics, []);

        let after = ids(&next);
        for (endpoint, id) in &before {
            let now = after.get(endpoint);
            prop_assert!(now.is_none_or(|now| now == id), "{endpoint:?}");
        }
        for (service, connects_before) in counted {
            if new.services.contains_key(&service) {
                prop_assert_eq!(connects(&next, &service), connects_before);
            }
        }
        // What is open keeps its id from others until it is closed.
        for (id, identity) in identified {
            prop_assert_eq!(next.store.identity(id), identity);
        }
        next.store.open.clear();
        next.apply(&new);
        prop_assert_eq!(next.names.endpoints.count(), fresh(&new).names.endpoints.count());
        prop_assert_eq!(next.names.services.count(), fresh(&new).names.services.count());
    }

    #[test]
    fn where_nothing_has_changed_nothing_is_done(programs in prop::collection::vec(any(), 1..4)) {
        let mut killed = MemoryDataplane::in_memory(&LIMITS);
        for program in &programs {
            killed.apply(program);
        }
        let before = ids(&killed);

        let mut next = adopt(killed);

        prop_assert_eq!(next.apply(programs.last().unwrap()).steps, 0);
        prop_assert_eq!(ids(&next), before);
    }
}

fn any_bool() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.3)
}

/// A program of one service, and the tables that hold it.
fn one_service() -> (Program, MemoryDataplane) {
    let mut program = Program::default();
    add(&mut program, "a", &["240.240.0.1"], &[("10.0.0.1:80", 1)]);
    let dataplane = fresh(&program);
    (program, dataplane)
}

#[test]
fn nothing_takes_a_short_way_before_it_is_told_what_is_there() {
    let (program, killed) = one_service();
    let mut next = adopt(killed);
    let service = &program.services[&key("a")];
    assert!(!next.replace(&key("a"), service));
    assert!(!next.place(&[(7, None)]));
    next.apply(&program);
    assert!(next.replace(&key("a"), service));
}

/// Tables with nothing in them but what is counted under whose numbers.
fn larger(killed: &MemoryDataplane) -> (MemoryTables, Limits) {
    let limits = Limits {
        services: LIMITS.services + 1,
        endpoints: LIMITS.endpoints + 7,
        ..LIMITS
    };
    let mut tables = MemoryDataplane::in_memory(&limits).store;
    for (id, identity) in killed.store.inventory().unwrap().identities {
        tables.set_identity(id, &identity);
    }
    tables.counters = killed.store.counters.clone();
    tables.open = killed.store.open.clone();
    (tables, limits)
}

proptest! {
    #[test]
    fn ids_and_what_is_counted_under_them_go_on_in_larger_tables_and_none_is_given_up_before_those_are_in_force(
        old in any(), new in any(), open in prop::collection::vec(any_bool(), 64),
    ) {
        let mut killed = fresh(&old);
        count(&mut killed, &open);
        let before = ids(&killed);
        let identities = killed.store.inventory().unwrap().identities;
        let (tables, limits) = larger(&killed);

        let mut next = Engine::succeed(tables, &limits).unwrap();
        prop_assert_eq!(next.apply(&new).diagnostics, []);
        next.apply(&Program::default());
        next.apply(&new);

        for (id, identity) in &identities {
            let kept = next.store.identity(*id).get();
            prop_assert!(is_same(kept, identity.get()), "{kept:?}");
        }
        for (endpoint, id) in &before {
            let now = ids(&next).get(endpoint).copied();
            prop_assert!(now.is_none_or(|now| now == *id), "{endpoint:?}");
        }
        for service in killed.live.services.keys().filter(|&key| new.services.contains_key(key)) {
            prop_assert_eq!(connects(&next, service), connects(&killed, service));
        }
        next.stop_sharing();
        next.store.open.clear();
        next.apply(&new);
        prop_assert_eq!(next.names.endpoints.count(), fresh(&new).names.endpoints.count());
        prop_assert_eq!(next.names.services.count(), fresh(&new).names.services.count());
    }
}

/// Whether both name the same, wherever its group is and whatever it had.
fn is_same(one: Option<Identified>, other: Option<Identified>) -> bool {
    match (one, other) {
        (Some(Identified::Service(one)), Some(Identified::Service(other))) => {
            one.hash == other.hash
        }
        (one, other) => one == other,
    }
}

#[test]
fn a_frontend_that_leads_to_no_group_is_damage() {
    let (_, mut killed) = one_service();
    let (_, word) = killed.store.frontends.iter().next().unwrap();
    let group = word.group();
    killed.store.write_cells(group, &[Cell::default()]);
    let refusal = Engine::adopt(killed.store, &LIMITS).map(drop);
    assert!(
        matches!(refusal, Err(Damage::Group(at)) if at == group),
        "{refusal:?}"
    );
}

#[test]
fn an_element_that_is_another_keys_is_damage() {
    let (_, mut killed) = one_service();
    let (&key, _) = killed.store.frontends.iter().next().unwrap();
    let other = agent_common::abi::FrontendKey::address(key.destination(), Port::new(81), 6, 0);
    let word = agent_common::abi::FrontendWord::new(&other, 2);
    killed.store.frontends.set(&key, word).unwrap();
    let refusal = Engine::adopt(killed.store, &LIMITS).map(drop);
    assert!(matches!(refusal, Err(Damage::Word)), "{refusal:?}");
}
