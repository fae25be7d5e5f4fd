//! What it takes to pick an endpoint, by algorithm: the run time of connect4, beside that of RANDOM in the same round.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use agent::api::{Algorithm, HashTable};
use agent::compile::{Policy, Program};
use agent_common::abi::TCP;
use anyhow::{Result, ensure};
use tests::interrupt;
use tests::programs::{balance, frontend, key, under};

use crate::kernel::{EmptyProgram, count_runs};
use crate::runs::{empty_runs, ours};
use crate::services;
use crate::setting::{Effort, Setting};
use crate::statistics::median;
use crate::table::{Budget, Table, shown};
use crate::worker::{SERVER, Target};

/// Endpoints of a service.
const SIZES: [u32; 3] = [2, 10, 1_000];

/// The first is what the others are compared with. Tables are of Istio's default sizes.
const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("RANDOM", Algorithm::Random),
    ("LEAST_REQUEST", Algorithm::LeastRequest),
    ("ROUND_ROBIN", Algorithm::RoundRobin),
    (
        "consistentHash, ring hash",
        Algorithm::SourceHash(HashTable::Ring { minimum_size: 1024 }),
    ),
    (
        "consistentHash, maglev",
        Algorithm::SourceHash(HashTable::Maglev { size: 65_537 }),
    ),
];

pub(crate) fn measure(setting: &mut Setting, effort: Effort, table: &mut Table) -> Result<()> {
    eprintln!("algorithms …");
    let empty = EmptyProgram::attach(setting.direct.path())?;
    let _counted = count_runs()?;
    for size in SIZES {
        let applied = setting.dataplane.apply(&program(size));
        ensure!(applied.diagnostics.is_empty(), "{:?}", applied.diagnostics);
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds() {
            interrupt::check()?;
            let (_, empty) = empty_runs(setting, &empty, effort)?;
            let net = (0..).zip(ALGORITHMS).map(|(number, _)| {
                let gross = ours(setting, Target::Number(number), effort)?;
                Ok(gross.connect - empty)
            });
            rounds.push(net.collect::<Result<Vec<f64>>>()?);
        }
        report(size, &rounds, table);
    }
    Ok(())
}

/// A service for each algorithm.
fn program(size: u32) -> Program {
    let mut program = Program::default();
    for (number, (name, algorithm)) in (0..).zip(ALGORITHMS) {
        let at = frontend(services::vip(number).into(), TCP);
        balance(&mut program, name, at, &endpoints(size));
        let service = program.services.get_mut(&key(name, at.port, TCP));
        let policy = Policy {
            algorithm,
            ..Policy::default()
        };
        under(Arc::make_mut(service.expect("it was added")), policy);
    }
    program
}

/// Addresses of the loopback device, at all of which the worker's server listens.
fn endpoints(size: u32) -> Vec<(SocketAddr, u64)> {
    let first = u32::from(Ipv4Addr::LOCALHOST);
    let addresses = (first..).take(size as usize).map(Ipv4Addr::from);
    addresses
        .map(|address| (SocketAddr::new(address.into(), SERVER.port()), 1))
        .collect()
}

fn report(size: u32, rounds: &[Vec<f64>], table: &mut Table) {
    for (index, (name, _)) in ALGORITHMS.iter().enumerate() {
        let nanoseconds = median(rounds.iter().map(|round| round[index]));
        let ratio = median(rounds.iter().map(|round| round[index] / round[0]));
        table.ratio(
            format!("connect4, {name}, {size} endpoints, net, beside RANDOM"),
            format!("{} ns", shown(nanoseconds)),
            ratio,
            Budget::None,
        );
    }
}
