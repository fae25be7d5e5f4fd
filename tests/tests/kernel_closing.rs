//! The running kernel: which sockets end, and which do not, when those of removed endpoints are closed.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use agent::app::closing::Closing;
use agent::compile::Program;
use agent::dataplane::closing::{self, CloseRule, Outcome, Target};
use agent::settings::CloseRemoved;
use agent_common::abi::{TCP, UDP};
use anyhow::{Result, ensure};
use tests::client::{Client, Outcome as Connected};
use tests::lab::{self, Lab};
use tests::netns;
use tests::programs::{self, at};
use tests::sockets::{Request, Server, Transport};

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
    Ok(lab.filter(|_| can_close()))
}

fn can_close() -> bool {
    let can = closing::is_possible().is_ok_and(|is| is);
    if !can {
        lab::skip("this kernel cannot close sockets");
    }
    can
}

/// The second service alone.
fn the_other(transport: Transport) -> Program {
    programs::services(&[(OTHER_VIP, transport, OTHER_ENDPOINT)])
}

/// Puts `program` into effect, and closes what is connected to endpoints that are not in it.
fn replace(lab: &mut Lab, program: &Program) -> Outcome {
    lab.apply(program);
    let leftovers = lab.dataplane.leftovers(program);
    let targets: Vec<Target> = leftovers.iter().map(|leftover| leftover.target).collect();
    close(lab, &targets)
}

fn close(lab: &Lab, targets: &[Target]) -> Outcome {
    let cgroups = [lab.cgroup.path().to_owned()];
    closing::close(targets, &cgroups, &AtomicBool::new(false))
}

fn connected(client: &mut Client, transport: Transport, to: &str) -> Result<u32> {
    Ok(client.connect(transport, at(to))?.socket())
}

#[test]
fn a_connected_udp_socket_of_a_removed_endpoint_ends_and_its_neighbours_live() -> Result<()> {
    let Some(mut lab) = two_services(Transport::Udp)? else {
        return Ok(());
    };
    let ours = connected(&mut lab.client, Transport::Udp, VIP)?;
    let other = connected(&mut lab.client, Transport::Udp, OTHER_VIP)?;
    let direct = connected(&mut lab.client, Transport::Udp, ENDPOINT)?;
    let unconnected = lab.client.open_udp(false)?;
    lab.client.exchange(unconnected, VIP)?.expect("it is sent");

    let outcome = replace(&mut lab, &the_other(Transport::Udp));

    assert_eq!((outcome.closed.len(), outcome.is_impossible), (1, false));
    assert_eq!(lab.client.pending_error(ours)?, Some(libc::ECONNABORTED));
    assert_eq!(lab.client.peer_error(ours)?, libc::ENOTCONN);
    lab.client
        .expect_connected(other, OTHER_VIP, OTHER_ENDPOINT)?;
    lab.client.expect_connected(direct, ENDPOINT, ENDPOINT)?;
    let exchange = lab.client.exchange(unconnected, OTHER_VIP)?;
    assert_eq!(
        exchange.expect("it is sent").told.server,
        at(OTHER_ENDPOINT)
    );

    // It can be connected again, as any UDP socket.
    lab.client.reconnect(ours, OTHER_VIP)?;
    lab.client
        .expect_connected(ours, OTHER_VIP, OTHER_ENDPOINT)?;
    lab.expect_nothing_open();
    Ok(())
}

#[test]
fn a_tcp_connection_to_a_removed_endpoint_ends_and_its_neighbours_live() -> Result<()> {
    let Some(mut lab) = two_services(Transport::Tcp)? else {
        return Ok(());
    };
    let ours = connected(&mut lab.client, Transport::Tcp, VIP)?;
    let other = connected(&mut lab.client, Transport::Tcp, OTHER_VIP)?;
    let direct = connected(&mut lab.client, Transport::Tcp, ENDPOINT)?;

    let outcome = replace(&mut lab, &the_other(Transport::Tcp));

    assert_eq!(outcome.closed.len(), 1);
    assert_eq!(lab.client.pending_error(ours)?, Some(libc::ECONNABORTED));
    lab.client
        .expect_connected(other, OTHER_VIP, OTHER_ENDPOINT)?;
    lab.client.expect_connected(direct, ENDPOINT, ENDPOINT)?;
    lab.expect_nothing_open();
    Ok(())
}

