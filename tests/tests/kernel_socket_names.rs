//! The running kernel: what a socket says of its own end, and that what it was bound to stays.

use anyhow::Result;
use tests::client::Outcome;
use tests::lab::Lab;
use tests::programs::{at, ip};
use tests::sockets::{Request, Setting, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// Connects a socket that is bound to `bound`, and gives the address that it has then.
fn connect_bound(lab: &mut Lab, transport: Transport, bound: &str, vip: &str) -> Result<Outcome> {
    let socket = lab.client.open(transport, bound.starts_with('['))?;
    lab.client.bind(socket, bound)?;
    lab.client.reconnect(socket, vip)
}

#[test]
fn getsockname_gives_the_address_that_the_route_to_the_endpoint_has() -> Result<()> {
    for (vip, endpoint) in [
        ("240.240.0.1:80", "10.9.0.1:8080"),
        ("[2001:2::1]:80", "[fd00::1]:8080"),
    ] {
        for transport in TRANSPORTS {
            let Some(mut lab) = Lab::serving(CLIENT, &[(vip, transport, endpoint)])? else {
                return Ok(());
            };
            let socket = lab.client.connect(transport, at(vip))?.socket();
            // On the loopback device, an address is reached from itself.
            assert_eq!(lab.client.local(socket)?.ip(), at(endpoint).ip());
            lab.client.expect_connected(socket, vip, endpoint)?;
        }
    }
    Ok(())
}

/// Holds that a socket bound to `bound` goes to the endpoint from `own`, and from the port that it is bound to if any.
fn check_bound(bound: &str, vip: &str, endpoint: &str, own: &str) -> Result<()> {
    for transport in TRANSPORTS {
        let Some(mut lab) = Lab::serving(CLIENT, &[(vip, transport, endpoint)])? else {
            return Ok(());
        };
        if ip(own) != at(endpoint).ip() {
            lab.client.order(&Request::AddAddresses(vec![ip(own)]))?;
        }
        let socket = connect_bound(&mut lab, transport, bound, vip)?.socket();
        let local = lab.client.local(socket)?;
        assert_eq!(local.ip().to_canonical(), ip(own), "{transport:?}");
        let port = at(bound).port();
        assert!(port == 0 || local.port() == port, "{transport:?}: {local}");
        lab.client.expect_connected(socket, vip, endpoint)?;
    }
    Ok(())
}

#[test]
fn a_socket_that_is_bound_to_an_address_keeps_it() -> Result<()> {
    let (vip, endpoint, own) = ("240.240.0.1:80", "10.9.0.1:8080", "10.9.0.7");
    check_bound("10.9.0.7:0", vip, endpoint, own)
}

#[test]
fn a_socket_that_is_bound_to_an_address_and_port_keeps_both() -> Result<()> {
    let (vip, endpoint, own) = ("240.240.0.1:80", "10.9.0.1:8080", "10.9.0.7");
    check_bound("10.9.0.7:4000", vip, endpoint, own)
}

#[test]
fn an_ipv6_socket_that_is_bound_to_an_address_and_port_keeps_both() -> Result<()> {
    let (vip, endpoint, own) = ("[2001:2::1]:80", "[fd00::1]:8080", "fd00::7");
    check_bound("[fd00::7]:4000", vip, endpoint, own)
}

#[test]
fn a_socket_that_is_bound_to_a_v4_mapped_address_keeps_it() -> Result<()> {
    let (endpoint, own) = ("10.9.0.1:8080", "10.9.0.7");
    for vip in ["[::ffff:240.240.0.1]:80", "[2001:2::1]:80"] {
        check_bound("[::ffff:10.9.0.7]:4000", vip, endpoint, own)?;
    }
    Ok(())
}

#[test]
fn a_socket_that_is_bound_to_a_port_only_keeps_it() -> Result<()> {
    for (bound, vip, endpoint) in [
        ("0.0.0.0:4000", "240.240.0.1:80", "10.9.0.1:8080"),
        ("[::]:4000", "[2001:2::1]:80", "[fd00::1]:8080"),
        ("[::]:4000", "[2001:2::1]:80", "10.9.0.1:8080"),
    ] {
        check_bound(bound, vip, endpoint, &at(endpoint).ip().to_string())?;
    }
    Ok(())
}

#[test]
fn a_socket_that_is_bound_to_a_device_reaches_the_endpoint_by_it() -> Result<()> {
    for transport in TRANSPORTS {
        let (vip, endpoint) = ("240.240.0.1:80", "10.9.0.1:8080");
        let Some(mut lab) = Lab::serving(CLIENT, &[(vip, transport, endpoint)])? else {
            return Ok(());
        };
        let socket = lab.client.open(transport, false)?;
        lab.client.set(socket, Setting::Device("lo".to_owned()))?;
        lab.client.reconnect(socket, vip)?;
        lab.client.expect_connected(socket, vip, endpoint)?;
    }
    Ok(())
}
