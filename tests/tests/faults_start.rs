//! The running kernel: a system call fails while a data plane is loaded, attached, put in the place of another, or ended. Then
//! nothing of it is left and it says why, what was in force stays so, and the next try finds all as if there had been none.

use std::fs;
use std::io;
use std::path::Path;

use agent::dataplane::{Dataplane, Limits, LoadOptions};
use anyhow::{Context, Result, ensure};
use tests::cgroup;
use tests::client::Outcome;
use tests::faults::{Call, Choice, Fault, with_faults};
use tests::lab;
use tests::pins;
use tests::programs::{DOOMED_VIP, at, doomed};
use tests::site::Site;
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Of `enum bpf_cmd`.
const BPF_LINK_UPDATE: u64 = 29;

/// Faults that are tried of those of one start, unless all are.
const SOME: usize = 3;

fn start(site: &Site, options: &LoadOptions) -> Result<Dataplane> {
    let mut dataplane = Dataplane::load(options)?;
    // What could not be done of it the next one does.
    dataplane.apply(&doomed(0));
    site.attach(&mut dataplane)?;
    Ok(dataplane)
}

/// Starts without a fault, and with each of those that are chosen, and has `check` hold what comes of it.
fn for_each_fault(
    site: &mut Site,
    options: &LoadOptions,
    choose: impl FnOnce(&[Call]) -> Vec<Fault>,
    mut check: impl FnMut(&mut Site, Option<Fault>, Result<Dataplane>) -> Result<()>,
) -> Result<()> {
    let home = cgroup::present()?;
    let (started, calls) = with_faults(None, || start(site, options))?;
    check(site, None, started)?;
    let faults = choose(&calls);
    println!("{} of {} calls fail", faults.len(), calls.len());
    let mut failures = Vec::new();
    for fault in faults {
        let (started, made) = with_faults(Some(fault), || start(site, options))?;
        let came_of_it = match &started {
            Ok(_) => "it was started".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        let held = ensure_said(&started, fault).and_then(|()| check(site, Some(fault), started));
        if let Err(failure) = held {
            let call = made.get(fault.first).map(ToString::to_string);
            let call = call.unwrap_or_default();
            failures.push(format!("{call}, {fault:?}: {came_of_it}: {failure:#}"));
        }
        go_home(&home)?;
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    Ok(())
}

fn some(calls: &[Call]) -> Vec<Fault> {
    Choice::get().some(calls.len(), SOME)
}

/// As if the agent was killed between two programs that it exchanges: before connects are redirected by its own, after, and before the
/// last.
fn between_programs(_: &[Call]) -> Vec<Fault> {
    let after = |first| Fault {
        first,
        command: Some(BPF_LINK_UPDATE),
        lasts: true,
        errno: libc::EPERM,
    };
    [5, 7, 8].map(after).into()
}

/// An error that names what the kernel said, and of what.
fn ensure_said<T>(outcome: &Result<T>, fault: Fault) -> Result<()> {
    if let Err(error) = outcome {
        let words = io::Error::from_raw_os_error(fault.errno).to_string();
        let said = format!("{error:#}");
        // Where aya cannot open a map that is pinned, it tells of its try to make it.
        let is_said = said.contains(&words) || said.contains("File exists");
        ensure!(is_said && said.len() > words.len() + 10, "{said}");
    }
    Ok(())
}

/// Undoes what a data plane could not that lost every call.
fn go_home(home: &Path) -> Result<()> {
    let present = cgroup::present()?;
    if present != home {
        cgroup::join(home)?;
        fs::remove_dir(present)?;
    }
    Ok(())
}

fn expect_nothing(site: &mut Site) -> Result<()> {
    if site.pins().exists() {
        let pins = pins::all(&site.pins())?;
        ensure!(pins.is_empty(), "{pins:?}");
    }
    let outcome = site.client.connect(Transport::Udp, at(DOOMED_VIP))?;
    ensure!(outcome == Outcome::Failed(lab::ENETUNREACH), "{outcome:?}");
    Ok(())
}

fn expect_all(site: &mut Site, dataplane: &mut Dataplane) -> Result<()> {
    let applied = dataplane.apply(&doomed(0));
    ensure!(applied.diagnostics.is_empty(), "{applied:?}");
    let socket = site.connect()?;
    site.client.close(socket)
}

#[test]
fn what_cannot_be_started_leaves_nothing_and_says_why() -> Result<()> {
    let Some(mut site) = Site::new(CLIENT)? else {
        return Ok(());
    };
    let options = LoadOptions {
        keep: false,
        ..site.options()
    };
    for_each_fault(&mut site, &options, some, |site, fault, started| {
        if let Ok(mut dataplane) = started {
            expect_all(site, &mut dataplane)?;
        }
        // Where every call fails, those fail that would undo what was done.
        if fault.is_none_or(|fault| !fault.lasts) {
            expect_nothing(site)?;
        }
        let mut next = start(site, &options).context("the next")?;
        expect_all(site, &mut next)?;
        drop(next);
        ensure!(!site.pins().exists());
        expect_nothing(site)
    })
}

#[test]
fn what_is_in_force_stays_so_when_the_next_cannot_be_started() -> Result<()> {
    let Some(mut site) = Site::new(CLIENT)? else {
        return Ok(());
    };
    let options = site.options();
    let mut first = start(&site, &options)?;
    expect_all(&mut site, &mut first)?;
    drop(first);
    let count = pins::all(&site.pins())?.len();
    for_each_fault(&mut site, &options, some, |site, _, started| {
        let socket = site.connect()?;
        site.client.close(socket)?;
        if let Ok(mut dataplane) = started {
            ensure!(dataplane.goes_on(), "it does not go on");
            expect_all(site, &mut dataplane)?;
        }
        let mut next = start(site, &options).context("the next")?;
        ensure!(next.goes_on(), "the next does not go on");
        expect_all(site, &mut next)?;
        drop(next);
        let pins = pins::all(&site.pins())?;
        ensure!(pins.len() == count, "{pins:?}");
        let socket = site.connect()?;
        site.client.close(socket)
    })?;
    agent::dataplane::cleanup(&site.pins())?;
    expect_nothing(&mut site)
}

/// What an agent wants of the usual limits.
type Wants = fn(Limits) -> Limits;

/// A start fails that would keep others than the one before it, and so do those after it that are doomed; then the next ones start, of
/// which the last wants the usual. What sockets are known for and counted stays so.
fn expect_known(
    other: Wants,
    doomed: &[Wants],
    next: &[Wants],
    choose: fn(&[Call]) -> Vec<Fault>,
) -> Result<()> {
    let Some(mut site) = Site::new(CLIENT)? else {
        return Ok(());
    };
    let usual = site.options();
    let with = |wants: Wants| LoadOptions {
        limits: wants(usual.limits),
        ..usual.clone()
    };
    let other = with(other);
    // So that what is gone back to is always what another has handed on.
    for options in [&usual, &other, &usual] {
        start(&site, options)?;
    }
    let known = site.connect()?;
    for_each_fault(&mut site, &other, choose, |site, fault, started| {
        let mut sockets = vec![known];
        // By whatever mixture of programs.
        begin_and_end(site, &mut sockets)?;
        if let Ok(mut dataplane) = started {
            expect_all(site, &mut dataplane)?;
        }
        for &doomed in doomed {
            let home = cgroup::present()?;
            drop(with_faults(fault, || start(site, &with(doomed)))?);
            go_home(&home)?;
            begin_and_end(site, &mut sockets)?;
        }
        for &next in next {
            let mut next = start(site, &with(next)).context("the next")?;
            expect_all(site, &mut next)?;
            for socket in &sockets {
                let peer = site.client.peer(*socket)?;
                ensure!(peer == at(DOOMED_VIP), "the peer is {peer}");
            }
            expect_open(&next, sockets.len())?;
            drop(next);
            begin_and_end(site, &mut sockets)?;
        }
        for socket in sockets.drain(1..) {
            site.client.close(socket)?;
        }
        Ok(())
    })?;
    site.client.close(known)?;
    let last = start(&site, &usual)?;
    expect_open(&last, 0)?;
    ensure!(last.tables().flows().count() == 0, "lines are not free");
    drop(last);
    let is_carried =
        |name: &str| name.starts_with("EARLIER_CARRIED") || name.starts_with("EARLIER_ENDPOINTS");
    let left = pins::find(&site.pins(), is_carried)?;
    ensure!(left.is_none(), "{left:?} stays");
    agent::dataplane::cleanup(&site.pins())?;
    expect_nothing(&mut site)
}

/// Three more sockets; one of them is closed, and one of those before, but for the first.
fn begin_and_end(site: &mut Site, sockets: &mut Vec<u32>) -> Result<()> {
    for _ in 0..3 {
        sockets.push(site.connect()?);
    }
    let last = sockets.len() - 1;
    for index in [last, 1] {
        site.client.close(sockets.remove(index))?;
    }
    Ok(())
}

fn expect_open(dataplane: &Dataplane, sockets: usize) -> Result<()> {
    let open = lab::open(dataplane);
    ensure!(open == sockets as u64, "{open} of {sockets} are open");
    Ok(())
}

fn the_usual(limits: Limits) -> Limits {
    limits
}

fn more_records(limits: Limits) -> Limits {
    Limits {
        flows: 2 * limits.flows,
        replies: 2 * limits.replies,
        ..limits
    }
}

fn more_counts(limits: Limits) -> Limits {
    Limits {
        endpoints: 2 * limits.endpoints,
        ..limits
    }
}

fn fewer_counts(limits: Limits) -> Limits {
    Limits {
        services: limits.services / 2,
        ..limits
    }
}

fn more_of_all(limits: Limits) -> Limits {
    more_counts(more_records(limits))
}

#[test]
fn sockets_are_known_whether_or_not_the_next_could_be_started_which_keeps_other_records()
-> Result<()> {
    expect_known(more_records, &[], &[more_records, the_usual], some)
}

#[test]
fn sockets_are_known_when_the_next_dies_while_programs_are_exchanged_which_keeps_other_records()
-> Result<()> {
    expect_known(
        more_records,
        &[],
        &[more_records, the_usual],
        between_programs,
    )
}

#[test]
fn sockets_are_known_when_the_next_dies_while_programs_are_exchanged_which_keeps_more_of_all()
-> Result<()> {
    expect_known(
        more_of_all,
        &[],
        &[more_of_all, the_usual],
        between_programs,
    )
}

#[test]
fn sockets_are_counted_when_the_next_dies_while_programs_are_exchanged_which_counts_elsewhere()
-> Result<()> {
    expect_known(
        more_counts,
        &[],
        &[more_counts, the_usual],
        between_programs,
    )
}

#[test]
fn sockets_are_counted_when_one_after_the_other_dies_while_programs_are_exchanged() -> Result<()> {
    expect_known(
        more_counts,
        &[fewer_counts, more_records],
        &[the_usual],
        between_programs,
    )
}

#[test]
fn what_cannot_be_ended_can_be_cleaned_up() -> Result<()> {
    let Some(mut site) = Site::new(CLIENT)? else {
        return Ok(());
    };
    let home = cgroup::present()?;
    let options = LoadOptions {
        keep: false,
        ..site.options()
    };
    let dataplane = start(&site, &options)?;
    let ((), calls) = with_faults(None, || drop(dataplane))?;
    ensure!(calls.len() > 20, "{calls:?}");
    for fault in Choice::get().some(calls.len(), 2 * SOME) {
        let dataplane = start(&site, &options)?;
        with_faults(Some(fault), || drop(dataplane))?;
        agent::dataplane::cleanup(&site.pins()).with_context(|| format!("{fault:?}"))?;
        expect_nothing(&mut site).with_context(|| format!("{fault:?}"))?;
        go_home(&home)?;
    }
    Ok(())
}

#[test]
fn connections_are_followed_at_the_next_try_where_they_could_not_be_and_no_longer_where_they_need_not()
-> Result<()> {
    let Some(mut site) = Site::new(CLIENT)? else {
        return Ok(());
    };
    if !lab::has_compare_and_swap() {
        lab::skip("connections are not followed");
        return Ok(());
    }
    let options = LoadOptions {
        keep: false,
        ..site.options()
    };
    let mut dataplane = start(&site, &options)?;
    let is_followed = |dataplane: &Dataplane| {
        let programs = dataplane.programs();
        programs
            .iter()
            .any(|program| program.name == "shunt_sockops")
    };
    let mut choice = Choice::get();
    for wanted in [true, false] {
        let (followed, calls) = with_faults(None, || dataplane.follow(wanted))?;
        followed?;
        for fault in choice.some(calls.len(), 2 * SOME) {
            dataplane.follow(!wanted)?;
            let (outcome, _) = with_faults(Some(fault), || dataplane.follow(wanted))?;
            ensure_said(&outcome.map_err(anyhow::Error::from), fault)?;
            let socket = site.connect()?;
            site.client.close(socket)?;
            dataplane
                .follow(wanted)
                .with_context(|| format!("{fault:?}"))?;
            // What could not be unpinned is, within seconds, and nobody takes it for somebody else's doing.
            let survey = dataplane.look_after_programs();
            ensure!(wanted || survey.found.is_empty(), "{fault:?}: {survey:?}");
            ensure!(is_followed(&dataplane) == wanted, "{fault:?}");
            let pins = pins::all(&site.pins())?;
            let pins = pins
                .iter()
                .filter(|pin| pin.to_string_lossy().contains("shunt_sockops"));
            ensure!(pins.count() == usize::from(wanted), "{fault:?}");
        }
    }
    drop(dataplane);
    expect_nothing(&mut site)
}
