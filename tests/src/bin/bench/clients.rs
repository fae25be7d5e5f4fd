//! What it takes to know the client: the run time of connect4 without workloads, with a thousand, and where only what is registered
//! may be reached.

use std::net::SocketAddr;

use agent::compile::{Outbound, Program, Scope};
use agent_common::abi::{DEFAULT_SCOPE, TCP};
use anyhow::{Result, ensure};
use tests::interrupt;
use tests::programs::{balance, frontend};

use crate::kernel::{EmptyProgram, count_runs};
use crate::runs::{empty_runs, ours};
use crate::services;
use crate::setting::{Effort, Setting};
use crate::statistics::median;
use crate::table::{Budget, Table, shown};
use crate::worker::{SERVER, Target};

const WORKLOADS: u64 = 1_000;
const SCOPES: u32 = 20;
/// How deep the worker's cgroup is.
const LEVEL: u8 = 1;

/// Who the clients are; the first is what the others are compared with.
const CASES: [(&str, bool, Outbound); 3] = [
    ("no workloads", false, Outbound::AllowAny),
    ("1000 workloads in 20 scopes", true, Outbound::AllowAny),
    ("the same, REGISTRY_ONLY", true, Outbound::RegistryOnly),
];

pub(crate) fn measure(setting: &mut Setting, effort: Effort, table: &mut Table) -> Result<()> {
    eprintln!("clients …");
    let empty = EmptyProgram::attach(setting.direct.path())?;
    let _counted = count_runs()?;
    let own = setting.ours.id()?;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds() {
        interrupt::check()?;
        let (_, empty) = empty_runs(setting, &empty, effort)?;
        let mut round = Vec::new();
        for (_, has_workloads, outbound) in CASES {
            let applied = setting
                .dataplane
                .apply(&program(own, has_workloads, outbound));
            ensure!(applied.diagnostics.is_empty(), "{:?}", applied.diagnostics);
            let hit = ours(setting, Target::Number(0), effort)?.connect - empty;
            // The server is at a loopback address, which is exempt.
            let miss = ours(setting, Target::Server, effort)?.connect - empty;
            round.push([hit, miss]);
        }
        rounds.push(round);
    }
    for (what, figure) in [("a service", 0), ("what is not ours", 1)] {
        for (index, (name, ..)) in CASES.iter().enumerate() {
            let nanoseconds = median(rounds.iter().map(|round| round[index][figure]));
            let ratio = median(
                rounds
                    .iter()
                    .map(|round| round[index][figure] / round[0][figure]),
            );
            table.ratio(
                format!("connect4 to {what}, {name}, net, beside no workloads"),
                format!("{} ns", shown(nanoseconds)),
                ratio,
                Budget::None,
            );
        }
    }
    Ok(())
}

/// One service, which clients of every scope see. The worker's cgroup is the one called `own`.
fn program(own: u64, has_workloads: bool, outbound: Outbound) -> Program {
    let mut program = Program::default();
    let scopes = if has_workloads { SCOPES } else { 0 };
    for scope in DEFAULT_SCOPE..=scopes {
        let mut at = frontend(services::vip(0).into(), TCP);
        at.scope = scope;
        balance(&mut program, "s0.test", at, &[(SocketAddr::V4(SERVER), 1)]);
        let of = Scope {
            outbound,
            ..Scope::default()
        };
        program.clients.scopes.insert(scope, of);
    }
    if has_workloads {
        let scopes = (1..=SCOPES).cycle();
        // Numbers that no cgroup here has.
        let others = (u64::MAX - WORKLOADS..).zip(scopes).take(999);
        program.clients.cgroups.extend(others);
        program.clients.cgroups.insert(own, SCOPES);
        program.clients.levels = vec![LEVEL];
    }
    program
}
