//! The running kernel: where real sockets go, and what they see of it.

use agent::compile::{Action, Destination, Program};
use agent_common::abi::TCP;
use anyhow::Result;
use tests::client::Outcome;
use tests::lab::{self, ENETUNREACH, Lab};
use tests::programs::{add, at, balance, frontend, ip, key, service, tcp80};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Who was reached, and who the socket says that it is connected to.
fn reached(outcome: &Outcome) -> (std::net::IpAddr, std::net::SocketAddr) {
    match outcome {
        Outcome::Connected { local, peer, .. } => (local.ip().to_canonical(), *peer),
        Outcome::Failed(errno) => panic!("the connect failed: {errno}"),
    }
}

fn check(vip: &str, transport: Transport, to: &str) -> Result<()> {
    let Some(mut lab) = Lab::serving(CLIENT, &[(vip, transport, to)])? else {
        return Ok(());
    };
    let socket = lab.client.connect(transport, at(vip))?.socket();
    lab.client.expect_connected(socket, vip, to)
}

#[test]
fn an_ipv4_connect_reaches_an_endpoint_and_getpeername_shows_what_was_asked_for() -> Result<()> {
    check("240.240.0.1:80", Transport::Tcp, "10.9.0.1:8080")
}

#[test]
fn an_ipv6_connect_reaches_an_endpoint_and_getpeername_shows_what_was_asked_for() -> Result<()> {
    check("[2001:2::1]:80", Transport::Tcp, "[fd00::1]:8080")
}

#[test]
fn a_connected_ipv4_udp_socket_reaches_an_endpoint() -> Result<()> {
    check("240.240.0.1:53", Transport::Udp, "10.9.0.1:5353")
}

#[test]
fn a_connected_ipv6_udp_socket_reaches_an_endpoint() -> Result<()> {
    check("[2001:2::1]:53", Transport::Udp, "[fd00::1]:5353")
}

#[test]
fn a_socket_that_connects_elsewhere_shows_where_it_is_now() -> Result<()> {
    let Some(mut lab) = Lab::serving(
        CLIENT,
        &[("240.240.0.1:53", Transport::Udp, "10.9.0.1:5353")],
    )?
    else {
        return Ok(());
    };
    let socket = lab.client.open_udp(false)?;
    let mut connect = |to| lab.client.connect_socket(socket, Transport::Udp, at(to));
    assert_eq!(reached(&connect("240.240.0.1:53")?).1, at("240.240.0.1:53"));
    assert_eq!(reached(&connect("10.9.0.1:9999")?).1, at("10.9.0.1:9999"));
    assert_eq!(reached(&connect("240.240.0.1:53")?).1, at("240.240.0.1:53"));
    assert_eq!(lab.open(), 1);
    Ok(())
}

#[test]
fn the_longest_cidr_that_holds_an_address_decides() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut program = Program::default();
    let prefix = |text: &str| Destination::Prefix(text.parse().expect("a valid CIDR"));
    let outer_81 = tests::programs::on_port(tcp80(prefix("198.51.0.0/16")), 81);
    let inner_81 = tests::programs::on_port(tcp80(prefix("198.51.100.0/24")), 81);
    balance(
        &mut program,
        "outer",
        tcp80(prefix("198.51.0.0/16")),
        &[(at("10.9.0.1:8080"), 1)],
    );
    balance(
        &mut program,
        "outer81",
        outer_81,
        &[(at("10.9.0.1:8080"), 1)],
    );
    // As the compiler has it: a CIDR takes on the ports of those around it.
    let around = program.frontends[&outer_81].clone();
    program.frontends.insert(inner_81, around);
    balance(
        &mut program,
        "inner",
        tcp80(prefix("198.51.100.0/24")),
        &[(at("10.9.0.2:8080"), 1)],
    );
    lab.apply(&program);
    lab.client
        .order(&Request::AddAddresses(vec![ip("10.9.0.1"), ip("10.9.0.2")]))?;
    lab.client.order(&Request::Listen(at("10.9.0.1:8080")))?;
    lab.client.order(&Request::Listen(at("10.9.0.2:8080")))?;

    let mut connect = |to| lab.client.connect(Transport::Tcp, at(to));
    assert_eq!(reached(&connect("198.51.7.7:80")?).0, ip("10.9.0.1"));
    assert_eq!(reached(&connect("198.51.100.7:80")?).0, ip("10.9.0.2"));
    assert_eq!(reached(&connect("198.51.100.7:81")?).0, ip("10.9.0.1"));
    assert_eq!(connect("198.52.0.1:80")?, Outcome::Failed(ENETUNREACH));
    Ok(())
}

#[test]
fn resolution_none_keeps_the_address_and_may_change_the_port() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut program = Program::default();
    for (host, text, port) in [
        ("kept", "10.9.0.1:80", None),
        ("moved", "10.9.0.1:81", Some(8081)),
    ] {
        let at = at(text);
        let service = service(Action::Original { port }, Vec::new());
        add(
            &mut program,
            &key(host, at.port(), TCP),
            service,
            &[frontend(at, TCP)],
        );
    }
    lab.apply(&program);
    lab.client
        .order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
    lab.client.order(&Request::Listen(at("10.9.0.1:80")))?;
    lab.client.order(&Request::Listen(at("10.9.0.1:8081")))?;

    let kept = lab.client.connect(Transport::Tcp, at("10.9.0.1:80"))?;
    assert_eq!(reached(&kept).1, at("10.9.0.1:80"));
    let moved = lab.client.connect(Transport::Tcp, at("10.9.0.1:81"))?;
    assert_eq!(reached(&moved).1, at("10.9.0.1:81"));
    assert_eq!(lab.open(), 2);
    if lab::has_compare_and_swap() {
        // By this, an address that was learned stays so for as long as a socket uses it.
        let originals: Vec<_> = lab.dataplane.originals().collect();
        assert_eq!(originals, [ip("10.9.0.1"); 2]);
    }
    let counts = lab.dataplane.counts();
    assert!(
        counts
            .services
            .values()
            .all(|service| service.connects == 1),
        "{counts:?}"
    );
    // The services go, their sockets stay: nobody else is given their ids.
    lab.apply(&Program::default());
    assert_eq!(lab.open(), 2);
    lab.client.close(kept.socket())?;
    lab.expect_open(1);
    lab.client.close(moved.socket())?;
    lab.expect_no_records();
    Ok(())
}
