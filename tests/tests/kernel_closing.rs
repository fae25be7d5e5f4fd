//! The running kernel: which sockets end, and which do not, when those of removed endpoints are closed.

use std::sync::atomic::AtomicBool;

use agent::compile::{Action, Program};
use agent::dataplane::closing::{self, Outcome, Target};
use agent_common::abi::UDP;
use anyhow::Result;
use tests::client::Client;
use tests::lab::{self, Lab};
use tests::netns;
use tests::pair::{self, ENDPOINT, OTHER_ENDPOINT, OTHER_VIP, VIP};
use tests::programs::{self, at};
use tests::sockets::{Reply, Request, Server, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Two services of the transport, each with a server. `None` where kernel tests cannot run, or sockets not be closed.
fn two_services(transport: Transport) -> Result<Option<Lab>> {
    Ok(pair::serve(CLIENT, transport)?.filter(|_| lab::can_close()))
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
    let sent = lab.client.ask(&Request::Ask(ours))?;
    assert_eq!(sent, Reply::Errno(libc::EDESTADDRREQ));
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
            if !lab::can_close() {
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
fn the_sockets_of_a_service_of_resolution_none_outlive_it() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    if !lab::can_close() {
        return Ok(());
    }
    let mut program = Program::default();
    let frontend = programs::frontend(at(ENDPOINT), UDP);
    let service = programs::service(Action::Original { port: None }, Vec::new());
    let key = programs::key("none.test", frontend.port, UDP);
    programs::add(&mut program, &key, service, &[frontend]);
    lab.apply(&program);
    lab.add_addresses(&[ENDPOINT])?;
    lab.serve(ENDPOINT, Server::Tell(Transport::Udp))?;
    let socket = connected(&mut lab.client, Transport::Udp, ENDPOINT)?;
    assert_eq!(lab.records(), 1);

    let outcome = replace(&mut lab, &Program::default());

    assert_eq!(outcome, Outcome::default());
    lab.client.expect_connected(socket, ENDPOINT, ENDPOINT)
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
    if !lab::can_close() {
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

/// A laboratory with a connected MPTCP socket, whose endpoint speaks `server`. `None` where MPTCP cannot be had.
fn mptcp_socket(server: Transport) -> Result<Option<(Lab, u32)>> {
    let Some(mut lab) = Lab::with_services(CLIENT, &[(VIP, Transport::Mptcp, ENDPOINT)])? else {
        return Ok(None);
    };
    if !lab::can_close() {
        return Ok(None);
    }
    let socket = lab.client.next_socket();
    let opened = lab.client.ask(&Request::Open {
        socket,
        transport: Transport::Mptcp,
        is_v6: false,
    })?;
    if opened != Reply::Done {
        lab::skip(&format!("MPTCP is not to be had: {opened:?}"));
        return Ok(None);
    }
    lab.serve(ENDPOINT, Server::Tell(server))?;
    lab.client.reconnect(socket, VIP)?;
    Ok(Some((lab, socket)))
}

#[test]
fn an_mptcp_socket_that_fell_back_to_tcp_ends() -> Result<()> {
    let Some((mut lab, socket)) = mptcp_socket(Transport::Tcp)? else {
        return Ok(());
    };
    let outcome = replace(&mut lab, &Program::default());
    assert_eq!(outcome.closed.len(), 1);
    let error = lab.client.pending_error(socket)?;
    assert_eq!(error, Some(libc::ECONNABORTED));
    Ok(())
}

#[test]
fn an_mptcp_connection_lives() -> Result<()> {
    let Some((mut lab, socket)) = mptcp_socket(Transport::Mptcp)? else {
        return Ok(());
    };
    let outcome = replace(&mut lab, &Program::default());
    assert_eq!(outcome, Outcome::default());
    assert_eq!(lab.client.told(socket)?.server, at(ENDPOINT));
    Ok(())
}
