//! What sockets pay beyond their connect: datagrams, the states of connections (`sock_ops`), and what is left after millions.

use agent::dataplane::{Dataplane, LoadOptions};
use anyhow::{Result, ensure};
use tests::interrupt;

use crate::connects::{against_direct, fill};
use crate::services;
use crate::setting::{Effort, Setting};
use crate::statistics::median;
use crate::table::{Budget, Table, shown};
use crate::worker::{Order, SERVER, Target};

pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<()> {
    datagrams(effort, table)?;
    connection_states(effort, table)?;
    churn(effort, table)
}

/// An unconnected socket: what `sendto()` and `recvfrom()` take together.
fn datagrams(effort: Effort, table: &mut Table) -> Result<()> {
    eprintln!("datagrams …");
    let mut setting = Setting::new()?;
    let applied = setting.dataplane.apply(&services::datagrams(SERVER.into()));
    ensure!(applied.diagnostics.is_empty(), "{:?}", applied.diagnostics);
    let exchange = |is_ours, to| Order::Exchange {
        cgroup: setting.cgroup(is_ours),
        to,
        count: effort.connects(),
    };
    let orders = [
        exchange(false, Target::Server),
        exchange(true, Target::AnyOf(1)),
        exchange(true, Target::Server),
    ];
    let rounds = setting.rounds(&orders, effort)?;
    for (index, what) in ["direct", "redirected", "not ours"].into_iter().enumerate() {
        let (p50, ratio) = against_direct(&rounds, |times| times.p50, index);
        let what = format!("datagram there and back p50, {what}");
        table.ratio(what, format!("{} µs", shown(p50)), ratio, Budget::None);
    }
    Ok(())
}

/// What it costs a connection, ours or not, that the states of ours are followed: from `socket()` to the end of `close()`.
fn connection_states(effort: Effort, table: &mut Table) -> Result<()> {
    eprintln!("connection states …");
    for (sock_ops, name) in [(false, "without sock_ops"), (true, "with sock_ops")] {
        let mut setting = Setting::with(&LoadOptions {
            sock_ops,
            ..LoadOptions::default()
        })?;
        fill(&mut setting.dataplane, 1)?;
        let connect = |is_ours, to| Order::Connect {
            cgroup: setting.cgroup(is_ours),
            to,
            count: effort.connects(),
        };
        let orders = [
            connect(false, Target::Server),
            connect(true, Target::Server),
            connect(true, Target::AnyOf(1)),
        ];
        let rounds = setting.rounds(&orders, effort)?;
        for (index, whose) in [(1, "not ours"), (2, "redirected")] {
            let (cycle, ratio) = against_direct(&rounds, |times| times.cycle, index);
            let what = format!("connection, opened and closed, {whose}, {name}");
            table.ratio(what, format!("{} µs", shown(cycle)), ratio, Budget::None);
        }
    }
    Ok(())
}

/// Turns in which sockets come and go.
const TURNS: usize = 10;

/// Whether the last of very many sockets pay more than the first, each beside direct ones, and what is left of them.
fn churn(effort: Effort, table: &mut Table) -> Result<()> {
    let connects = match effort {
        Effort::Quick => 10_000,
        Effort::Full => 200_000,
    };
    let sockets = TURNS * connects as usize;
    eprintln!("{sockets} short connections …");
    let mut setting = Setting::new()?;
    fill(&mut setting.dataplane, 1)?;
    let order = |is_ours, to, count| Order::Connect {
        cgroup: setting.cgroup(is_ours),
        to,
        count,
    };
    let direct = order(false, Target::Server, connects / 4);
    let ours = order(true, Target::AnyOf(1), connects);
    let turns: Vec<(f64, f64)> = (0..TURNS)
        .map(|_| {
            interrupt::check()?;
            let beside = setting.worker.order(&direct)?.p99;
            let p99 = setting.worker.order(&ours)?.p99;
            Ok((p99, p99 / beside))
        })
        .collect::<Result<_>>()?;
    let (early, late) = turns.split_at(TURNS / 2);
    let ratio = |turns: &[(f64, f64)]| median(turns.iter().map(|(_, ratio)| *ratio));
    let no_cliff = Budget::AtMost {
        limit: 1.10 * ratio(early),
        unit: "×",
    };
    for (turns, half, budget) in [(early, "first", Budget::None), (late, "second", no_cliff)] {
        table.ratio(
            format!("connect p99, {half} half of {sockets} sockets"),
            format!("{} µs", shown(median(turns.iter().map(|(p99, _)| *p99)))),
            ratio(turns),
            budget,
        );
    }
    let left = left(&setting.dataplane);
    let none = Budget::AtMost {
        limit: 0.0,
        unit: "",
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    table.figure(
        "records and open connections that are left",
        left as f64,
        "",
        none,
    );
    Ok(())
}

fn left(dataplane: &Dataplane) -> u64 {
    let counts = dataplane.counts();
    let endpoints = counts.services.values().flat_map(|s| s.endpoints.values());
    let open: u64 = endpoints.map(|endpoint| endpoint.open).sum();
    open + dataplane.tables().flows().count() as u64 + counts.flows_full + counts.flows_stored
}
