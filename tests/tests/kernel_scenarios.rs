//! Every scenario in the running kernel: the shares in its maps, and where real sockets go.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use agent_common::abi::UDP;
use anyhow::{Context, Result, bail, ensure};
use tests::client::Outcome;
use tests::lab::{self, ECONNREFUSED, EHOSTUNREACH, Lab};
use tests::scenario::{Expected, Fate, Moment, Scenario, Servers, Target, World, all, check};
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Connects between two looks at who was reached.
const ROUND: u32 = 32;
/// Rounds until every endpoint must have been reached; a twentieth is missed in as many with a probability below 10^-90.
const ROUNDS: u32 = 128;

/// A laboratory, and who answers in it.
struct Bench {
    lab: Lab,
    servers: Servers,
}

impl Bench {
    fn run(lab: Lab, scenario: &Scenario) -> Result<()> {
        let mut bench = Self {
            lab,
            servers: Servers::default(),
        };
        let mut world = World::default();
        for (number, step) in (1..).zip(&scenario.steps) {
            let moment = world.advance(step)?;
            bench.lab.apply(&moment.compiled.program);
            for (target, expected) in &step.script.connects {
                bench
                    .hold(&moment, target, expected)
                    .with_context(|| format!("step {number}: {target:?} is not {expected:?}"))?;
            }
        }
        Ok(())
    }

    fn hold(&mut self, moment: &Moment, target: &Target, expected: &Expected) -> Result<()> {
        let tables = self.lab.dataplane.tables();
        check(tables, &moment.connect(target)?, expected)?;
        let to = moment.address(target)?;
        let transport = match target.protocol {
            UDP => Transport::Udp,
            _ => Transport::Tcp,
        };
        match expected {
            Expected::Spread(spread) => {
                for endpoint in spread.keys() {
                    self.servers
                        .serve(&mut self.lab.client, *endpoint, target.protocol)?;
                }
                let wanted: BTreeSet<IpAddr> = spread.keys().map(SocketAddr::ip).collect();
                self.reach(transport, to, &wanted)
            }
            Expected::Fate(Fate::Pass | Fate::Original) => {
                let plain = SocketAddr::new(to.ip().to_canonical(), to.port());
                self.servers
                    .serve(&mut self.lab.client, plain, target.protocol)?;
                self.reach(transport, to, &BTreeSet::from([plain.ip()]))
            }
            Expected::Fate(Fate::Refused) => self.fail(transport, to, ECONNREFUSED),
            Expected::Fate(Fate::Unreachable | Fate::Unsupported) => {
                self.fail(transport, to, EHOSTUNREACH)
            }
        }
    }

    /// Connects until every one of `wanted` was reached, and fails at any other.
    fn reach(
        &mut self,
        transport: Transport,
        to: SocketAddr,
        wanted: &BTreeSet<IpAddr>,
    ) -> Result<()> {
        let mut reached = BTreeSet::new();
        for _ in 0..ROUNDS {
            reached.extend(self.lab.client.spread(transport, to, ROUND)?.into_keys());
            ensure!(reached.is_subset(wanted), "sockets reached {reached:?}");
            if reached == *wanted {
                return Ok(());
            }
        }
        bail!("sockets reached {reached:?} only");
    }

    fn fail(&mut self, transport: Transport, to: SocketAddr, errno: i32) -> Result<()> {
        let outcome = self.lab.client.connect(transport, to)?;
        let expected = Outcome::Failed(lab::refusal(errno));
        ensure!(outcome == expected, "the socket {outcome:?}");
        Ok(())
    }
}

#[test]
fn scenarios_hold_in_the_kernel() -> Result<()> {
    let mut failures = Vec::new();
    for scenario in all()? {
        let Some(lab) = Lab::new(CLIENT)? else {
            return Ok(());
        };
        if let Err(failure) = Bench::run(lab, &scenario) {
            failures.push(format!("{}: {failure:#}", scenario.name));
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    Ok(())
}
