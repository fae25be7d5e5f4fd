//! What the programs themselves take: their run time as the kernel counts it, less what counting an empty one takes, and
//! beside a direct connect of the same run. Nanoseconds of one machine say little about another; that share does.

use anyhow::{Context, Result};
use tests::interrupt;

use crate::connects::fill;
use crate::kernel::{EmptyProgram, count_runs};
use crate::setting::{Effort, Setting};
use crate::statistics::median;
use crate::table::{Budget, Table, shown};
use crate::worker::{Order, Target, Times};

const SPREAD: u32 = 10_000;

/// What a direct connect took, in nanoseconds, on the machine that the budgets are of.
const DIRECT: f64 = 4_840.0;

/// Nanoseconds for one run, as counted, of connect4 and of `sock_release`.
#[derive(Clone, Copy)]
pub(crate) struct Gross {
    pub(crate) connect: f64,
    release: f64,
}

/// What the cases of one round took.
struct Round {
    /// A direct connect, in nanoseconds.
    direct: f64,
    /// An empty program, in nanoseconds as counted.
    empty: f64,
    warm: Gross,
    spread: Gross,
    miss: Gross,
}

pub(crate) fn measure(setting: &mut Setting, effort: Effort, table: &mut Table) -> Result<()> {
    eprintln!("run time of the programs …");
    let empty = EmptyProgram::attach(setting.direct.path())?;
    fill(&mut setting.dataplane, SPREAD)?;
    let _counted = count_runs()?;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds() {
        interrupt::check()?;
        let (direct, empty) = empty_runs(setting, &empty, effort)?;
        rounds.push(Round {
            direct,
            empty,
            warm: ours(setting, Target::AnyOf(1), effort)?,
            spread: ours(setting, Target::AnyOf(SPREAD), effort)?,
            miss: ours(setting, Target::Server, effort)?,
        });
    }
    report(&rounds, table);
    Ok(())
}

fn report(rounds: &[Round], table: &mut Table) {
    let mut row = |what: &str, limit: Option<f64>, figure: fn(&Round) -> f64| {
        let budget = limit.map_or(Budget::None, |limit| Budget::AtMost {
            limit: limit / DIRECT,
            unit: "×",
        });
        let nanoseconds = median(rounds.iter().map(figure));
        let ratio = median(rounds.iter().map(|round| figure(round) / round.direct));
        table.ratio(what, format!("{} ns", shown(nanoseconds)), ratio, budget);
    };
    row("an empty program, as counted", None, |r| r.empty);
    row("connect4, same service each time, net", Some(140.0), |r| {
        r.warm.connect - r.empty
    });
    row(
        &format!("connect4, spread over {SPREAD} services, as counted"),
        Some(750.0),
        |r| r.spread.connect,
    );
    row("connect4, not ours, net", Some(40.0), |r| {
        r.miss.connect - r.empty
    });
    row(
        "sock_release of a redirected socket, net",
        Some(35.0),
        |r| r.warm.release - r.empty,
    );
    row("sock_release of another socket, net", None, |r| {
        r.miss.release - r.empty
    });
}

/// What a connect takes, and the empty program in it.
pub(crate) fn empty_runs(
    setting: &mut Setting,
    empty: &EmptyProgram,
    effort: Effort,
) -> Result<(f64, f64)> {
    let before = empty.runs()?;
    let times = connect(setting, false, Target::Server, effort)?;
    Ok((times.p50 * 1e3, each(before, empty.runs()?)))
}

pub(crate) fn ours(setting: &mut Setting, to: Target, effort: Effort) -> Result<Gross> {
    let before = (
        runs(setting, "shunt_connect4")?,
        runs(setting, "shunt_release")?,
    );
    connect(setting, true, to, effort)?;
    let after = (
        runs(setting, "shunt_connect4")?,
        runs(setting, "shunt_release")?,
    );
    Ok(Gross {
        connect: each(before.0, after.0),
        release: each(before.1, after.1),
    })
}

fn connect(setting: &mut Setting, is_ours: bool, to: Target, effort: Effort) -> Result<Times> {
    let cgroup = setting.cgroup(is_ours);
    let count = effort.connects();
    setting.worker.order(&Order::Connect { cgroup, to, count })
}

fn runs(setting: &Setting, name: &str) -> Result<(u64, u64)> {
    let programs = setting.dataplane.programs();
    let program = programs.iter().find(|program| program.name == name);
    let program = program.with_context(|| format!("no program {name}"))?;
    Ok((program.runs, program.nanoseconds))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each(before: (u64, u64), after: (u64, u64)) -> f64 {
    (after.1 - before.1) as f64 / (after.0 - before.0) as f64
}
