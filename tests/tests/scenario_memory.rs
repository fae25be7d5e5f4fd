//! Every scenario on tables in memory, without root: with changes that work, and with changes that are refused.

use agent::compile::Program;
use agent::dataplane::MemoryDataplane;
use agent_common::{Reason, Tables, Verdict, decide};
use anyhow::{Context, Result, ensure};
use tests::lab::limits;
use tests::scenario::dump::dump;
use tests::scenario::faults::{self, FaultyDataplane};
use tests::scenario::{Moment, Scenario, Script, World, all, check};

/// Runs every step of every scenario, and fails with all that did not hold.
fn run(mut hold: impl FnMut(&Scenario) -> Result<()>) -> Result<()> {
    let mut failures = Vec::new();
    for scenario in all()? {
        if let Err(failure) = hold(&scenario) {
            failures.push(format!("{}: {failure:#}", scenario.name));
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    Ok(())
}

fn steps(scenario: &Scenario, mut hold: impl FnMut(&Moment, &Script) -> Result<()>) -> Result<()> {
    let mut world = World::default();
    for (number, step) in (1..).zip(&scenario.steps) {
        let moment = world.advance(step)?;
        hold(&moment, &step.script).with_context(|| format!("step {number}"))?;
    }
    Ok(())
}

fn check_connects(tables: &impl Tables, moment: &Moment, script: &Script) -> Result<()> {
    for (target, expected) in &script.connects {
        let connect = moment.connect(target)?;
        check(tables, &connect, expected)
            .with_context(|| format!("{target:?} is not {expected:?}"))?;
    }
    Ok(())
}

#[test]
fn scenarios_hold_in_memory() -> Result<()> {
    run(|scenario| {
        let mut dataplane = MemoryDataplane::in_memory(&limits());
        steps(scenario, |moment, script| {
            let mut wanted = script.findings.clone();
            wanted.sort();
            ensure!(moment.findings == wanted, "found {:?}", moment.findings);
            let applied = dataplane.apply(&moment.compiled.program);
            ensure!(applied.diagnostics.is_empty(), "{applied:?}");
            check_connects(dataplane.tables(), moment, script)?;
            if let Some(tables) = &script.tables {
                let dump = dump(dataplane.tables())?;
                ensure!(dump == tables.trim_end(), "the tables hold\n{dump}");
            }
            Ok(())
        })
    })
}

#[test]
fn the_same_again_changes_nothing() -> Result<()> {
    run(|scenario| {
        let mut dataplane = MemoryDataplane::in_memory(&limits());
        steps(scenario, |moment, _| {
            dataplane.apply(&moment.compiled.program);
            let again = dataplane.apply(&moment.compiled.program);
            ensure!(again.steps == 0, "{} changes", again.steps);
            Ok(())
        })
    })
}

#[test]
fn changes_that_were_refused_are_made_up_for_by_the_next_update() -> Result<()> {
    run(|scenario| {
        for every in 1..=7 {
            let mut dataplane = faults::dataplane(&limits());
            steps(scenario, |moment, script| {
                apply_with_faults(&mut dataplane, &moment.compiled.program, every);
                check_not_torn(dataplane.tables(), moment, script)?;

                dataplane.tables().refuse(0);
                let applied = dataplane.apply(&moment.compiled.program);

                ensure!(applied.diagnostics.is_empty(), "{applied:?}");
                check_connects(dataplane.tables(), moment, script)?;
                let mut fresh = MemoryDataplane::in_memory(&limits());
                fresh.apply(&moment.compiled.program);
                let (repaired, wanted) = (dump(&dataplane.tables().sound)?, dump(fresh.tables())?);
                ensure!(repaired == wanted, "{repaired}\n\ninstead of\n\n{wanted}");
                Ok(())
            })
            .with_context(|| format!("every {every}. change is refused"))?;
        }
        Ok(())
    })
}

fn apply_with_faults(dataplane: &mut FaultyDataplane, program: &Program, every: u32) {
    dataplane.tables().refuse(every);
    dataplane.apply(program);
}

/// Whatever was refused, no connect meets a group that is not whole.
fn check_not_torn(tables: &impl Tables, moment: &Moment, script: &Script) -> Result<()> {
    for target in script.connects.keys() {
        let connect = moment.connect(target)?;
        for random in (0..64).map(|step| step << 26) {
            let verdict = decide(tables, &connect, &mut || random);
            let is_torn = matches!(
                verdict,
                Verdict::Deny {
                    reason: Reason::Torn,
                    ..
                }
            );
            ensure!(!is_torn, "{target:?} meets {verdict:?}");
        }
    }
    Ok(())
}
