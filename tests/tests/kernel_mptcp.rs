//! The running kernel: MPTCP sockets, whose first subflow is what the hooks see.

use agent::dataplane::{Limits, LoadOptions};
use anyhow::Result;
use tests::client::Outcome;
use tests::lab::{self, ECONNREFUSED, Lab};
use tests::programs::{self, at};
use tests::sockets::{Feature, Server, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:80";
const ENDPOINT: &str = "10.9.0.1:8080";
const VIP_V6: &str = "[2001:2::1]:80";
const ENDPOINT_V6: &str = "[fd00::1]:8080";

/// A laboratory with one service, whose endpoint speaks `server`; `None` where MPTCP cannot be had.
fn lab(vip: &str, endpoint: &str, server: Transport) -> Result<Option<Lab>> {
    if !lab::has_mptcp() {
        return Ok(None);
    }
    let services = [(vip, Transport::Mptcp, endpoint)];
    let Some(mut lab) = Lab::with_services(CLIENT, &services)? else {
        return Ok(None);
    };
    lab.serve(endpoint, Server::Tell(server))?;
    Ok(Some(lab))
}

#[test]
fn an_mptcp_socket_reaches_an_endpoint() -> Result<()> {
    for (vip, endpoint) in [(VIP, ENDPOINT), (VIP_V6, ENDPOINT_V6)] {
        for server in [Transport::Mptcp, Transport::Tcp] {
            let Some(mut lab) = lab(vip, endpoint, server)? else {
                return Ok(());
            };
            let socket = lab.client.connect(Transport::Mptcp, at(vip))?.socket();
            let direct = lab.client.connect(Transport::Mptcp, at(endpoint))?.socket();
            // Kernels before 5.16 do not tell, and say no of either.
            let is_mptcp = lab.client.has(socket, Feature::Mptcp)?;
            assert_eq!(is_mptcp, lab.client.has(direct, Feature::Mptcp)?);
            assert!(!is_mptcp || server == Transport::Mptcp);
            let local = lab.client.local(socket)?;
            let told = lab.client.told(socket)?;
            assert_eq!((told.server, told.client), (at(endpoint), local));
        }
    }
    Ok(())
}

#[test]
fn an_mptcp_socket_is_refused_as_a_tcp_socket_is() -> Result<()> {
    let Some(mut lab) = lab(VIP, ENDPOINT, Transport::Mptcp)? else {
        return Ok(());
    };
    let outcome = lab.client.connect(Transport::Mptcp, at("240.240.0.1:81"))?;
    assert_eq!(outcome, Outcome::Failed(lab::refusal(ECONNREFUSED)));
    Ok(())
}

#[test]
fn an_mptcp_socket_shows_what_was_asked_for() -> Result<()> {
    if !lab::has_compare_and_swap() {
        lab::skip("records are at the first subflow, where getpeername does not find them");
        return Ok(());
    }
    for (vip, endpoint) in [(VIP, ENDPOINT), (VIP_V6, ENDPOINT_V6)] {
        for server in [Transport::Mptcp, Transport::Tcp] {
            let Some(mut lab) = lab(vip, endpoint, server)? else {
                return Ok(());
            };
            let socket = lab.client.connect(Transport::Mptcp, at(vip))?.socket();
            lab.client.expect_connected(socket, vip, endpoint)?;
        }
    }
    Ok(())
}

#[test]
fn no_record_of_an_mptcp_socket_outlives_it() -> Result<()> {
    for server in [Transport::Mptcp, Transport::Tcp] {
        let Some(mut lab) = lab(VIP, ENDPOINT, server)? else {
            return Ok(());
        };
        for _ in 0..20 {
            let socket = lab.client.connect(Transport::Mptcp, at(VIP))?.socket();
            lab.client.close(socket)?;
        }
        lab.expect_no_records();
    }
    Ok(())
}

#[test]
fn an_mptcp_socket_that_finds_no_line_counts_nowhere_once_it_is_closed() -> Result<()> {
    if !lab::has_mptcp() {
        return Ok(());
    }
    let options = LoadOptions {
        limits: lab::limits(),
        flows_at_sockets: true,
        ..LoadOptions::default()
    };
    let Some(mut lab) = Lab::with(CLIENT, &options)? else {
        return Ok(());
    };
    lab.apply(&programs::services(&[(VIP, Transport::Mptcp, ENDPOINT)]));
    lab.add_addresses(&[ENDPOINT])?;
    lab.serve(ENDPOINT, Server::Tell(Transport::Mptcp))?;
    let socket = lab.client.connect(Transport::Mptcp, at(VIP))?.socket();
    assert_eq!(lab.client.told(socket)?.server, at(ENDPOINT));
    lab.client.close(socket)?;
    lab.expect_open(0);
    Ok(())
}

#[test]
fn an_mptcp_socket_that_never_connected_takes_nothing_from_the_count() -> Result<()> {
    if !lab::has_mptcp() {
        return Ok(());
    }
    // One line, in which a record of the endpoint has been, while a socket of the same endpoint is open.
    let options = LoadOptions {
        limits: Limits {
            flows: 1,
            ..lab::limits()
        },
        ..LoadOptions::default()
    };
    let Some(mut lab) = Lab::with(CLIENT, &options)? else {
        return Ok(());
    };
    lab.apply(&programs::services(&[(VIP, Transport::Tcp, ENDPOINT)]));
    lab.add_addresses(&[ENDPOINT])?;
    lab.serve(ENDPOINT, Server::Tell(Transport::Tcp))?;
    let first = lab.client.connect(Transport::Tcp, at(VIP))?.socket();
    lab.client.connect(Transport::Tcp, at(VIP))?.socket();
    lab.client.close(first)?;
    lab.expect_open(1);
    let never = lab.client.open(Transport::Mptcp, false)?;
    lab.client.close(never)?;
    lab.expect_open(1);
    Ok(())
}
