//! The running kernel: while services change all the time and all processors connect, each connect gets to an endpoint that was
//! valid at some instant of it, and none fails. In the order in which others update their maps that does not hold.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use agent::api::Algorithm;
use agent::compile::{Action, Policy, Program, ServiceKey};
use agent::dataplane::Dataplane;
use agent_common::abi::Cell;
use anyhow::{Context, Result};
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tests::bpf;
use tests::history::{History, Outcome};
use tests::lab::{self, ECONNREFUSED, Lab};
use tests::programs::{at, endpoint, frontend, key, service, under};
use tests::sockets::{Race, Request, Run, Transport, nanoseconds};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Services of each transport, and endpoints that each may have.
const SERVICES: u8 = 3;
const ENDPOINTS: u8 = 8;
const PORT: u16 = 8080;
/// Services that come and go.
const PASSING: u8 = 4;
/// Updates in a row after which what was replaced is released, and others come or go.
const BATCH: usize = 64;
/// Times that clients are let connect.
const MOST_RACES: usize = 10;

/// A service that clients connect to.
struct Target {
    vip: SocketAddr,
    transport: Transport,
    /// All endpoints that it ever has.
    pool: Vec<SocketAddr>,
    history: History,
}

impl Target {
    fn new(number: u8, transport: Transport, endpoints: u8) -> Self {
        let pool = (1..=endpoints).map(|last| SocketAddr::from(([10, 9, number, last], PORT)));
        Self {
            vip: SocketAddr::from(([240, 240, 0, number], 80)),
            transport,
            pool: pool.collect(),
            history: History::default(),
        }
    }

    fn key(&self) -> ServiceKey {
        let (vip, protocol) = (self.vip, self.transport.protocol());
        key(&vip.ip().to_string(), vip.port(), protocol)
    }

    /// Makes `program` hold the service with these endpoints, each with its share; those without one are ejected.
    fn put(&self, program: &mut Program, endpoints: &[(SocketAddr, u64)]) {
        let endpoints = endpoints.iter().map(|&(at, share)| endpoint(at, share));
        let mut service = service(Action::Balance, endpoints.collect());
        let policy = Policy {
            algorithm: Algorithm::Random,
            ..Policy::default()
        };
        under(Arc::make_mut(&mut service), policy);
        program.services.insert(self.key(), service);
        let frontend = frontend(self.vip, self.transport.protocol());
        program.frontends.insert(frontend, self.key());
    }

    fn remove(&self, program: &mut Program) {
        program.services.remove(&self.key());
        let frontend = frontend(self.vip, self.transport.protocol());
        program.frontends.remove(&frontend);
    }

    fn has_changed(&self) -> bool {
        self.history.versions() > 2
    }
}

/// An automatic address that no service has.
fn nowhere() -> BTreeSet<Outcome> {
    [Err(lab::refusal(ECONNREFUSED))].into()
}

/// Whom connects may reach.
fn valid(endpoints: &[(SocketAddr, u64)]) -> BTreeSet<Outcome> {
    let served = endpoints.iter().filter(|(_, share)| *share > 0);
    served.map(|(at, _)| Ok(at.ip())).collect()
}

fn any_of<T>(random: &mut TestRunner, values: &impl Strategy<Value = T>) -> T {
    let tree = values.new_tree(random);
    tree.expect("nothing is filtered").current()
}

/// Other endpoints, other weights, others ejected; at least one takes connects.
fn any_endpoints(random: &mut TestRunner, pool: &[SocketAddr]) -> Vec<(SocketAddr, u64)> {
    let members = any_of(random, &subsequence(pool.to_vec(), 1..=pool.len()));
    let shares = any_of(random, &vec![0u64..4; members.len()]);
    let mut endpoints: Vec<_> = members.into_iter().zip(shares).collect();
    endpoints[0].1 += 1;
    endpoints
}

/// Those of the runs that came to what was not valid, in words.
fn wrong(runs: &[Run], targets: &[Target]) -> Vec<String> {
    let wrong = runs
        .iter()
        .filter(|run| !targets[run.to].history.allows(run));
    wrong
        .map(|run| format!("{}: {run:?}", targets[run.to].vip))
        .collect()
}

