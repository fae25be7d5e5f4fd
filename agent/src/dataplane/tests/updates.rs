//! From one program to the next: every moment in between, and where it ends.

use std::collections::BTreeSet;
use std::net::IpAddr;

use agent_common::abi::{Address, DEFAULT_SCOPE, Outbound, Port, TCP};
use agent_common::{Connect, Family, Verdict, decide};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::compile::Program;
use crate::dataplane::Limits;

use super::super::address;
use super::super::engine::Failures;
use super::super::memory::{MemoryDataplane, MemoryTables};
use super::super::plan::{Allocators, plan};
use super::super::wanted::Wanted;
use super::programs::{add, any, forget_frontends, key};

pub(super) const LIMITS: Limits = Limits {
    frontends: 64,
    prefixes: 16,
    cells: 256,
    services: 16,
    endpoints: 64,
    flows: 16,
    replies: 16,
    cgroups: 64,
    exempt: 16,
};

/// Where a connect may end: an endpoint, its own address, or a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Pass,
    Refused,
    Endpoint(Address, u16),
}

/// All that may become of a connect, over numbers that draw every endpoint of these programs.
fn fates(tables: &MemoryTables, family: Family, to: &str) -> BTreeSet<Fate> {
    let connect = Connect {
        family,
        address: address::from_ip(to.parse().unwrap()),
        port: Port::new(80),
        protocol: TCP,
        scope: DEFAULT_SCOPE,
        names: 0,
        outbound: Outbound::AllowAny,
    };
    let draws = (0..64).map(|step| step << 26);
    draws
        .map(|random| match decide(tables, &connect, &mut || random) {
            Verdict::Pass => Fate::Pass,
            Verdict::Rewrite { address, port, .. } => Fate::Endpoint(address, port.get()),
            Verdict::Deny { .. } => Fate::Refused,
            Verdict::Original { .. } | Verdict::Ask { .. } | Verdict::PassUnregistered => {
                panic!("no program here has such a service")
            }
        })
        .collect()
}

/// Destinations inside and outside of every frontend of the random programs.
const PROBES: [(Family, &str); 9] = [
    (Family::V4, "240.240.0.1"),
    (Family::V6, "240.240.0.1"),
    (Family::V4, "240.240.0.2"),
    (Family::V6, "2001:2::1"),
    (Family::V4, "10.0.0.1"),
    (Family::V4, "10.1.0.1"),
    (Family::V4, "192.0.2.1"),
    (Family::V6, "fd00::9"),
    (Family::V6, "2001:db8::9"),
];

pub(super) fn all_fates(tables: &MemoryTables) -> Vec<BTreeSet<Fate>> {
    PROBES
        .iter()
        .map(|&(family, to)| fates(tables, family, to))
        .collect()
}

pub(super) fn fresh(program: &Program) -> MemoryDataplane {
    let mut dataplane = MemoryDataplane::in_memory(&LIMITS);
    let applied = dataplane.apply(program);
    assert_eq!(applied.diagnostics, []);
    dataplane
}

/// Whether the program has a CIDR. While CIDRs come and go, an address may for a moment be answered by an outer one.
pub(super) fn has_prefixes(program: &Program) -> bool {
    !Wanted::new(program).prefixes.is_empty()
}

/// Goes from what is live to `new`, of which exact addresses find nothing but what they found before or find after. `is_exact`
/// says whether that is so of all probes for them: it is not while there are CIDRs.
pub(super) fn walk(
    dataplane: &mut MemoryDataplane,
    new: &Program,
    is_exact: bool,
) -> Result<(), TestCaseError> {
    let before = all_fates(dataplane.tables());
    let after = all_fates(fresh(new).tables());
    let wanted = Wanted::new(new);
    let steps = plan(
        &dataplane.live,
        &wanted,
        &dataplane.base,
        &mut Allocators {
            names: &mut dataplane.names,
            space: &mut dataplane.space,
        },
    )
    .steps;
    for step in steps {
        prop_assert!(dataplane.execute(step).is_ok());
        for (probe, (&(family, to), (old_fates, new_fates))) in
            PROBES.iter().zip(before.iter().zip(&after)).enumerate()
        {
            let now = fates(dataplane.tables(), family, to);
            let is_address = probe < 4;
            if is_address && is_exact {
                prop_assert!(&now == old_fates || &now == new_fates, "{to}: {now:?}");
            }
            prop_assert!(!now.is_empty());
            let is_torn = now.contains(&Fate::Refused)
                && !old_fates.contains(&Fate::Refused)
                && !new_fates.contains(&Fate::Refused);
            prop_assert!(!is_torn || !is_address, "{to} is refused on the way");
        }
    }
    prop_assert_eq!(all_fates(dataplane.tables()), after);
    Ok(())
}

