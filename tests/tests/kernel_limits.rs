//! The running kernel: how many connections a service has at most, and what is set on its sockets.

use std::thread;
use std::time::{Duration, Instant};

use agent::api::{ConnectionPool, Keepalive};
use agent::compile::{Action, Policy, Program};
use agent::dataplane::LoadOptions;
use agent_common::abi::{TCP, UDP};
use anyhow::Result;
use tests::client::Outcome;
use tests::lab::{self, ECONNREFUSED, Lab, limits};
use tests::programs::{add, at, balance_by, frontend, key, service, under};
use tests::sockets::{Request, Server, Setting, SocketOption, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:80";
const FIRST: &str = "10.9.0.1:8080";
const SECOND: &str = "10.9.0.2:8080";

fn at_most(connections: u32) -> Policy {
    policy(ConnectionPool {
        max_connections: Some(connections),
        ..ConnectionPool::default()
    })
}

fn policy(connection_pool: ConnectionPool) -> Policy {
    Policy {
        connection_pool,
        ..Policy::default()
    }
}

fn program(policy: Policy) -> Program {
    let mut program = Program::default();
    let endpoints = [(at(FIRST), 1), (at(SECOND), 1)];
    balance_by(&mut program, policy, frontend(at(VIP), TCP), &endpoints);
    program
}

fn serve(lab: &mut Lab) -> Result<()> {
    serve_by(lab, Server::Tell(Transport::Tcp))
}

fn serve_by(lab: &mut Lab, server: Server) -> Result<()> {
    lab.add_addresses(&[FIRST, SECOND])?;
    lab.serve(FIRST, server)?;
    lab.serve(SECOND, server)
}

fn connect(lab: &mut Lab) -> Result<Outcome> {
    lab.client.connect(Transport::Tcp, at(VIP))
}

fn refused() -> Outcome {
    Outcome::Failed(lab::refusal(ECONNREFUSED))
}

/// What was refused in all, and of the one service: they are the same.
fn overflows(lab: &Lab) -> u64 {
    let counts = lab.dataplane.counts();
    let denied = counts.services.values().map(|service| service.denied).sum();
    assert_eq!(counts.overflows, denied);
    denied
}

/// With and without `sock_ops`, and with records at the sockets.
fn everywhere(check: impl Fn(&mut Lab) -> Result<()>) -> Result<()> {
    for (sock_ops, flows_at_sockets) in [(false, false), (true, false), (false, true)] {
        let options = LoadOptions {
            limits: limits(),
            sock_ops: sock_ops && lab::has_compare_and_swap(),
            flows_at_sockets,
            ..LoadOptions::default()
        };
        let Some(mut lab) = Lab::with(CLIENT, &options)? else {
            return Ok(());
        };
        check(&mut lab)?;
        lab.expect_nothing_open();
    }
    Ok(())
}

#[test]
fn one_connection_more_than_there_may_be_is_refused_until_another_is_closed() -> Result<()> {
    everywhere(|lab| {
        lab.apply(&program(at_most(2)));
        serve(lab)?;
        let sockets = [connect(lab)?.socket(), connect(lab)?.socket()];
        assert_eq!((connect(lab)?, connect(lab)?), (refused(), refused()));
        assert_eq!((lab.open(), overflows(lab)), (2, 2));

        lab.client.order(&Request::Close(sockets[0]))?;
        lab.expect_open(1);
        let third = connect(lab)?.socket();
        assert_eq!(connect(lab)?, refused());
        for socket in [sockets[1], third] {
            lab.client.order(&Request::Close(socket))?;
        }
        Ok(())
    })
}

#[test]
fn a_socket_that_connects_once_more_has_its_place_already() -> Result<()> {
    everywhere(|lab| {
        lab.apply(&program(at_most(1)));
        // Nobody listens: each connect fails at its endpoint.
        lab.add_addresses(&[FIRST, SECOND])?;
        let socket = lab.client.open(Transport::Tcp, false)?;
        for _ in 0..3 {
            lab.client.connect_socket(socket, Transport::Tcp, at(VIP))?;
        }
        assert_eq!(overflows(lab), 0);
        lab.client.order(&Request::Close(socket))
    })
}

#[test]
fn a_service_that_keeps_addresses_has_its_limit_too() -> Result<()> {
    everywhere(|lab| {
        let mut original = service(Action::Original { port: None }, Vec::new());
        under(std::sync::Arc::make_mut(&mut original), at_most(1));
        let mut program = Program::default();
        let key = key("a.test", 8080, TCP);
        add(&mut program, &key, original, &[frontend(at(FIRST), TCP)]);
        lab.apply(&program);
        serve(lab)?;
        let socket = lab.client.connect(Transport::Tcp, at(FIRST))?.socket();
        assert_eq!(lab.client.connect(Transport::Tcp, at(FIRST))?, refused());
        assert_eq!(overflows(lab), 1);
        lab.client.order(&Request::Close(socket))?;
        lab.expect_open(0);
        let socket = lab.client.connect(Transport::Tcp, at(FIRST))?.socket();
        lab.client.order(&Request::Close(socket))
    })
}

#[test]
fn a_limit_that_goes_lets_everyone_in_and_leaves_no_count() -> Result<()> {
    everywhere(|lab| {
        serve(lab)?;
        lab.apply(&program(at_most(1)));
        let mut sockets = vec![connect(lab)?.socket()];
        lab.apply(&program(Policy::default()));
        sockets.push(connect(lab)?.socket());
        for socket in sockets {
            lab.client.order(&Request::Close(socket))?;
        }
        lab.expect_open(0);
        lab.apply(&program(at_most(1)));
        let socket = connect(lab)?.socket();
        lab.client.order(&Request::Close(socket))
    })
}

#[test]
fn a_limit_of_connections_is_none_of_datagrams() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut program = Program::default();
    let endpoints = [(at(FIRST), 1)];
    balance_by(&mut program, at_most(1), frontend(at(VIP), UDP), &endpoints);
    lab.apply(&program);
    lab.add_addresses(&[FIRST])?;
    for _ in 0..3 {
        lab.client.connect(Transport::Udp, at(VIP))?.socket();
    }
    assert_eq!(overflows(&lab), 0);
    Ok(())
}