#[test]
fn sockets_of_every_family_are_found() -> Result<()> {
    for (vip, endpoint, asked) in [
        (VIP, ENDPOINT, "[::ffff:240.240.0.1]:80"),
        ("[2001:2::1]:80", ENDPOINT, "[2001:2::1]:80"),
        ("[2001:2::1]:80", "[fd00::1]:8080", "[2001:2::1]:80"),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let Some(mut lab) = Lab::serving(CLIENT, &[(vip, transport, endpoint)])? else {
                return Ok(());
            };
            if !can_close() {
                return Ok(());
            }
            let socket = connected(&mut lab.client, transport, asked)?;
            let outcome = replace(&mut lab, &Program::default());
            assert_eq!(outcome.closed.len(), 1, "{transport:?} {asked} {endpoint}");
            let error = lab.client.pending_error(socket)?;
            assert_eq!(error, Some(libc::ECONNABORTED));
        }
    }
    Ok(())
}

#[test]
fn sockets_are_found_among_more_than_the_kernel_lists_at_once() -> Result<()> {
    let Some(mut lab) = two_services(Transport::Udp)? else {
        return Ok(());
    };
    let (mut ours, mut direct) = (Vec::new(), Vec::new());
    for number in 0..800 {
        let (to, sockets) = if number % 20 == 0 {
            (VIP, &mut ours)
        } else {
            (ENDPOINT, &mut direct)
        };
        sockets.push(connected(&mut lab.client, Transport::Udp, to)?);
    }

    let outcome = replace(&mut lab, &the_other(Transport::Udp));

    assert_eq!(outcome.closed.len(), ours.len());
    for socket in ours {
        let error = lab.client.pending_error(socket)?;
        assert_eq!(error, Some(libc::ECONNABORTED));
    }
    for socket in direct {
        assert_eq!(lab.client.pending_error(socket)?, None);
    }
    Ok(())
}

#[test]
fn an_endpoint_without_a_share_keeps_its_sockets() -> Result<()> {
    let Some(mut lab) = two_services(Transport::Udp)? else {
        return Ok(());
    };
    let socket = connected(&mut lab.client, Transport::Udp, VIP)?;
    let mut program = Program::default();
    let endpoints = [(at(ENDPOINT), 0), (at(OTHER_ENDPOINT), 1)];
    programs::balance(
        &mut program,
        VIP,
        programs::frontend(at(VIP), UDP),
        &endpoints,
    );

    let outcome = replace(&mut lab, &program);

    assert_eq!(outcome, Outcome::default());
    lab.client.expect_connected(socket, VIP, ENDPOINT)
}

#[test]
fn an_endpoint_that_came_back_keeps_its_sockets() -> Result<()> {
    let Some(mut lab) = two_services(Transport::Udp)? else {
        return Ok(());
    };
    let socket = connected(&mut lab.client, Transport::Udp, VIP)?;
    lab.apply(&the_other(Transport::Udp));

    let outcome = replace(
        &mut lab,
        &programs::services(&[(VIP, Transport::Udp, ENDPOINT)]),
    );

    assert_eq!(outcome, Outcome::default());
    lab.client.expect_connected(socket, VIP, ENDPOINT)
}

#[test]
fn the_same_place_as_an_endpoint_of_another_service_keeps_its_sockets() -> Result<()> {
    let services = [
        (VIP, Transport::Udp, ENDPOINT),
        (OTHER_VIP, Transport::Udp, ENDPOINT),
    ];
    let Some(mut lab) = Lab::serving(CLIENT, &services)? else {
        return Ok(());
    };
    if !can_close() {
        return Ok(());
    }
    let ours = connected(&mut lab.client, Transport::Udp, VIP)?;
    let other = connected(&mut lab.client, Transport::Udp, OTHER_VIP)?;

    let outcome = replace(&mut lab, &programs::services(&services[1..]));

    assert_eq!(outcome.closed.len(), 1);
    let error = lab.client.pending_error(ours)?;
    assert_eq!(error, Some(libc::ECONNABORTED));
    lab.client.expect_connected(other, OTHER_VIP, ENDPOINT)
}