proptest! {
    #[test]
    fn after_every_step_each_frontend_has_a_whole_group_old_or_new(old in any(), new in any()) {
        let is_exact = !has_prefixes(&old) && !has_prefixes(&new);
        walk(&mut fresh(&old), &new, is_exact)?;
    }

    #[test]
    fn the_way_to_a_program_leaves_no_trace(programs in prop::collection::vec(any(), 1..6)) {
        let mut dataplane = MemoryDataplane::in_memory(&LIMITS);
        for program in &programs {
            dataplane.apply(program);
        }
        let last = programs.last().unwrap();
        let direct = fresh(last);
        prop_assert_eq!(all_fates(dataplane.tables()), all_fates(direct.tables()));
        prop_assert_eq!(dataplane.space.used(), direct.space.used());
        prop_assert_eq!(dataplane.names.services.count(), direct.names.services.count());
        prop_assert_eq!(dataplane.names.endpoints.count(), direct.names.endpoints.count());
        prop_assert_eq!(dataplane.names.prefixes.count(), direct.names.prefixes.count());
        prop_assert_eq!(dataplane.tables().frontends.iter().count(), direct.tables().frontends.iter().count());
        prop_assert_eq!(dataplane.tables().prefixes.iter().count(), direct.tables().prefixes.iter().count());
    }

    #[test]
    fn the_same_program_again_changes_nothing(program in any()) {
        let mut dataplane = fresh(&program);
        prop_assert_eq!(dataplane.apply(&program).steps, 0);
        let mut failures = Failures::new();
        prop_assert_eq!(dataplane.pass(&Wanted::new(&program.clone()), &mut failures), 0);
    }
}

#[test]
fn an_endpoint_keeps_its_id_when_its_share_changes() {
    let ids = |dataplane: &MemoryDataplane| -> Vec<(u32, IpAddr)> {
        let names = dataplane.names();
        let ids = names.endpoints.iter().map(|(id, _)| id);
        ids.map(|id| (id, names.endpoint(id).unwrap().1)).collect()
    };
    let mut program = Program::default();
    add(
        &mut program,
        "a",
        &["240.240.0.1"],
        &[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)],
    );
    let mut dataplane = fresh(&program);
    let before = ids(&dataplane);
    let service = dataplane.names().services.get(&key("a"));

    add(
        &mut program,
        "a",
        &["240.240.0.1"],
        &[("10.0.0.0:80", 5), ("10.0.0.2:80", 3), ("10.0.0.1:80", 1)],
    );
    dataplane.apply(&program);

    let after = ids(&dataplane);
    assert_eq!((before.len(), after.len()), (2, 3));
    assert!(
        before.iter().all(|pair| after.contains(pair)),
        "{before:?} {after:?}"
    );
    assert_eq!(dataplane.names().services.get(&key("a")), service);
}

#[test]
fn an_endpoint_that_is_gone_keeps_its_id_until_its_last_socket_is() {
    let mut program = Program::default();
    add(&mut program, "a", &["240.240.0.1"], &[("10.0.0.1:80", 1)]);
    let mut dataplane = fresh(&program);
    let (id, _) = dataplane.names().endpoints.iter().next().unwrap();
    let service = dataplane.names().services.get(&key("a"));
    dataplane.store.open.insert(id, 1);

    dataplane.apply(&Program::default());
    add(&mut program, "b", &["240.240.0.2"], &[("10.0.0.2:80", 1)]);
    program.services.remove(&key("a"));
    forget_frontends(&mut program, &key("a"));
    dataplane.apply(&program);
    let ids = |dataplane: &MemoryDataplane| dataplane.names().endpoints.count();
    assert_eq!(ids(&dataplane), 2, "that of the socket and that of b");
    assert_eq!(dataplane.names().services.get(&key("a")), service);

    dataplane.store.open.clear();
    dataplane.apply(&program);
    assert_eq!(ids(&dataplane), 1);
    assert_eq!(dataplane.names().services.get(&key("a")), None);
}

#[test]
fn an_update_of_one_service_writes_one_group_and_its_frontends() {
    let mut program = Program::default();
    add(
        &mut program,
        "a",
        &["240.240.0.1", "2001:2::1"],
        &[("10.0.0.1:80", 1)],
    );
    add(&mut program, "b", &["240.240.0.2"], &[("10.0.0.1:80", 1)]);
    let mut dataplane = fresh(&program);
    add(
        &mut program,
        "a",
        &["240.240.0.1", "2001:2::1"],
        &[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)],
    );
    assert_eq!(dataplane.apply(&program).steps, 3);
}

#[test]
fn an_ipv6_cidr_of_everything_does_not_catch_ipv4() {
    let mut program = Program::default();
    add(&mut program, "a", &["::/0"], &[("10.0.0.1:80", 1)]);
    let dataplane = fresh(&program);
    assert_eq!(
        fates(dataplane.tables(), Family::V4, "192.0.2.1"),
        [Fate::Pass].into()
    );
    assert_ne!(
        fates(dataplane.tables(), Family::V6, "2001:db8::1"),
        [Fate::Pass].into()
    );
}
