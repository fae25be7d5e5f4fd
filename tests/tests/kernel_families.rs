//! The running kernel: IPv4 and IPv6 sockets, and services with endpoints of either or both families.

use std::net::SocketAddr;
use std::path::Path;

use agent::compile::Program;
use anyhow::Result;
use tests::client::{Client, Outcome};
use tests::lab::{self, EHOSTUNREACH, Lab};
use tests::programs::{at, balance, frontend};
use tests::sockets::{Server, Setting, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

const V4: &str = "10.9.0.1:8080";
const V6: &str = "[fd00::1]:8080";
const VIP_V4: &str = "240.240.0.1:80";
const VIP_V6: &str = "[2001:2::1]:80";
const VIP_MAPPED: &str = "[::ffff:240.240.0.1]:80";

/// Holds that a socket of the family of `asked` reaches `endpoint`, the one endpoint behind `vip`.
fn check(vip: &str, asked: &str, endpoint: &str) -> Result<()> {
    for transport in TRANSPORTS {
        let Some(mut lab) = Lab::serving(CLIENT, &[(vip, transport, endpoint)])? else {
            return Ok(());
        };
        let socket = lab.client.connect(transport, at(asked))?.socket();
        lab.client.expect_connected(socket, asked, endpoint)?;
    }
    Ok(())
}

#[test]
fn a_v4_mapped_destination_is_the_ipv4_frontend() -> Result<()> {
    check(VIP_V4, VIP_MAPPED, V4)
}

#[test]
fn an_ipv6_vip_may_have_ipv4_endpoints() -> Result<()> {
    check(VIP_V6, VIP_V6, V4)
}

#[test]
fn a_v4_mapped_destination_may_have_ipv6_endpoints() -> Result<()> {
    check(VIP_V4, VIP_MAPPED, V6)
}

#[test]
fn an_ipv4_address_on_an_ipv6_udp_socket_is_the_ipv4_frontend() -> Result<()> {
    let Some(mut lab) = Lab::serving(CLIENT, &[(VIP_V4, Transport::Udp, V4)])? else {
        return Ok(());
    };
    let socket = lab.client.open_udp(true)?;
    lab.client.reconnect(socket, VIP_V4)?;
    lab.client.expect_connected(socket, VIP_MAPPED, V4)
}

#[test]
fn an_ipv4_address_on_an_ipv6_tcp_socket_is_invalid_as_ever() -> Result<()> {
    let Some(mut lab) = Lab::serving(CLIENT, &[(VIP_V4, Transport::Tcp, V4)])? else {
        return Ok(());
    };
    let socket = lab.client.open(Transport::Tcp, true)?;
    let outcome = lab.client.reconnect(socket, VIP_V4)?;
    assert_eq!(outcome, Outcome::Failed(libc::EINVAL));
    lab.expect_no_records();
    Ok(())
}

/// A laboratory with one service behind both VIPs, and servers at its endpoints.
fn lab_with(transport: Transport, endpoints: &[&str]) -> Result<Option<Lab>> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(None);
    };
    let to: Vec<(SocketAddr, u64)> = endpoints.iter().map(|to| (at(to), 1)).collect();
    let mut program = Program::default();
    for vip in [VIP_V4, VIP_V6] {
        balance(
            &mut program,
            vip,
            frontend(at(vip), transport.protocol()),
            &to,
        );
    }
    lab.apply(&program);
    lab.add_addresses(endpoints)?;
    for endpoint in endpoints {
        lab.serve(endpoint, Server::Tell(transport))?;
    }
    Ok(Some(lab))
}

/// With equal shares for two endpoints, as many connects as draw one of them only once in 2⁶⁴ runs.
const DRAWS: u32 = 64;

#[test]
fn an_ipv4_socket_is_given_ipv4_endpoints_only() -> Result<()> {
    for transport in TRANSPORTS {
        let Some(mut lab) = lab_with(transport, &[V4, V6])? else {
            return Ok(());
        };
        let reached = lab.client.spread(transport, at(VIP_V4), DRAWS)?;
        assert_eq!(reached, [(at(V4).ip(), DRAWS)].into());
    }
    Ok(())
}

#[test]
fn an_ipv6_socket_is_given_endpoints_of_both_families() -> Result<()> {
    for transport in TRANSPORTS {
        let Some(mut lab) = lab_with(transport, &[V4, V6])? else {
            return Ok(());
        };
        for vip in [VIP_V6, VIP_MAPPED] {
            let reached = lab.client.spread(transport, at(vip), DRAWS)?;
            let families: Vec<_> = reached.keys().copied().collect();
            assert_eq!(families, [at(V4).ip(), at(V6).ip()], "{transport:?}");
        }
    }
    Ok(())
}

#[test]
fn an_ipv4_socket_cannot_reach_a_service_of_ipv6_endpoints() -> Result<()> {
    for transport in TRANSPORTS {
        let Some(mut lab) = lab_with(transport, &[V6])? else {
            return Ok(());
        };
        let outcome = lab.client.connect(transport, at(VIP_V4))?;
        let expected = Outcome::Failed(lab::refusal(EHOSTUNREACH));
        assert_eq!(outcome, expected, "{transport:?}");
    }
    Ok(())
}

#[test]
fn a_socket_of_ipv6_only_reaches_ipv6_endpoints() -> Result<()> {
    for transport in TRANSPORTS {
        let Some(mut lab) = lab_with(transport, &[V6])? else {
            return Ok(());
        };
        let socket = lab.client.open(transport, true)?;
        lab.client.set(socket, Setting::OnlyV6)?;
        lab.client.reconnect(socket, VIP_V6)?;
        lab.client.expect_connected(socket, VIP_V6, V6)?;
    }
    Ok(())
}

#[test]
fn a_socket_of_ipv6_only_is_given_ipv6_endpoints_only() -> Result<()> {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        lab::skip("this kernel does not tell where a socket's IPV6_V6ONLY is");
        return Ok(());
    }
    check_ipv6_only(|client, socket| client.set(socket, Setting::OnlyV6))
}

#[test]
fn a_socket_that_is_bound_to_an_ipv6_address_is_given_ipv6_endpoints_only() -> Result<()> {
    check_ipv6_only(|client, socket| client.bind(socket, "[fd00::1]:0"))
}

/// Holds that an IPv6 socket that cannot connect to IPv4 any more is given endpoints of IPv6, and none where there are none.
fn check_ipv6_only(narrow: impl Fn(&mut Client, u32) -> Result<()>) -> Result<()> {
    for transport in TRANSPORTS {
        let Some(mut lab) = lab_with(transport, &[V4, V6])? else {
            return Ok(());
        };
        for _ in 0..DRAWS {
            let socket = lab.client.open(transport, true)?;
            narrow(&mut lab.client, socket)?;
            lab.client.reconnect(socket, VIP_V6)?;
            lab.client.expect_connected(socket, VIP_V6, V6)?;
            lab.client.close(socket)?;
        }
        drop(lab);
        let Some(mut lab) = lab_with(transport, &[V4])? else {
            return Ok(());
        };
        lab.add_addresses(&[V6])?;
        let socket = lab.client.open(transport, true)?;
        narrow(&mut lab.client, socket)?;
        let outcome = lab.client.reconnect(socket, VIP_V6)?;
        let expected = Outcome::Failed(lab::refusal(EHOSTUNREACH));
        assert_eq!(outcome, expected, "{transport:?}");
    }
    Ok(())
}