/// Lets clients connect to the targets on all processors until they have done so often, while `update` is called.
fn race(
    lab: &mut Lab,
    targets: &mut [Target],
    connects: usize,
    mut update: impl FnMut(&mut Dataplane, &mut [Target]),
) -> Result<Vec<Run>> {
    let to = targets.iter().map(|target| (target.transport, target.vip));
    let threads = thread::available_parallelism()?.get();
    let order = Race {
        threads,
        connects,
        to: to.collect(),
    };
    let (client, dataplane) = (&mut lab.client, &mut lab.dataplane);
    thread::scope(|scope| {
        let working = scope.spawn(move || client.race(order));
        while !working.is_finished() {
            update(dataplane, targets);
        }
        working.join().expect("asking a client does not panic")
    })
}

fn listen(lab: &mut Lab, targets: &[Target]) -> Result<()> {
    let pools = targets.iter().flat_map(|target| &target.pool);
    let addresses = pools.map(SocketAddr::ip).collect();
    lab.client.order(&Request::AddAddresses(addresses))?;
    lab.client.order(&Request::Listen(at("0.0.0.0:8080")))
}

#[test]
fn every_connect_reaches_what_was_valid_while_everything_changes() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut targets: Vec<Target> = (1..=SERVICES)
        .map(|number| Target::new(number, Transport::Tcp, ENDPOINTS))
        .chain((11..=10 + SERVICES).map(|number| Target::new(number, Transport::Udp, ENDPOINTS)))
        .chain((21..=20 + PASSING).map(|number| Target::new(number, Transport::Tcp, 1)))
        .collect();
    listen(&mut lab, &targets)?;
    let lasting = 2 * usize::from(SERVICES);
    let mut program = Program::default();
    for (number, target) in targets.iter_mut().enumerate() {
        let endpoints: Vec<_> = target.pool.iter().map(|at| (*at, 1)).collect();
        if number < lasting {
            target.put(&mut program, &endpoints);
        }
        let valid = if number < lasting {
            valid(&endpoints)
        } else {
            nowhere()
        };
        target.history.publish(valid, || ());
    }
    lab.apply(&program);
    let mut random = TestRunner::deterministic();
    let (mut updates, mut begun) = (0u32, None);
    let mut update = |dataplane: &mut Dataplane, targets: &mut [Target]| {
        begun.get_or_insert_with(nanoseconds);
        for _ in 0..BATCH {
            let target = &mut targets[any_of(&mut random, &(0..lasting))];
            let endpoints = any_endpoints(&mut random, &target.pool);
            target.put(&mut program, &endpoints);
            let service = &program.services[&target.key()];
            let key = target.key();
            let publish = || dataplane.replace(&key, service);
            assert!(target.history.publish(valid(&endpoints), publish));
        }
        dataplane.release_replaced();
        let target = &mut targets[any_of(&mut random, &(lasting..lasting + usize::from(PASSING)))];
        let valid = if program.services.contains_key(&target.key()) {
            target.remove(&mut program);
            nowhere()
        } else {
            let endpoint = (target.pool[0], 1);
            target.put(&mut program, &[endpoint]);
            valid(&[endpoint])
        };
        let applied = target.history.publish(valid, || dataplane.apply(&program));
        assert!(applied.diagnostics.is_empty(), "{:?}", applied.diagnostics);
        updates += u32::try_from(BATCH + 1).expect("a few");
    };
    let mut runs = Vec::new();
    // Where others keep the processors busy, all connects may be over before much has changed.
    for _ in 0..MOST_RACES {
        runs.extend(race(&mut lab, &mut targets, 10_000, &mut update)?);
        if targets.iter().all(Target::has_changed) {
            break;
        }
    }
    let took = nanoseconds() - begun.unwrap_or_default();
    let rate = u64::from(updates) * 1_000_000_000 / took;
    println!(
        "{} connects beside {updates} updates, {rate} a second",
        runs.len()
    );
    let wrong = wrong(&runs, &targets);
    assert!(
        wrong.is_empty(),
        "{} of {}: {:?}",
        wrong.len(),
        runs.len(),
        &wrong[..wrong.len().min(5)]
    );
    // Something did happen to each: what is found wrong otherwise is found here.
    for target in &targets {
        assert!(target.has_changed(), "{}", target.vip);
    }
    Ok(())
}