/// Whether a program can learn that an application has set no user timeout (Linux 6.1, as it can set an errno).
fn can_tell_user_timeout() -> bool {
    agent::dataplane::Dataplane::can_set_errno()
}

#[test]
fn a_socket_is_set_to_what_its_service_wants() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    lab.apply(&program(policy(ConnectionPool {
        connect_timeout: Some(Duration::from_secs(7)),
        keepalive: Some(Keepalive {
            probes: Some(3),
            time: Some(Duration::from_secs(77)),
            interval: None,
        }),
        ..ConnectionPool::default()
    })));
    serve(&mut lab)?;
    let plain = lab.client.connect(Transport::Tcp, at(FIRST))?.socket();
    let option = |lab: &mut Lab, socket, option| lab.client.option(socket, option);
    let interval = option(&mut lab, plain, SocketOption::KeepaliveInterval)?;
    assert_eq!(option(&mut lab, plain, SocketOption::Keepalive)?, 0);

    let socket = connect(&mut lab)?.socket();
    for (name, expected) in [
        (SocketOption::Keepalive, 1),
        (SocketOption::KeepaliveTime, 77),
        (SocketOption::KeepaliveInterval, interval),
        (SocketOption::KeepaliveProbes, 3),
    ] {
        assert_eq!(option(&mut lab, socket, name)?, expected, "{name:?}");
    }
    Ok(())
}

#[test]
fn an_mptcp_socket_connects_whatever_its_service_wants() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)?.filter(|_| lab::has_mptcp()) else {
        return Ok(());
    };
    lab.apply(&program(policy(ConnectionPool {
        connect_timeout: Some(Duration::from_secs(7)),
        keepalive: Some(Keepalive::default()),
        ..ConnectionPool::default()
    })));
    serve(&mut lab)?;
    lab.client.connect(Transport::Mptcp, at(VIP))?.socket();
    Ok(())
}

/// A service whose connects are given up after 400 ms; `None` where that cannot be.
fn hasty(is_following: bool) -> Result<Option<Lab>> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(None);
    };
    if !can_tell_user_timeout() {
        lab::skip("bpf_getsockopt does not tell TCP_USER_TIMEOUT");
        return Ok(None);
    }
    lab.apply(&program(policy(ConnectionPool {
        connect_timeout: Some(Duration::from_millis(400)),
        ..ConnectionPool::default()
    })));
    lab.dataplane.follow(is_following)?;
    Ok(Some(lab))
}

/// A socket that was set so, and then told to connect.
fn connecting(lab: &mut Lab, setting: Setting) -> Result<u32> {
    let socket = lab.client.open(Transport::Tcp, false)?;
    lab.client.order(&Request::Set { socket, setting })?;
    lab.client.connect_socket(socket, Transport::Tcp, at(VIP))?;
    Ok(socket)
}

fn user_timeout(lab: &mut Lab, socket: u32) -> Result<i32> {
    lab.client.option(socket, SocketOption::UserTimeout)
}

#[test]
fn a_connection_that_stands_keeps_no_timeout_of_its_connect() -> Result<()> {
    let Some(mut lab) = hasty(true)? else {
        return Ok(());
    };
    serve(&mut lab)?;
    let socket = connect(&mut lab)?.socket();
    assert_eq!(user_timeout(&mut lab, socket)?, 0);

    let own = connecting(&mut lab, Setting::UserTimeout(1234))?;
    assert_eq!(user_timeout(&mut lab, own)?, 1234);
    Ok(())
}

#[test]
fn where_connects_are_not_followed_none_is_given_a_timeout() -> Result<()> {
    let Some(mut lab) = hasty(false)? else {
        return Ok(());
    };
    serve_by(&mut lab, Server::Silent)?;
    let socket = connecting(&mut lab, Setting::NonBlocking)?;
    assert_eq!(user_timeout(&mut lab, socket)?, 0);
    Ok(())
}

#[test]
fn a_connect_that_nobody_answers_is_given_up_in_time() -> Result<()> {
    let Some(mut lab) = hasty(true)? else {
        return Ok(());
    };
    serve_by(&mut lab, Server::Silent)?;
    let start = Instant::now();
    assert_eq!(connect(&mut lab)?, Outcome::Failed(libc::ETIMEDOUT));
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");

    let socket = connecting(&mut lab, Setting::NonBlocking)?;
    assert_eq!(user_timeout(&mut lab, socket)?, 400);
    let deadline = Instant::now() + Duration::from_secs(30);
    while user_timeout(&mut lab, socket)? != 0 {
        assert!(
            Instant::now() < deadline,
            "the timeout outlives its connect"
        );
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
