//! The running kernel: which connections end for their age, or for being idle.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use agent::app::closing::Closing;
use agent::dataplane::Dataplane;
use agent::dataplane::closing::CloseRule;
use agent::settings::CloseRemoved;
use agent_common::abi::{TCP, UDP};
use anyhow::{Result, ensure};
use tests::client::Client;
use tests::lab::{self, Lab};
use tests::programs::{self, at};
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:80";
const ENDPOINT: &str = "10.9.0.1:8080";
const OTHER_VIP: &str = "240.240.0.2:80";
const OTHER_ENDPOINT: &str = "10.9.0.2:8080";

/// Two services of the transport, each with a server. `None` where kernel tests cannot run, or sockets not be closed.
fn two_services(transport: Transport) -> Result<Option<Lab>> {
    let services = [
        (VIP, transport, ENDPOINT),
        (OTHER_VIP, transport, OTHER_ENDPOINT),
    ];
    let lab = Lab::serving(CLIENT, &services)?;
    Ok(lab.filter(|_| lab::can_close()))
}

fn connected(client: &mut Client, transport: Transport, to: &str) -> Result<u32> {
    Ok(client.connect(transport, at(to))?.socket())
}

/// Sweeps as an agent does, until `socket` has ended. Returns how long that took.
fn sweep(
    closing: &mut Closing,
    (client, dataplane): (&mut Client, &Mutex<Dataplane>),
    rules: &[CloseRule],
    socket: u32,
    mut meanwhile: impl FnMut(&mut Client) -> Result<()>,
) -> Result<Duration> {
    let start = Instant::now();
    loop {
        closing.close_where(dataplane, rules);
        meanwhile(client)?;
        if let Some(error) = client.pending_error(socket)? {
            assert_eq!(error, libc::ECONNABORTED);
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < Duration::from_secs(20), "it stays open");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The rule for the service of `vip`.
fn rule(dataplane: &Dataplane, vip: &str, transport: u8) -> CloseRule {
    let key = programs::key(vip, at(vip).port(), transport);
    CloseRule {
        service: dataplane.names().service_id(&key).expect("it is live"),
        max_age: None,
        max_idle: None,
    }
}

#[test]
fn an_idle_connection_ends_and_a_busy_one_lives_until_its_age() -> Result<()> {
    let Some(lab) = two_services(Transport::Tcp)? else {
        return Ok(());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let _context = runtime.enter();
    let Lab {
        mut client,
        dataplane,
        cgroup,
        turn,
    } = lab;
    let limit = Some(Duration::from_millis(400));
    let none = rule(&dataplane, VIP, TCP);
    let dataplane = Mutex::new(dataplane);
    let mut closing = Closing::new(CloseRemoved::None, vec![cgroup.path().to_owned()]);
    let begun = Instant::now();
    let idle = connected(&mut client, Transport::Tcp, VIP)?;
    let busy = connected(&mut client, Transport::Tcp, VIP)?;
    let unlimited = connected(&mut client, Transport::Tcp, OTHER_VIP)?;

    let idle_rule = CloseRule {
        max_idle: limit,
        ..none
    };
    let both = (&mut client, &dataplane);
    sweep(&mut closing, both, &[idle_rule], idle, |client| {
        client.told(busy).map(drop)
    })?;
    assert!(Some(begun.elapsed()) >= limit, "{:?}", begun.elapsed());
    client.expect_connected(busy, VIP, ENDPOINT)?;

    let age_rule = CloseRule {
        max_age: limit,
        ..none
    };
    let both = (&mut client, &dataplane);
    let took = sweep(&mut closing, both, &[age_rule], busy, |_| Ok(()))?;
    // One sweep a second: that of the idle one has just been.
    assert!(took > Duration::from_millis(500), "{took:?}");
    client.expect_connected(unlimited, OTHER_VIP, OTHER_ENDPOINT)?;
    closing.close_where(&dataplane, &[]);
    assert_eq!(
        (closing.tally().view().tcp, closing.tally().view().udp),
        (2, 0)
    );
    drop((client, dataplane, cgroup, turn));
    Ok(())
}

#[test]
fn a_udp_socket_ends_at_its_age() -> Result<()> {
    let Some(lab) = two_services(Transport::Udp)? else {
        return Ok(());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let _context = runtime.enter();
    let Lab {
        mut client,
        dataplane,
        cgroup,
        turn,
    } = lab;
    let limit = Some(Duration::from_millis(300));
    let rule = CloseRule {
        max_age: limit,
        max_idle: Some(Duration::ZERO),
        ..rule(&dataplane, VIP, UDP)
    };
    let dataplane = Mutex::new(dataplane);
    let mut closing = Closing::new(CloseRemoved::None, vec![cgroup.path().to_owned()]);
    let begun = Instant::now();
    let limited = connected(&mut client, Transport::Udp, VIP)?;
    let unlimited = connected(&mut client, Transport::Udp, OTHER_VIP)?;

    let both = (&mut client, &dataplane);
    sweep(&mut closing, both, &[rule], limited, |_| Ok(()))?;

    assert!(Some(begun.elapsed()) >= limit, "{:?}", begun.elapsed());
    client.expect_connected(unlimited, OTHER_VIP, OTHER_ENDPOINT)?;
    drop((client, dataplane, cgroup, turn));
    Ok(())
}
