//! The running kernel: addresses that no CIDR of a service claims, however wide it is, since they mean something on one
//! link only or are no single host's.

use agent::compile::{Destination, Program};
use agent_common::abi::DEFAULT_SCOPE;
use anyhow::Result;
use tests::client::Outcome;
use tests::lab::Lab;
use tests::programs::{at, balance};
use tests::sockets::{Server, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// A laboratory with one service on port 80 of `cidr`, with a server at its endpoint.
fn lab_with(cidr: &str, transport: Transport, endpoint: &str) -> Result<Option<Lab>> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(None);
    };
    let mut program = Program::default();
    let frontend = agent::compile::Frontend {
        destination: Destination::Prefix(cidr.parse()?),
        port: 80,
        transport: transport.protocol(),
        scope: DEFAULT_SCOPE,
    };
    balance(&mut program, cidr, frontend, &[(at(endpoint), 1)]);
    lab.apply(&program);
    lab.add_addresses(&[endpoint])?;
    lab.serve(endpoint, Server::Tell(transport))?;
    Ok(Some(lab))
}

/// Holds that `to` is reached where nothing but `cidr` names it.
fn check_reached(cidr: &str, to: &str) -> Result<()> {
    for transport in TRANSPORTS {
        let Some(mut lab) = lab_with(cidr, transport, "[fd00::1]:8080")? else {
            return Ok(());
        };
        lab.add_addresses(&[to])?;
        lab.serve(to, Server::Tell(transport))?;
        let socket = lab.client.connect(transport, at(to))?.socket();
        lab.client.expect_connected(socket, to, to)?;
        lab.expect_no_records();
    }
    Ok(())
}

/// Holds that connecting to `to` ends as it does without the service of `cidr`.
fn check_as_without(cidr: &str, transport: Transport, to: &str) -> Result<()> {
    let Some(mut lab) = lab_with(cidr, transport, "10.9.0.1:8080")? else {
        return Ok(());
    };
    let with = lab.client.connect(transport, at(to))?;
    lab.apply(&Program::default());
    let without = lab.client.connect(transport, at(to))?;
    match (with, without) {
        (Outcome::Connected { peer, .. }, Outcome::Connected { peer: expected, .. }) => {
            assert_eq!(peer, expected, "{to}");
        }
        (with, without) => assert_eq!(with, without, "{to}"),
    }
    lab.expect_no_records();
    Ok(())
}

#[test]
fn a_cidr_claims_what_stands_for_a_single_host() -> Result<()> {
    for (cidr, to) in [
        ("::/0", "[2001:db8::1]:80"),
        ("0.0.0.0/0", "203.0.113.1:80"),
    ] {
        for transport in TRANSPORTS {
            let Some(mut lab) = lab_with(cidr, transport, "10.9.0.1:8080")? else {
                return Ok(());
            };
            let socket = lab.client.connect(transport, at(to))?.socket();
            lab.client.expect_connected(socket, to, "10.9.0.1:8080")?;
        }
    }
    Ok(())
}

#[test]
fn a_link_local_address_is_reached_on_its_link() -> Result<()> {
    for cidr in ["::/0", "fe80::/10"] {
        check_reached(cidr, "[fe80::1%1]:80")?;
    }
    Ok(())
}

#[test]
fn a_multicast_group_is_left_alone() -> Result<()> {
    for (cidr, to) in [
        ("::/0", "[ff02::1%1]:80"),
        ("ff00::/8", "[ff0e::1]:80"),
        ("0.0.0.0/0", "224.0.0.251:80"),
        ("224.0.0.0/4", "239.1.2.3:80"),
    ] {
        check_as_without(cidr, Transport::Udp, to)?;
    }
    Ok(())
}

#[test]
fn the_broadcast_address_is_left_alone() -> Result<()> {
    check_as_without("0.0.0.0/0", Transport::Udp, "255.255.255.255:80")
}

#[test]
fn loopback_is_left_alone() -> Result<()> {
    check_as_without("0.0.0.0/0", Transport::Tcp, "127.0.0.1:80")?;
    check_as_without("127.0.0.0/8", Transport::Udp, "127.0.0.1:80")?;
    check_as_without("::/0", Transport::Tcp, "[::1]:80")
}

#[test]
fn a_cidr_of_ipv6_does_not_claim_ipv4_addresses() -> Result<()> {
    check_reached("::/0", "10.9.0.2:80")?;
    for transport in TRANSPORTS {
        check_as_without("::/0", transport, "[::ffff:203.0.113.1]:80")?;
    }
    Ok(())
}
