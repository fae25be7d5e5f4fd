//! The running kernel: a system call of the data plane fails, or all do from one on, at every step of every scenario. Meanwhile
//! connects come to what was valid before the update or is after it; what could not be done is said; and when the failures are
//! over, all is as if there had been none.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use agent::compile::{Destination, Frontend, Program, Service, ServiceKey};
use agent::dataplane::{Dataplane, Fill, MemoryDataplane, abi_address, ip_address};
use agent_common::abi::{Config, Port, TCP};
use agent_common::{Connect, Reason, Tables, Verdict, decide};
use anyhow::{Context, Result, bail, ensure};
use tests::faults::{Call, Choice, Fault, with_faults};
use tests::lab::{ECONNREFUSED, EHOSTUNREACH, Lab, limits, refusal};
use tests::scenario::dump::{dump, find, shares};
use tests::scenario::{Moment, Scenario, Script, Servers, World, all};
use tests::sockets::{Race, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Numbers that are drawn for a connect.
const DRAWS: u32 = 1024;

/// What may become of a connect: where it ends, or an errno.
type Outcome = Result<SocketAddr, i32>;

/// What a client asks for.
struct Asked {
    connect: Connect,
    to: SocketAddr,
    transport: Transport,
}

/// What is in effect once a program is.
struct Stage {
    program: Program,
    /// By what is asked for.
    valid: Vec<BTreeSet<Outcome>>,
    dump: String,
    config: Config,
}

impl Stage {
    fn new(program: Program, asked: &[Asked]) -> Result<Self> {
        let mut dataplane = MemoryDataplane::in_memory(&limits());
        dataplane.apply(&program);
        let tables = dataplane.tables();
        let valid = asked.iter().map(|asked| outcomes(tables, asked, DRAWS));
        Ok(Self {
            valid: valid.collect::<Result<_>>()?,
            dump: dump(tables)?,
            config: *tables.config().context("there is a configuration")?,
            program,
        })
    }
}

/// All that may become of a connect as the tables are, in as many draws.
fn outcomes(tables: &impl Tables, asked: &Asked, draws: u32) -> Result<BTreeSet<Outcome>> {
    // Whose turn it is in a round does not depend on what is drawn.
    let group = find(tables, &asked.connect);
    let shares = group.map(|group| shares(tables, group, asked.connect.family));
    let in_turn = shares.transpose()?.unwrap_or_default();
    let in_turn = in_turn.into_keys().map(|at| Ok(Ok(at)));
    let randoms = (0..draws).map(|draw| draw * (u32::MAX / draws) + draw);
    let by_chance = randoms.map(|random| {
        let verdict = decide(tables, &asked.connect, &mut || random);
        let asked = SocketAddr::new(asked.to.ip().to_canonical(), asked.to.port());
        Ok(match verdict {
            Verdict::Pass | Verdict::PassUnregistered => Ok(asked),
            Verdict::Original { port, .. } => {
                let port = port.map_or(asked.port(), Port::get);
                Ok(SocketAddr::new(asked.ip(), port))
            }
            Verdict::Rewrite { address, port, .. } => {
                Ok(SocketAddr::new(ip_address(address), port.get()))
            }
            Verdict::Deny { reason, .. } => Err(refusal(match reason {
                Reason::PortNotDeclared | Reason::Overflow => ECONNREFUSED,
                Reason::NoEndpoint | Reason::Unsupported => EHOSTUNREACH,
                Reason::NotRegistered | Reason::Policy => libc::EPERM,
                Reason::Torn => bail!("{asked} meets a group that is not whole"),
            })),
            other @ Verdict::Ask { .. } => bail!("{asked} comes to {other:?}"),
        })
    });
    in_turn.chain(by_chance).collect()
}

/// What the steps of a scenario connect to, by what is known then.
fn asked(moment: &Moment, script: &Script) -> Result<Vec<Asked>> {
    let targets = script.connects.keys();
    let asked = targets.map(|target| {
        let to = moment.address(target)?;
        let transport = match target.protocol {
            TCP => Transport::Tcp,
            _ => Transport::Udp,
        };
        Ok(Asked {
            connect: Connect {
                address: abi_address(to.ip().to_canonical()),
                ..moment.connect(target)?
            },
            to,
            transport,
        })
    });
    asked.collect()
}

/// What of one program can be told to a data plane that has another in effect, without a plan.
struct News {
    services: Vec<(ServiceKey, Arc<Service>)>,
    frontends: Vec<(Frontend, ServiceKey)>,
}

impl News {
    fn between(from: &Program, to: &Program) -> Self {
        let known = |key: &ServiceKey| from.services.get(key);
        let services = to.services.iter();
        let changed =
            services.filter(|(key, service)| known(key).is_some_and(|known| known != *service));
        let frontends = to.frontends.iter();
        let added = frontends.filter(|(frontend, key)| {
            let is_address = matches!(frontend.destination, Destination::Address(_));
            is_address && !from.frontends.contains_key(*frontend) && known(key).is_some()
        });
        Self {
            services: changed
                .map(|(key, new)| (key.clone(), Arc::clone(new)))
                .collect(),
            frontends: added
                .map(|(frontend, key)| (*frontend, key.clone()))
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.frontends.is_empty()
    }

    /// Returns whether all of it is in effect.
    fn tell(&self, dataplane: &mut Dataplane) -> bool {
        let mut is_whole = true;
        for (key, service) in &self.services {
            is_whole &= dataplane.replace(key, service);
        }
        is_whole &= dataplane.extend(&self.frontends);
        dataplane.release_replaced();
        is_whole
    }
}

/// A scenario whose steps are walked both ways.
struct Walk<'a> {
    lab: &'a mut Lab,
    asked: Vec<Asked>,
    /// Before the first step, and after each.
    stages: Vec<Stage>,
}

impl<'a> Walk<'a> {
    fn new(lab: &'a mut Lab, servers: &mut Servers, scenario: &Scenario) -> Result<Self> {
        let mut world = World::default();
        let empty = World::default().advance(&tests::scenario::Step::default())?;
        let mut programs = vec![empty.compiled.program];
        let mut all = Vec::new();
        for step in &scenario.steps {
            let moment = world.advance(step)?;
            all.append(&mut asked(&moment, &step.script)?);
            programs.push(moment.compiled.program);
        }
        let stages = programs
            .into_iter()
            .map(|program| Stage::new(program, &all));
        let stages: Vec<Stage> = stages.collect::<Result<_>>()?;
        for (asked, at) in stages.iter().flat_map(|stage| all.iter().zip(&stage.valid)) {
            for at in at.iter().flatten() {
                servers.serve(&mut lab.client, *at, asked.transport.protocol())?;
            }
        }
        Ok(Self {
            lab,
            asked: all,
            stages,
        })
    }

    /// Walks from one stage to another with each of the faults that `choose` takes, by the number of calls that there are.
    fn fail_between(
        &mut self,
        (from, to): (usize, usize),
        choose: &mut impl FnMut(usize) -> Vec<Fault>,
    ) -> Result<usize> {
        self.lab.apply(&self.stages[from].program);
        let (_, calls) = self.apply(to, None)?;
        let wanted = self.lab.dataplane.fill();
        self.expect(to, &wanted)?;
        let faults = choose(calls.len());
        for fault in &faults {
            self.lab.apply(&self.stages[from].program);
            self.fail(from, to, *fault, &wanted).with_context(|| {
                let call = calls.get(fault.first).map(ToString::to_string);
                format!("from {from} to {to}, {fault:?} is {call:?}")
            })?;
        }
        Ok(faults.len())
    }

    fn fail(&mut self, from: usize, to: usize, fault: Fault, wanted: &[Fill]) -> Result<()> {
        let (said, calls) = self.apply(to, Some(fault))?;
        ensure!(calls.len() > fault.first, "nothing failed");
        self.expect_either(from, to)?;
        self.lab.expect_no_records();
        let again = self.lab.dataplane.apply(&self.stages[to].program);
        ensure!(again.diagnostics.is_empty(), "{again:?}");
        ensure!(
            again.steps == 0 || !said.is_empty(),
            "{} steps were missing, and nothing was said",
            again.steps
        );
        self.expect(to, wanted)
    }

    /// The same by the ways that single services and addresses take, as far as these lead there.
    fn fail_shortly(
        &mut self,
        (from, to): (usize, usize),
        choose: &mut impl FnMut(usize) -> Vec<Fault>,
    ) -> Result<usize> {
        let news = News::between(&self.stages[from].program, &self.stages[to].program);
        if news.is_empty() {
            return Ok(0);
        }
        self.lab.apply(&self.stages[to].program);
        let wanted = self.lab.dataplane.fill();
        self.lab.apply(&self.stages[from].program);
        let (is_whole, calls) = with_faults(None, || news.tell(&mut self.lab.dataplane))?;
        ensure!(is_whole, "the short ways lead nowhere from {from} to {to}");
        let faults = choose(calls.len());
        for fault in &faults {
            self.lab.apply(&self.stages[from].program);
            with_faults(Some(*fault), || news.tell(&mut self.lab.dataplane))?;
            self.expect_either(from, to)?;
            self.lab.expect_no_records();
            let again = self.lab.dataplane.apply(&self.stages[to].program);
            ensure!(again.diagnostics.is_empty(), "{again:?}");
            self.expect(to, &wanted)
                .with_context(|| format!("shortly from {from} to {to}, {fault:?}"))?;
        }
        Ok(faults.len())
    }

    /// Puts a stage into effect; returns the messages, and the calls that this took.
    fn apply(&mut self, stage: usize, fault: Option<Fault>) -> Result<(Vec<String>, Vec<Call>)> {
        let program = &self.stages[stage].program;
        let dataplane = &mut self.lab.dataplane;
        let (applied, calls) = with_faults(fault, || dataplane.apply(program))?;
        let found = applied.diagnostics.iter();
        for found in found.clone() {
            let is_named = !found.message.is_empty() && !found.hint.is_empty();
            ensure!(is_named && found.code.starts_with("SH4"), "{found:?}");
        }
        Ok((found.map(|found| found.message.clone()).collect(), calls))
    }

    /// Holds every connect to what is valid in one of two stages.
    fn expect_either(&mut self, from: usize, to: usize) -> Result<()> {
        let valid = self.stages[from].valid.iter().zip(&self.stages[to].valid);
        let valid: Vec<BTreeSet<Outcome>> = valid.map(|(a, b)| a | b).collect();
        for (asked, valid) in self.asked.iter().zip(&valid) {
            let found = outcomes(self.lab.dataplane.tables(), asked, 64)?;
            ensure!(found.is_subset(valid), "{}: {found:?}", asked.to);
        }
        let to: Vec<_> = self.asked.iter().map(|a| (a.transport, a.to)).collect();
        let runs = self.lab.client.race(Race {
            threads: 1,
            connects: 4 * to.len(),
            to,
        })?;
        for run in runs {
            let mut valid = valid[run.to].iter();
            let is_valid = valid.any(|valid| valid.map(|at| at.ip()) == run.reached);
            ensure!(is_valid, "{}: {run:?}", self.asked[run.to].to);
        }
        Ok(())
    }

    /// Holds what is in effect to a stage, and what is taken for it to what it takes.
    fn expect(&self, stage: usize, wanted: &[Fill]) -> Result<()> {
        let stage = &self.stages[stage];
        let tables = self.lab.dataplane.tables();
        let found = dump(tables)?;
        ensure!(
            found == stage.dump,
            "{found}\n\ninstead of\n\n{}",
            stage.dump
        );
        let config = Config {
            own_cgroup: 0,
            is_following: 0,
            ..*tables.config().context("there is a configuration")?
        };
        ensure!(config == stage.config, "{config:?}");
        let of_tables = |fill: &[Fill]| -> Vec<Fill> {
            let fill = fill.iter().filter(|fill| fill.map != "flows");
            fill.copied().collect()
        };
        let found = of_tables(&self.lab.dataplane.fill());
        ensure!(found == of_tables(wanted), "{found:?}");
        Ok(())
    }
}

#[test]
fn scenarios_hold_whatever_call_fails_once_it_works_again() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let (mut servers, mut choice) = (Servers::default(), Choice::get());
    let (mut tried, mut failures) = (0, Vec::new());
    for scenario in all()? {
        let mut walk = Walk::new(&mut lab, &mut servers, &scenario)?;
        for later in 1..walk.stages.len() {
            for way in [(later - 1, later), (later, later - 1)] {
                let mut choose = |calls| choice.of(calls);
                let all = walk.fail_between(way, &mut choose);
                for outcome in [all, walk.fail_shortly(way, &mut choose)] {
                    match outcome {
                        Ok(count) => tried += count,
                        Err(failure) => failures.push(format!("{}: {failure:#}", scenario.name)),
                    }
                }
            }
        }
    }
    println!("{tried} times a call failed");
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    Ok(())
}
