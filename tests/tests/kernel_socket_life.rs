//! The running kernel: a socket that fails, waits, or connects more than once.

use anyhow::Result;
use tests::client::Outcome;
use tests::lab::{ECONNREFUSED, ENETUNREACH, Lab};
use tests::pair::{self, ENDPOINT, OTHER_ENDPOINT, OTHER_VIP, VIP};
use tests::programs::{self, at};
use tests::sockets::{Reply, Request, Server, Setting, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Closes the socket, and holds that no record outlives it.
fn close(lab: &mut Lab, socket: u32) -> Result<()> {
    assert!(
        lab.records() <= 1,
        "one socket has {} records",
        lab.records()
    );
    assert!(lab.open() <= 1, "one socket counts {} times", lab.open());
    lab.client.close(socket)?;
    lab.expect_no_records();
    Ok(())
}

#[test]
fn a_tcp_socket_that_was_refused_connects_to_the_same_vip_again() -> Result<()> {
    let services = [(VIP, Transport::Tcp, ENDPOINT)];
    let Some(mut lab) = Lab::with_services(CLIENT, &services)? else {
        return Ok(());
    };
    let socket = lab.client.open(Transport::Tcp, false)?;
    for _ in 0..3 {
        let refused = lab.client.reconnect(socket, VIP)?;
        assert_eq!(refused, Outcome::Failed(ECONNREFUSED));
        assert_eq!(lab.client.peer_error(socket)?, libc::ENOTCONN);
    }

    lab.serve(ENDPOINT, Server::Tell(Transport::Tcp))?;
    lab.client.reconnect(socket, VIP)?;

    lab.client.expect_connected(socket, VIP, ENDPOINT)?;
    close(&mut lab, socket)
}

#[test]
fn a_tcp_socket_that_was_refused_connects_elsewhere() -> Result<()> {
    let services = [
        (VIP, Transport::Tcp, ENDPOINT),
        (OTHER_VIP, Transport::Tcp, OTHER_ENDPOINT),
    ];
    let Some(mut lab) = Lab::with_services(CLIENT, &services)? else {
        return Ok(());
    };
    lab.serve(OTHER_ENDPOINT, Server::Tell(Transport::Tcp))?;
    for (to, reached) in [
        (OTHER_VIP, OTHER_ENDPOINT),
        (OTHER_ENDPOINT, OTHER_ENDPOINT),
    ] {
        let socket = lab.client.open(Transport::Tcp, false)?;
        let refused = lab.client.reconnect(socket, VIP)?;
        assert_eq!(refused, Outcome::Failed(ECONNREFUSED));
        lab.client.reconnect(socket, to)?;
        lab.client.expect_connected(socket, to, reached)?;
        close(&mut lab, socket)?;
    }
    Ok(())
}

#[test]
fn a_tcp_socket_whose_endpoint_has_no_route_connects_elsewhere() -> Result<()> {
    let Some(mut lab) = pair::serve(CLIENT, Transport::Tcp)? else {
        return Ok(());
    };
    let unroutable = "203.0.113.1:80";
    lab.apply(&programs::services(&[
        (VIP, Transport::Tcp, unroutable),
        (OTHER_VIP, Transport::Tcp, OTHER_ENDPOINT),
    ]));
    let socket = lab.client.open(Transport::Tcp, false)?;

    let unreachable = lab.client.reconnect(socket, VIP)?;
    assert_eq!(unreachable, Outcome::Failed(ENETUNREACH));
    assert_eq!(lab.client.peer_error(socket)?, libc::ENOTCONN);
    lab.client.reconnect(socket, OTHER_VIP)?;

    lab.client
        .expect_connected(socket, OTHER_VIP, OTHER_ENDPOINT)?;
    close(&mut lab, socket)
}

/// A socket of the transport that is connected, disconnected and connected to something else, over and over.
fn disconnects_and_connects(transport: Transport) -> Result<()> {
    let Some(mut lab) = pair::serve(CLIENT, transport)? else {
        return Ok(());
    };
    let socket = lab.client.open(transport, false)?;
    for (to, reached) in [
        (VIP, ENDPOINT),
        (OTHER_VIP, OTHER_ENDPOINT),
        (ENDPOINT, ENDPOINT),
        (VIP, ENDPOINT),
        (VIP, ENDPOINT),
        (OTHER_ENDPOINT, OTHER_ENDPOINT),
    ] {
        lab.client.reconnect(socket, to)?;
        lab.client.expect_connected(socket, to, reached)?;
        lab.client.order(&Request::Disconnect(socket))?;
        assert_eq!(lab.client.peer_error(socket)?, libc::ENOTCONN, "{to}");
    }
    close(&mut lab, socket)
}

#[test]
fn a_tcp_socket_that_is_disconnected_can_be_connected_elsewhere() -> Result<()> {
    disconnects_and_connects(Transport::Tcp)
}

#[test]
fn a_udp_socket_that_is_disconnected_can_be_connected_elsewhere() -> Result<()> {
    disconnects_and_connects(Transport::Udp)
}

/// Where a record of the socket says that this endpoint was asked for by another name.
fn asks_for_the_endpoint_itself(transport: Transport) -> Result<()> {
    let Some(mut lab) = pair::serve(CLIENT, transport)? else {
        return Ok(());
    };
    let socket = lab.client.open(transport, false)?;
    lab.client.reconnect(socket, VIP)?;
    lab.client.order(&Request::Disconnect(socket))?;
    lab.client.reconnect(socket, ENDPOINT)?;
    lab.client.expect_connected(socket, ENDPOINT, ENDPOINT)?;
    close(&mut lab, socket)
}

#[test]
fn a_tcp_socket_that_asks_for_its_last_endpoint_itself_sees_that() -> Result<()> {
    asks_for_the_endpoint_itself(Transport::Tcp)
}

#[test]
fn a_udp_socket_that_asks_for_its_last_endpoint_itself_sees_that() -> Result<()> {
    asks_for_the_endpoint_itself(Transport::Udp)
}

#[test]
fn a_udp_socket_moves_between_services_without_a_disconnect() -> Result<()> {
    let Some(mut lab) = pair::serve(CLIENT, Transport::Udp)? else {
        return Ok(());
    };
    let socket = lab.client.open_udp(false)?;
    for (to, reached) in [
        (VIP, ENDPOINT),
        (OTHER_VIP, OTHER_ENDPOINT),
        (VIP, ENDPOINT),
    ] {
        lab.client.reconnect(socket, to)?;
        lab.client.expect_connected(socket, to, reached)?;
    }
    close(&mut lab, socket)
}

#[test]
fn a_non_blocking_connect_ends_at_the_endpoint() -> Result<()> {
    let Some(mut lab) = pair::serve(CLIENT, Transport::Tcp)? else {
        return Ok(());
    };
    let socket = lab.client.open(Transport::Tcp, false)?;
    lab.client.set(socket, Setting::NonBlocking)?;

    let begun = lab.client.reconnect(socket, VIP)?;
    assert_eq!(begun, Outcome::Failed(libc::EINPROGRESS));
    lab.client.order(&Request::Finish(socket))?;

    // The first connect(2) after that collects the result, and only the next one is one too many.
    lab.client.reconnect(socket, VIP)?;
    let again = lab.client.reconnect(socket, OTHER_VIP)?;
    assert_eq!(again, Outcome::Failed(libc::EISCONN));
    assert_eq!(lab.client.peer(socket)?, at(VIP));
    assert_eq!(lab.client.local(socket)?.ip(), at(ENDPOINT).ip());
    close(&mut lab, socket)
}

#[test]
fn a_non_blocking_connect_that_is_refused_says_so_and_can_be_tried_elsewhere() -> Result<()> {
    let services = [
        (VIP, Transport::Tcp, ENDPOINT),
        (OTHER_VIP, Transport::Tcp, OTHER_ENDPOINT),
    ];
    let Some(mut lab) = Lab::with_services(CLIENT, &services)? else {
        return Ok(());
    };
    lab.serve(OTHER_ENDPOINT, Server::Tell(Transport::Tcp))?;
    let socket = lab.client.open(Transport::Tcp, false)?;
    lab.client.set(socket, Setting::NonBlocking)?;

    let begun = lab.client.reconnect(socket, VIP)?;
    assert_eq!(begun, Outcome::Failed(libc::EINPROGRESS));
    let ended = lab.client.ask(&Request::Finish(socket))?;
    assert_eq!(ended, Reply::Errno(ECONNREFUSED));
    assert_eq!(lab.client.peer_error(socket)?, libc::ENOTCONN);

    // SO_ERROR has told, but connect(2) is yet to say that the attempt has ended.
    let aborted = lab.client.reconnect(socket, OTHER_VIP)?;
    assert_eq!(aborted, Outcome::Failed(libc::ECONNABORTED));
    let to_other = lab.client.reconnect(socket, OTHER_VIP)?;
    assert_eq!(to_other, Outcome::Failed(libc::EINPROGRESS));
    lab.client.order(&Request::Finish(socket))?;
    assert_eq!(lab.client.peer(socket)?, at(OTHER_VIP));
    close(&mut lab, socket)
}

#[test]
fn a_connect_that_gets_no_answer_times_out_and_leaves_no_record() -> Result<()> {
    let services = [
        (VIP, Transport::Tcp, ENDPOINT),
        (OTHER_VIP, Transport::Tcp, OTHER_ENDPOINT),
    ];
    let Some(mut lab) = Lab::with_services(CLIENT, &services)? else {
        return Ok(());
    };
    lab.serve(ENDPOINT, Server::Silent)?;
    lab.serve(OTHER_ENDPOINT, Server::Tell(Transport::Tcp))?;
    let socket = lab.client.open(Transport::Tcp, false)?;
    lab.client.set(socket, Setting::SendTimeout(10))?;

    let waited = lab.client.reconnect(socket, VIP)?;
    assert_eq!(waited, Outcome::Failed(libc::EINPROGRESS));
    let again = lab.client.reconnect(socket, VIP)?;
    assert_eq!(again, Outcome::Failed(libc::EALREADY));
    assert_eq!(lab.client.peer_error(socket)?, libc::ENOTCONN);

    // Given up, it is as good as new.
    lab.client.order(&Request::Disconnect(socket))?;
    lab.client.reconnect(socket, OTHER_VIP)?;
    lab.client
        .expect_connected(socket, OTHER_VIP, OTHER_ENDPOINT)?;
    close(&mut lab, socket)?;

    let abandoned = lab.client.open(Transport::Tcp, false)?;
    lab.client.set(abandoned, Setting::SendTimeout(10))?;
    lab.client.reconnect(abandoned, VIP)?;
    close(&mut lab, abandoned)
}

#[test]
fn a_connect_that_is_interrupted_can_be_given_up_for_another() -> Result<()> {
    let services = [
        (VIP, Transport::Tcp, ENDPOINT),
        (OTHER_VIP, Transport::Tcp, OTHER_ENDPOINT),
    ];
    let Some(mut lab) = Lab::with_services(CLIENT, &services)? else {
        return Ok(());
    };
    lab.serve(ENDPOINT, Server::Silent)?;
    lab.serve(OTHER_ENDPOINT, Server::Tell(Transport::Tcp))?;
    let socket = lab.client.open(Transport::Tcp, false)?;
    lab.client.set(socket, Setting::SendTimeout(60_000))?;

    let interrupted = lab.client.interrupt_connect(socket, VIP)?;
    assert_eq!(interrupted, Reply::Errno(libc::EINTR));
    assert_eq!(lab.client.peer_error(socket)?, libc::ENOTCONN);

    lab.client.order(&Request::Disconnect(socket))?;
    lab.client.reconnect(socket, OTHER_VIP)?;
    lab.client
        .expect_connected(socket, OTHER_VIP, OTHER_ENDPOINT)?;
    close(&mut lab, socket)
}