/// Replaces the endpoints of the only service by writing over its group, in the order of Cilium's reconciler: endpoints that go are
/// deleted first, then the slots are written one by one, then their number, and at last those that are too many are deleted.
struct InPlace {
    /// The cell of the group's header.
    group: u32,
    arena: OwnedFd,
    header: [u8; CELL],
    /// As they were published: of equal weights each needs no other.
    slots: Vec<[u8; CELL]>,
    /// Which of these stand there now.
    standing: Vec<usize>,
}

const CELL: usize = size_of::<Cell>();
/// Where the number of slots stands in a header.
const COUNT: std::ops::Range<usize> = 8..12;

impl InPlace {
    /// Over the first group of the tables, which has so many slots.
    fn find(slots: u8) -> Result<Self> {
        let arena = bpf::own_map("ARENA")?;
        let cell = |place: u32| bpf::lookup::<CELL>(arena.as_fd(), &place.to_ne_bytes());
        let is_header = |bytes: &[u8; CELL], place: u32| {
            bytes[..4] == place.to_ne_bytes() && bytes[COUNT] == u32::from(slots).to_ne_bytes()
        };
        let mut places = 0..64;
        let found = places.find_map(|place| {
            let bytes = cell(place).ok()?;
            is_header(&bytes, place).then_some((place, bytes))
        });
        let (group, header) = found.context("there is no such group")?;
        let places = group + 1..=group + u32::from(slots);
        let slots = places.map(cell).collect::<Result<Vec<_>, _>>()?;
        let standing = (0..slots.len()).collect();
        Ok(Self {
            group,
            arena,
            header,
            slots,
            standing,
        })
    }

    fn write(&self, place: usize, bytes: &[u8; CELL]) -> Result<()> {
        let place = self.group + u32::try_from(place)?;
        Ok(bpf::update(
            self.arena.as_fd(),
            &place.to_ne_bytes(),
            bytes,
        )?)
    }

    fn replace(&mut self, wanted: &[usize]) -> Result<()> {
        let deleted = [0; CELL];
        for (place, slot) in (1..).zip(&self.standing) {
            if !wanted.contains(slot) {
                self.write(place, &deleted)?;
            }
        }
        for (place, slot) in (1..).zip(wanted) {
            self.write(place, &self.slots[*slot])?;
        }
        let count = u32::try_from(wanted.len())?;
        self.header[COUNT].copy_from_slice(&count.to_ne_bytes());
        self.write(0, &self.header)?;
        for place in wanted.len()..self.standing.len() {
            self.write(place + 1, &deleted)?;
        }
        self.standing = wanted.to_vec();
        Ok(())
    }
}

/// What the test above would find, and that it can.
#[test]
fn in_the_order_of_others_connects_fail_meanwhile() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut targets = [Target::new(1, Transport::Udp, ENDPOINTS)];
    listen(&mut lab, &targets)?;
    let mut program = Program::default();
    let [target] = &mut targets;
    let all: Vec<_> = target.pool.iter().map(|at| (*at, 1)).collect();
    target.put(&mut program, &all);
    target.history.publish(valid(&all), || ());
    lab.apply(&program);
    let mut in_place = InPlace::find(ENDPOINTS)?;
    let mut random = TestRunner::deterministic();
    let choices = subsequence((0..usize::from(ENDPOINTS)).collect::<Vec<_>>(), 1..=4);
    let runs = race(&mut lab, &mut targets, 5_000, |_, targets| {
        let wanted = any_of(&mut random, &choices);
        let endpoints: Vec<_> = wanted.iter().map(|slot| all[*slot]).collect();
        let history = &mut targets[0].history;
        let written = history.publish(valid(&endpoints), || in_place.replace(&wanted));
        written.expect("the group is there");
    })?;
    let wrong = wrong(&runs, &targets);
    println!(
        "{} of {} connects came to what was not valid",
        wrong.len(),
        runs.len()
    );
    assert!(
        !wrong.is_empty(),
        "in {} versions",
        targets[0].history.versions()
    );
    Ok(())
}