#[test]
fn sockets_are_found_in_every_network_namespace_of_the_cgroup() -> Result<()> {
    let Some(mut lab) = two_services(Transport::Udp)? else {
        return Ok(());
    };
    let mut second = lab.start_client(CLIENT)?;
    second.order(&Request::AddAddresses(vec![at(ENDPOINT).ip()]))?;
    second.order(&Request::Serve {
        at: at(ENDPOINT),
        server: Server::Tell(Transport::Udp),
    })?;
    let here = connected(&mut lab.client, Transport::Udp, VIP)?;
    let there = connected(&mut second, Transport::Udp, VIP)?;
    let direct = connected(&mut second, Transport::Udp, ENDPOINT)?;

    let outcome = replace(&mut lab, &the_other(Transport::Udp));

    assert_eq!(outcome.closed.len(), 2);
    let ended = Some(libc::ECONNABORTED);
    assert_eq!(lab.client.pending_error(here)?, ended);
    assert_eq!(second.pending_error(there)?, ended);
    second.expect_connected(direct, ENDPOINT, ENDPOINT)
}

#[test]
fn sockets_are_found_in_a_network_namespace_that_is_kept_without_a_process() -> Result<()> {
    let Some(mut lab) = two_services(Transport::Udp)? else {
        return Ok(());
    };
    let socket = connected(&mut lab.client, Transport::Udp, VIP)?;
    netns::keep(lab.client.process())?;
    lab.client.order(&Request::LeaveNetwork)?;

    let outcome = replace(&mut lab, &the_other(Transport::Udp));

    assert_eq!(outcome.closed.len(), 1);
    let error = lab.client.pending_error(socket)?;
    assert_eq!(error, Some(libc::ECONNABORTED));
    Ok(())
}

#[test]
fn a_socket_that_went_elsewhere_by_then_lives() -> Result<()> {
    let Some(mut lab) = two_services(Transport::Udp)? else {
        return Ok(());
    };
    let socket = connected(&mut lab.client, Transport::Udp, VIP)?;
    let program = the_other(Transport::Udp);
    lab.apply(&program);
    let leftovers = lab.dataplane.leftovers(&program);
    let mut target = leftovers[0].target;
    lab.client.reconnect(socket, OTHER_VIP)?;

    assert_eq!(close(&lab, &[target]), Outcome::default());
    // And one with another cookie, at the very same place.
    lab.client.reconnect(socket, ENDPOINT)?;
    target.cookie += 1;
    assert_eq!(close(&lab, &[target]), Outcome::default());

    lab.client.expect_connected(socket, ENDPOINT, ENDPOINT)
}

#[test]
fn an_mptcp_connection_to_a_removed_endpoint_ends() -> Result<()> {
    let Some(mut lab) = Lab::with_services(CLIENT, &[(VIP, Transport::Mptcp, ENDPOINT)])? else {
        return Ok(());
    };
    if !can_close() {
        return Ok(());
    }
    lab.serve(ENDPOINT, Server::Tell(Transport::Tcp))?;
    let socket = match lab.client.connect(Transport::Mptcp, at(VIP))? {
        Connected::Connected { socket, .. } => socket,
        Connected::Failed(errno) => {
            lab::skip(&format!("MPTCP is not to be had: {errno}"));
            return Ok(());
        }
    };
    let outcome = replace(&mut lab, &Program::default());
    assert_eq!(outcome.closed.len(), 1);
    let error = lab.client.pending_error(socket)?;
    assert_eq!(error, Some(libc::ECONNABORTED));
    Ok(())
}

/// Sweeps as an agent does, until `socket` has ended. Returns how long that took.
fn sweep(
    closing: &mut Closing,
    (client, dataplane): (&mut Client, &Mutex<agent::dataplane::Dataplane>),
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
fn rule(dataplane: &agent::dataplane::Dataplane, vip: &str, transport: u8) -> CloseRule {
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
