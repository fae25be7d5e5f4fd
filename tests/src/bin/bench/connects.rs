//! What a client waits: connects through services as ratios to direct ones, interleaved in rounds.

use agent::dataplane::Dataplane;
use anyhow::{Result, ensure};
use tests::interrupt;

use crate::services;
use crate::setting::{Effort, Setting};
use crate::statistics::median;
use crate::table::{Budget, Table, shown};
use crate::worker::{Order, SERVER, Target, Times, Worker};

const P50: Budget = Budget::AtMost {
    limit: 1.04,
    unit: "×",
};
const P99: Budget = Budget::AtMost {
    limit: 1.10,
    unit: "×",
};

/// One way to connect.
struct Way {
    name: String,
    is_ours: bool,
    to: Target,
    is_held_to_budget: bool,
}

pub(crate) fn measure(setting: &mut Setting, effort: Effort, table: &mut Table) -> Result<()> {
    for count in [1, 1_000, 50_000] {
        eprintln!("connects, {count} services …");
        fill(&mut setting.dataplane, count)?;
        let ways = ways(count);
        let orders: Vec<Order> = ways
            .iter()
            .map(|way| Order::Connect {
                cgroup: setting.cgroup(way.is_ours),
                to: way.to,
                count: effort.connects(),
            })
            .collect();
        let rounds = setting.rounds(&orders, effort)?;
        report(&ways, &rounds, count == 1, table);
    }
    peer_names(setting, effort, table)
}

/// Puts so many services into the maps.
pub(crate) fn fill(dataplane: &mut Dataplane, count: u32) -> Result<()> {
    let applied = dataplane.apply(&services::program(count, SERVER.into()));
    ensure!(applied.diagnostics.is_empty(), "{:?}", applied.diagnostics);
    Ok(())
}

/// The first is what the others are compared with.
fn ways(count: u32) -> Vec<Way> {
    let way = |name: String, is_ours, to, is_held_to_budget| Way {
        name,
        is_ours,
        to,
        is_held_to_budget,
    };
    let mut ways = vec![way("direct".to_owned(), false, Target::Server, false)];
    if count == 1 {
        ways.push(way(
            "direct again (noise)".to_owned(),
            false,
            Target::Server,
            false,
        ));
    }
    let noun = if count == 1 { "service" } else { "services" };
    ways.push(way(
        format!("one of {count} {noun}"),
        true,
        Target::AnyOf(1),
        true,
    ));
    if count > 1 {
        let name = format!("spread over {count} {noun}");
        ways.push(way(name, true, Target::AnyOf(count), false));
    }
    ways.push(way(
        format!("not ours, beside {count} {noun}"),
        true,
        Target::Server,
        true,
    ));
    ways
}

fn report(ways: &[Way], rounds: &[Vec<Times>], with_direct: bool, table: &mut Table) {
    let over = |figure, index| against_direct(rounds, figure, index);
    for (index, way) in ways.iter().enumerate() {
        if index == 0 && !with_direct {
            continue;
        }
        let budget = |budget| {
            if way.is_held_to_budget {
                budget
            } else {
                Budget::None
            }
        };
        let name = &way.name;
        let (p50, ratio) = over(|times| times.p50, index);
        table.ratio(
            format!("connect p50, {name}"),
            format!("{} µs", shown(p50)),
            ratio,
            budget(P50),
        );
        let (p99, ratio) = over(|times| times.p99, index);
        table.ratio(
            format!("connect p99, {name}"),
            format!("{} µs", shown(p99)),
            ratio,
            budget(P99),
        );
        let (rate, ratio) = over(|times| 1e6 / times.cycle, index);
        table.ratio(
            format!("connects, {name}"),
            format!("{rate:.0} /s"),
            ratio,
            Budget::None,
        );
    }
}

/// The median of a figure, and that of its ratios to the first of each round.
pub(crate) fn against_direct(
    rounds: &[Vec<Times>],
    figure: fn(&Times) -> f64,
    index: usize,
) -> (f64, f64) {
    let absolute = median(rounds.iter().map(|round| figure(&round[index])));
    let ratio = median(
        rounds
            .iter()
            .map(|round| figure(&round[index]) / figure(&round[0])),
    );
    (absolute, ratio)
}

fn peer_names(setting: &mut Setting, effort: Effort, table: &mut Table) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds() {
        interrupt::check()?;
        let mut ask = |cgroup, to| -> Result<f64> {
            let worker: &mut Worker = &mut setting.worker;
            let count = effort.connects() * 10;
            Ok(worker.order(&Order::PeerName { cgroup, to, count })?.p50)
        };
        let (direct, ours) = (
            setting.direct.path().to_owned(),
            setting.ours.path().to_owned(),
        );
        rounds.push((ask(direct, Target::Server)?, ask(ours, Target::AnyOf(1))?));
    }
    let absolute = median(rounds.iter().map(|(_, ours)| ours * 1e3));
    let ratio = median(rounds.iter().map(|(direct, ours)| ours / direct));
    let figure = format!("{} ns", shown(absolute));
    table.ratio(
        "getpeername of a redirected socket",
        figure,
        ratio,
        Budget::None,
    );
    Ok(())
}
