//! Tables that somebody else has changed, and the look that finds and mends it.

use agent_common::abi::{
    Cell, ClientWord, Config, FrontendKey, FrontendWord, Identity, Outbound, Port, TCP,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

use crate::compile::Program;
use crate::dataplane::Limits;

use super::super::address;
use super::super::drift::{Deviation, Part, Survey};
use super::super::engine::{Engine, Pass};
use super::super::memory::{MemoryDataplane, MemoryMap, MemoryTables};
use super::super::store::{Map, PrefixKey, Store};
use super::clients::any_clients;
use super::programs::{self, add, key};
use super::updates::{LIMITS, all_fates, fresh};

/// A whole look, and what it came to.
fn verify(dataplane: &mut MemoryDataplane, program: &Program) -> Survey {
    let mut pass = Pass::default();
    while !pass.is_done() {
        dataplane.look(&mut pass);
    }
    dataplane.mend(pass, program).0
}

/// One change by somebody else.
#[derive(Clone, Debug)]
enum Damage {
    RemoveFrontend(Index),
    ChangeFrontend(Index, u32),
    SwapFrontends(Index, Index),
    AddFrontend(FrontendKey, u32),
    RemovePrefix(Index),
    SetPrefix(PrefixKey, u32),
    RemoveExempt(Index),
    SetExempt(PrefixKey, u32),
    RemoveClient(Index),
    SetClient(u64, ClientWord),
    Config(Config),
    Cell(Index, Cell),
    Identity(u32, Identity),
}

fn net() -> impl Strategy<Value = PrefixKey> {
    let nets = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.2.0.0/16",
        "192.0.2.0/24",
        "fd00::/16",
        "::/0",
    ];
    prop::sample::select(nets.to_vec()).prop_map(|net| {
        let (base, bits) = address::from_net(net.parse().unwrap());
        PrefixKey { base, bits }
    })
}

