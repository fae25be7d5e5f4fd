//! The running kernel: the ways to connect a socket other than by connect(2) in the thread that made it.

use anyhow::Result;
use io_uring::IoUring;
use tests::client::Outcome;
use tests::lab::{self, ECONNREFUSED, Lab};
use tests::programs::at;
use tests::sockets::{Feature, Request, Server, Setting, Transport, Way};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:80";
const ENDPOINT: &str = "10.9.0.1:8080";
const VIP_V6: &str = "[2001:2::1]:80";
const ENDPOINT_V6: &str = "[fd00::1]:8080";
/// An automatic address that no service declares.
const UNDECLARED: &str = "240.240.0.9:81";

/// Holds that a way to connect ends as connect(2) does: at the endpoint, where refused, and with no record left.
fn check(way: Way) -> Result<()> {
    for transport in [Transport::Tcp, Transport::Udp] {
        let services = [(VIP, transport, ENDPOINT), (VIP_V6, transport, ENDPOINT_V6)];
        let Some(mut lab) = Lab::serving(CLIENT, &services)? else {
            return Ok(());
        };
        for (vip, _, endpoint) in services {
            let socket = lab.client.open(transport, vip.starts_with('['))?;
            lab.client.connect_by(way, socket, vip)?;
            lab.client.expect_connected(socket, vip, endpoint)?;
            lab.expect_open(1);
            lab.client.close(socket)?;
            lab.expect_no_records();
        }
        let socket = lab.client.open(transport, false)?;
        let refused = lab.client.connect_by(way, socket, UNDECLARED)?;
        assert_eq!(refused, Outcome::Failed(lab::refusal(ECONNREFUSED)));
        assert_eq!(lab.client.peer_error(socket)?, libc::ENOTCONN);
    }
    Ok(())
}

#[test]
fn a_thread_connects_a_socket_of_another() -> Result<()> {
    check(Way::Thread)
}

#[test]
fn a_program_connects_a_socket_that_it_inherited() -> Result<()> {
    check(Way::Exec)
}

#[test]
fn io_uring_connects_as_connect_does() -> Result<()> {
    if let Err(error) = IoUring::new(1) {
        lab::skip(&format!("io_uring is not to be had: {error}"));
        return Ok(());
    }
    check(Way::Ring)
}

#[test]
fn a_duplicate_is_the_same_socket() -> Result<()> {
    let Some(mut lab) = Lab::serving(CLIENT, &[(VIP, Transport::Tcp, ENDPOINT)])? else {
        return Ok(());
    };
    let socket = lab.client.open(Transport::Tcp, false)?;
    let copy = lab.client.duplicate(socket)?;
    lab.client.reconnect(copy, VIP)?;
    lab.client.expect_connected(socket, VIP, ENDPOINT)?;
    lab.client.close(socket)?;
    lab.client.expect_connected(copy, VIP, ENDPOINT)?;
    lab.expect_open(1);
    lab.client.close(copy)?;
    lab.expect_no_records();
    Ok(())
}

/// A service whose endpoint takes data with a SYN, from clients that it does not know too.
fn fast_open(vip: &str, endpoint: &str) -> Result<Option<Lab>> {
    let services = [(vip, Transport::Tcp, endpoint)];
    let Some(mut lab) = Lab::with_services(CLIENT, &services)? else {
        return Ok(None);
    };
    // Client and server, with neither a cookie nor the servers' consent asked for.
    let everything = 0x1 | 0x2 | 0x4 | 0x200 | 0x400;
    lab.client.order(&Request::Sysctl {
        name: "ipv4/tcp_fastopen".to_owned(),
        value: i32::to_string(&everything),
    })?;
    lab.serve(endpoint, Server::Tell(Transport::Tcp))?;
    Ok(Some(lab))
}

#[test]
fn data_with_the_syn_goes_to_the_endpoint() -> Result<()> {
    for (vip, endpoint) in [(VIP, ENDPOINT), (VIP_V6, ENDPOINT_V6)] {
        let Some(mut lab) = fast_open(vip, endpoint)? else {
            return Ok(());
        };
        let socket = lab.client.open(Transport::Tcp, vip.starts_with('['))?;
        lab.client.connect_by(Way::FastOpen, socket, vip)?;
        lab.client.expect_connected(socket, vip, endpoint)?;
        assert!(lab.client.has(socket, Feature::DataInSyn)?);
        lab.client.close(socket)?;
        lab.expect_no_records();
    }
    Ok(())
}

#[test]
fn data_with_the_syn_is_refused_as_connect_is() -> Result<()> {
    let Some(mut lab) = fast_open(VIP, ENDPOINT)? else {
        return Ok(());
    };
    let socket = lab.client.open(Transport::Tcp, false)?;
    let refused = lab.client.connect_by(Way::FastOpen, socket, UNDECLARED)?;
    assert_eq!(refused, Outcome::Failed(lab::refusal(ECONNREFUSED)));
    lab.client.connect_by(Way::FastOpen, socket, VIP)?;
    lab.client.expect_connected(socket, VIP, ENDPOINT)
}

#[test]
fn a_connect_that_waits_for_the_first_data_goes_to_the_endpoint() -> Result<()> {
    let Some(mut lab) = fast_open(VIP, ENDPOINT)? else {
        return Ok(());
    };
    let socket = lab.client.open(Transport::Tcp, false)?;
    lab.client.set(socket, Setting::FastOpenConnect)?;
    let to = at(VIP);
    let way = Way::Call;
    lab.client.order(&Request::ConnectBy { socket, way, to })?;
    // No SYN has been sent: there is no peer yet.
    assert_eq!(lab.client.peer_error(socket)?, libc::ENOTCONN);
    lab.client.told(socket)?;
    lab.client.expect_connected(socket, VIP, ENDPOINT)?;
    assert!(lab.client.has(socket, Feature::DataInSyn)?);
    lab.client.close(socket)?;
    lab.expect_no_records();
    Ok(())
}
