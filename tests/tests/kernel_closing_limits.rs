//! The running kernel: which connections end for their age, or for being idle.

use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use agent::app::closing::Closing;
use agent::dataplane::Dataplane;
use agent::dataplane::closing::CloseRule;
use agent::settings::CloseRemoved;
use anyhow::{Result, ensure};
use tests::cgroup::TemporaryCgroup;
use tests::client::Client;
use tests::lab;
use tests::pair::{self, ENDPOINT, OTHER_ENDPOINT, OTHER_VIP, VIP};
use tests::programs::{self, at};
use tests::sockets::Transport;
use tokio::runtime::Runtime;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Two services of one transport, and what closes connections that outlive their limits.
struct Sweeper {
    client: Client,
    dataplane: Mutex<Dataplane>,
    closing: Closing,
    runtime: Runtime,
    transport: Transport,
    begun: Instant,
    _kept: (TemporaryCgroup, MutexGuard<'static, ()>),
}

impl Sweeper {
    /// `None` where kernel tests cannot run, or sockets not be closed.
    fn new(transport: Transport) -> Result<Option<Self>> {
        let lab = pair::serve(CLIENT, transport)?.filter(|_| lab::can_close());
        let Some(lab) = lab else {
            return Ok(None);
        };
        let cgroups = vec![lab.cgroup.path().to_owned()];
        Ok(Some(Self {
            client: lab.client,
            dataplane: Mutex::new(lab.dataplane),
            closing: Closing::new(CloseRemoved::None, cgroups),
            runtime: Runtime::new()?,
            transport,
            begun: Instant::now(),
            _kept: (lab.cgroup, lab.turn),
        }))
    }

    fn connected(&mut self, to: &str) -> Result<u32> {
        Ok(self.client.connect(self.transport, at(to))?.socket())
    }

    /// The rule for the first service, which limits nothing yet.
    fn rule(&self) -> CloseRule {
        let key = programs::key(VIP, at(VIP).port(), self.transport.protocol());
        let dataplane = self.dataplane.lock().expect("no test has failed with it");
        CloseRule {
            service: dataplane.names().service_id(&key).expect("it is live"),
            max_age: None,
            max_idle: None,
        }
    }

    /// Sweeps as an agent does, until `socket` has ended. Returns how long that took.
    fn sweep(
        &mut self,
        rule: CloseRule,
        socket: u32,
        mut meanwhile: impl FnMut(&mut Client) -> Result<()>,
    ) -> Result<Duration> {
        let _context = self.runtime.enter();
        let start = Instant::now();
        loop {
            self.closing.close_where(&self.dataplane, &[rule]);
            meanwhile(&mut self.client)?;
            if let Some(error) = self.client.pending_error(socket)? {
                assert_eq!(error, libc::ECONNABORTED);
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < Duration::from_secs(20), "it stays open");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn expect_at_least(&self, limit: Option<Duration>) {
        let passed = self.begun.elapsed();
        assert!(Some(passed) >= limit, "{passed:?}");
    }
}

#[test]
fn an_idle_connection_ends_and_a_busy_one_lives_until_its_age() -> Result<()> {
    let Some(mut sweeper) = Sweeper::new(Transport::Tcp)? else {
        return Ok(());
    };
    let limit = Some(Duration::from_millis(400));
    let none = sweeper.rule();
    sweeper.begun = Instant::now();
    let idle = sweeper.connected(VIP)?;
    let busy = sweeper.connected(VIP)?;
    let unlimited = sweeper.connected(OTHER_VIP)?;

    let idle_rule = CloseRule {
        max_idle: limit,
        ..none
    };
    sweeper.sweep(idle_rule, idle, |client| client.told(busy).map(drop))?;
    sweeper.expect_at_least(limit);
    sweeper.client.expect_connected(busy, VIP, ENDPOINT)?;

    let age_rule = CloseRule {
        max_age: limit,
        ..none
    };
    let took = sweeper.sweep(age_rule, busy, |_| Ok(()))?;
    // One sweep a second: that of the idle one has just been.
    assert!(took > Duration::from_millis(500), "{took:?}");
    let client = &mut sweeper.client;
    client.expect_connected(unlimited, OTHER_VIP, OTHER_ENDPOINT)?;
    sweeper.closing.close_where(&sweeper.dataplane, &[]);
    let closed = sweeper.closing.tally().view();
    assert_eq!((closed.tcp, closed.udp), (2, 0));
    Ok(())
}

#[test]
fn a_udp_socket_ends_at_its_age() -> Result<()> {
    let Some(mut sweeper) = Sweeper::new(Transport::Udp)? else {
        return Ok(());
    };
    let limit = Some(Duration::from_millis(300));
    let rule = CloseRule {
        max_age: limit,
        max_idle: Some(Duration::ZERO),
        ..sweeper.rule()
    };
    sweeper.begun = Instant::now();
    let limited = sweeper.connected(VIP)?;
    let unlimited = sweeper.connected(OTHER_VIP)?;

    sweeper.sweep(rule, limited, |_| Ok(()))?;

    sweeper.expect_at_least(limit);
    let client = &mut sweeper.client;
    client.expect_connected(unlimited, OTHER_VIP, OTHER_ENDPOINT)
}