fn frontend_key() -> impl Strategy<Value = FrontendKey> {
    let address = prop::sample::select(vec!["240.240.0.1", "240.240.0.9", "2001:2::1", "10.1.2.3"]);
    let at = address.prop_map(|ip| {
        let address = address::from_ip(ip.parse().unwrap());
        FrontendKey::address(address, Port::new(80), TCP, 0)
    });
    let below = (0u32..6, 79u16..81);
    prop_oneof![
        at,
        below.prop_map(|(id, port)| FrontendKey::prefix(id, Port::new(port), TCP, 0))
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    let cell = prop::array::uniform16(0u16..300).prop_map(Cell::from);
    let word = (0u32..5, 0u16..2)
        .prop_map(|(scope, names)| ClientWord::new(scope, names, Outbound::RegistryOnly));
    let config =
        (any::<u64>(), 0u32..2, 0u8..2).prop_map(|(own_cgroup, has_prefixes, level)| Config {
            own_cgroup,
            has_prefixes,
            levels: [level, 0, 0, 0],
            ..Config::default()
        });
    prop_oneof![
        index().prop_map(Damage::RemoveFrontend),
        (index(), 0u32..64).prop_map(|(at, group)| Damage::ChangeFrontend(at, group)),
        (index(), index()).prop_map(|(one, other)| Damage::SwapFrontends(one, other)),
        (frontend_key(), 0u32..64).prop_map(|(key, group)| Damage::AddFrontend(key, group)),
        index().prop_map(Damage::RemovePrefix),
        (net(), 0u32..6).prop_map(|(net, id)| Damage::SetPrefix(net, id)),
        index().prop_map(Damage::RemoveExempt),
        (net(), 0u32..4).prop_map(|(net, value)| Damage::SetExempt(net, value)),
        index().prop_map(Damage::RemoveClient),
        (9u64..22, word).prop_map(|(cgroup, word)| Damage::SetClient(cgroup, word)),
        config.prop_map(Damage::Config),
        (index(), cell).prop_map(|(at, cell)| Damage::Cell(at, cell)),
        (0u32..80, prop::sample::select(vec![0u8, 1])).prop_map(|(id, kind)| {
            let endpoint = (
                1,
                address::from_ip("10.9.9.9".parse().unwrap()),
                Port::new(1),
            );
            let identity = super::super::identity::of_endpoint(&endpoint);
            Damage::Identity(
                id,
                if kind == 0 {
                    Identity::default()
                } else {
                    identity
                },
            )
        }),
    ]
}

fn nth<K: Ord + Copy, V: Copy>(map: &MemoryMap<K, V>, at: Index) -> Option<(K, V)> {
    let count = map.iter().count();
    let found = (count > 0).then(|| map.iter().nth(at.index(count)))?;
    found.map(|(key, value)| (*key, *value))
}

impl Damage {
    fn strike(self, dataplane: &mut MemoryDataplane) {
        let store = &mut dataplane.store;
        let done = match self {
            Self::RemoveFrontend(at) => {
                nth(&store.frontends, at).map(|(key, _)| store.frontends.remove(&key))
            }
            Self::ChangeFrontend(at, group) => nth(&store.frontends, at)
                .map(|(key, _)| store.frontends.set(&key, FrontendWord::new(&key, group))),
            Self::SwapFrontends(one, other) => {
                let (one, other) = (nth(&store.frontends, one), nth(&store.frontends, other));
                one.zip(other)
                    .map(|((key, _), (_, word))| store.frontends.set(&key, word))
            }
            Self::AddFrontend(key, group) => {
                Some(store.frontends.set(&key, FrontendWord::new(&key, group)))
            }
            Self::RemovePrefix(at) => {
                nth(&store.prefixes, at).map(|(key, _)| store.prefixes.remove(&key))
            }
            Self::SetPrefix(key, id) => Some(store.prefixes.set(&key, id)),
            Self::RemoveExempt(at) => {
                nth(&store.exempt, at).map(|(key, _)| store.exempt.remove(&key))
            }
            Self::SetExempt(key, value) => Some(store.exempt.set(&key, value)),
            Self::RemoveClient(at) => {
                nth(&store.scopes, at).map(|(key, _)| store.scopes.remove(&key))
            }
            Self::SetClient(cgroup, word) => Some(store.scopes.set(&cgroup, word)),
            Self::Config(config) => {
                store.set_config(&config);
                None
            }
            Self::Cell(at, cell) => {
                let used = dataplane.space.used();
                let at = u32::try_from(at.index(used as usize)).unwrap();
                store.write_cells(at.max(2), &[cell]);
                None
            }
            Self::Identity(id, identity) => {
                store.set_identity(id, &identity);
                None
            }
        };
        assert!(done.is_none_or(|done| done.is_ok()));
    }
}

/// A program with clients.
fn populated() -> impl Strategy<Value = Program> {
    (programs::any(), any_clients()).prop_map(|(program, clients)| Program { clients, ..program })
}

/// Everything but where groups stand.
fn expect_like(tables: &MemoryTables, other: &MemoryTables) -> Result<(), TestCaseError> {
    use agent_common::Tables;
    prop_assert_eq!(all_fates(tables), all_fates(other));
    prop_assert_eq!(tables.config(), other.config());
    let [found, expected] = [tables, other].map(|tables| tables.inventory().unwrap());
    prop_assert_eq!(found.exempt, expected.exempt);
    prop_assert_eq!(found.scopes, expected.scopes);
    prop_assert_eq!(found.identities.len(), expected.identities.len());
    let keys = |elements: Vec<(PrefixKey, u32)>| -> Vec<PrefixKey> {
        elements.into_iter().map(|(key, _)| key).collect()
    };
    prop_assert_eq!(keys(found.prefixes), keys(expected.prefixes));
    prop_assert_eq!(found.frontends.len(), expected.frontends.len());
    Ok(())
}

proptest! {
    #[test]
    fn whatever_was_changed_is_found_and_all_is_as_if_it_had_not_been(
        program in populated(), damages in prop::collection::vec(damage(), 0..6),
    ) {
        let mut dataplane = fresh(&program);
        for damage in damages {
            damage.strike(&mut dataplane);
        }

        let survey = verify(&mut dataplane, &program);

        prop_assert!(survey.found.iter().all(|drift| drift.failure.is_none()), "{survey:?}");
        let direct = fresh(&program);
        expect_like(dataplane.tables(), direct.tables())?;
        prop_assert_eq!(dataplane.space.used(), direct.space.used());
        prop_assert_eq!(dataplane.names.endpoints.count(), direct.names.endpoints.count());
        prop_assert_eq!(dataplane.names.prefixes.count(), direct.names.prefixes.count());
        prop_assert_eq!(verify(&mut dataplane, &program).found, []);
        prop_assert_eq!(dataplane.apply(&program).steps, 0);
    }

    #[test]
    fn nothing_is_found_and_done_where_only_we_have_changed_anything(
        programs in prop::collection::vec(populated(), 1..5), looks in prop::collection::vec(0usize..12, 4),
    ) {
        let mut dataplane = MemoryDataplane::in_memory(&LIMITS);
        let mut pass = Pass::default();
        for (program, looks) in programs.iter().zip(looks) {
            dataplane.apply(program);
            // A look goes on while programs come and go.
            (0..looks).for_each(|_| dataplane.look(&mut pass));
        }
        let last = programs.last().unwrap();
        prop_assert!(!pass.has_found(), "{pass:?}");
        let before = dataplane.tables().inventory().unwrap().frontends;
        prop_assert_eq!(verify(&mut dataplane, last).found, []);
        prop_assert_eq!(dataplane.tables().inventory().unwrap().frontends, before);
    }

    #[test]
    fn nothing_is_found_in_what_was_adopted(old in populated(), open in 0u32..80, new in populated()) {
        let mut killed = fresh(&old);
        killed.store.open.insert(open, 1);
        killed.apply(&new);
        let mut next = Engine::adopt(killed.store, &LIMITS).unwrap();
        prop_assert_eq!(verify(&mut next, &Program::default()).found, []);
        prop_assert_eq!(next.apply(&new).diagnostics, []);
        prop_assert_eq!(verify(&mut next, &new).found, []);
    }
}

/// One service, at one address.
fn one_service() -> Program {
    let mut program = Program::default();
    add(&mut program, "a", &["240.240.0.1"], &[("10.0.0.1:80", 1)]);
    program
}

fn overwrite_group(dataplane: &mut MemoryDataplane) -> u32 {
    let group = dataplane.live.services[&key("a")];
    dataplane.store.write_cells(group + 1, &[Cell::default()]);
    group
}

#[test]
fn a_group_that_was_written_over_is_written_anew_elsewhere() {
    let program = one_service();
    let mut dataplane = fresh(&program);
    let damaged = overwrite_group(&mut dataplane);

    let survey = verify(&mut dataplane, &program);

    let [drift] = survey.found.try_into().unwrap();
    assert_eq!(
        (drift.part, drift.deviation),
        (Part::Arena, Deviation::Changed)
    );
    assert_eq!(drift.what, "the endpoints of default/a:80");
    assert_eq!(drift.failure, None);
    // Nothing reads the damaged cells any more, which are free again.
    assert_ne!(dataplane.live.services[&key("a")], damaged);
    assert_eq!(dataplane.space.used(), fresh(&program).space.used());
}

#[test]
fn what_cannot_be_mended_is_said_until_it_can() {
    let mut program = one_service();
    let mut dataplane = MemoryDataplane::in_memory(&Limits { cells: 8, ..LIMITS });
    add(&mut program, "b", &["240.240.0.2"], &[("10.0.0.2:80", 1)]);
    add(&mut program, "c", &["240.240.0.3"], &[("10.0.0.2:80", 1)]);
    assert_eq!(dataplane.apply(&program).diagnostics, []);
    overwrite_group(&mut dataplane);
    for _ in 0..2 {
        let survey = verify(&mut dataplane, &program);
        assert!(
            survey.found.iter().any(|drift| drift.failure.is_some()),
            "{survey:?}"
        );
    }
    programs::forget_frontends(&mut program, &key("c"));
    program.services.remove(&key("c"));
    verify(&mut dataplane, &program);
    assert_eq!(verify(&mut dataplane, &program).found, []);
    let direct = fresh(&program);
    assert_eq!(all_fates(dataplane.tables()), all_fates(direct.tables()));
}

#[test]
fn what_is_compared_is_counted_by_parts() {
    let program = one_service();
    let survey = verify(&mut fresh(&program), &program);
    let counted = |part| survey.compared[&part];
    assert_eq!(
        [Part::Config, Part::Arena, Part::Frontends, Part::Identities].map(counted),
        [1, 1, 1, 2]
    );
}
