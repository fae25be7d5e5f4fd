//! How many connections are open at each endpoint, as the running kernel counts them: exact, whatever ends them. With the
//! states of connections followed (`sock_ops`) they count until they end, without until their sockets are closed.

use std::collections::BTreeSet;

use agent::compile::Program;
use agent::dataplane::LoadOptions;
use agent_common::abi::TCP;
use anyhow::Result;
use tests::client::Outcome;
use tests::lab::{self, ECONNREFUSED, Lab, limits};
use tests::programs::{at, balance, frontend, key};
use tests::sockets::{Request, Server, Setting, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// A service that tells who comes, one that resets, one that nobody listens at, one that takes no connection, and one that
/// drops every connection at once.
const TELLS: &str = "240.240.0.1:80";
const RESETS: &str = "240.240.0.2:80";
const REFUSES: &str = "240.240.0.3:80";
const IS_SILENT: &str = "240.240.0.4:80";
const CLOSES: &str = "240.240.0.5:80";

fn services(lab: &mut Lab) -> Result<()> {
    let endpoints = [
        (TELLS, "10.9.0.1:8080"),
        (RESETS, "10.9.0.2:8080"),
        (REFUSES, "10.9.0.3:8080"),
        (IS_SILENT, "10.9.0.4:8080"),
        (CLOSES, "10.9.0.5:8080"),
    ];
    let mut program = Program::default();
    for (vip, endpoint) in endpoints {
        balance(
            &mut program,
            vip,
            frontend(at(vip), TCP),
            &[(at(endpoint), 1)],
        );
    }
    lab.apply(&program);
    let addresses: BTreeSet<_> = endpoints.iter().map(|(_, to)| at(to).ip()).collect();
    let addresses = addresses.into_iter().collect();
    lab.client.order(&Request::AddAddresses(addresses))?;
    lab.serve("10.9.0.1:8080", Server::Tell(Transport::Tcp))?;
    lab.serve("10.9.0.2:8080", Server::Reset)?;
    lab.serve("10.9.0.4:8080", Server::Silent)?;
    lab.client.order(&Request::Listen(at("10.9.0.5:8080")))
}

/// Laboratories with these services: with and without `sock_ops`, and with records at the sockets.
fn check(check: impl Fn(&mut Lab, bool) -> Result<()>) -> Result<()> {
    for (sock_ops, flows_at_sockets) in [(false, false), (true, false), (false, true)] {
        let options = LoadOptions {
            limits: limits(),
            sock_ops,
            flows_at_sockets,
            ..LoadOptions::default()
        };
        if sock_ops && !lab::has_compare_and_swap() {
            lab::skip("this kernel has no compare-and-swap");
            continue;
        }
        let Some(mut lab) = Lab::with(CLIENT, &options)? else {
            return Ok(());
        };
        services(&mut lab)?;
        check(&mut lab, sock_ops)?;
        lab.expect_nothing_open();
    }
    Ok(())
}

/// A connection whose endpoint has let its client go on.
fn connected(lab: &mut Lab, vip: &str) -> Result<u32> {
    let socket = lab.client.open(Transport::Tcp, false)?;
    let outcome = lab.client.reconnect(socket, vip)?;
    assert!(
        matches!(outcome, Outcome::Connected { .. }),
        "{vip}: {outcome:?}"
    );
    Ok(socket)
}

#[test]
fn a_connection_counts_from_its_connect_until_its_socket_is_closed() -> Result<()> {
    check(|lab, _| {
        let sockets: Vec<u32> = (0..10)
            .map(|_| connected(lab, TELLS))
            .collect::<Result<_>>()?;
        for (closed, socket) in (0..).zip(sockets) {
            lab.expect_open(10 - closed);
            lab.client.close(socket)?;
        }
        lab.expect_open(0);
        Ok(())
    })
}

#[test]
fn a_connection_that_its_endpoint_refuses_or_resets_no_longer_counts_when_states_are_followed()
-> Result<()> {
    check(|lab, sock_ops| {
        let until_closed = |count| if sock_ops { 0 } else { count };
        let refused = lab.client.open(Transport::Tcp, false)?;
        let outcome = lab.client.reconnect(refused, REFUSES)?;
        assert_eq!(outcome, Outcome::Failed(ECONNREFUSED));
        lab.expect_open(until_closed(1));
        let reset = lab.client.open(Transport::Tcp, false)?;
        lab.client.ask(&Request::Connect {
            socket: reset,
            transport: Transport::Tcp,
            to: at(RESETS),
        })?;
        lab.expect_open(until_closed(2));
        lab.client.close(refused)?;
        lab.client.close(reset)?;
        lab.expect_open(0);
        Ok(())
    })
}

#[test]
fn what_becomes_of_a_connect_is_told_of_its_endpoint_when_states_are_followed() -> Result<()> {
    check(|lab, sock_ops| {
        let ends = |lab: &Lab, vip: &str, endpoint: &str| {
            let state = lab.dataplane.endpoint(&key(vip, 80, TCP), at(endpoint));
            state.map(|state| (state.succeeded, state.refused))
        };
        let before = ends(lab, TELLS, "10.9.0.1:8080");
        let kept = connected(lab, TELLS)?;
        let refused = lab.client.open(Transport::Tcp, false)?;
        lab.client.reconnect(refused, REFUSES)?;
        if sock_ops {
            assert_eq!(before, Some((0, 0)));
            assert_eq!(ends(lab, TELLS, "10.9.0.1:8080"), Some((1, 0)));
            assert_eq!(ends(lab, REFUSES, "10.9.0.3:8080"), Some((0, 1)));
        }
        assert_eq!(ends(lab, TELLS, "10.9.0.3:8080"), None, "it is none of it");
        lab.client.close(kept)?;
        lab.client.close(refused)
    })
}

#[test]
fn a_connection_that_is_given_up_no_longer_counts_when_it_is_closed() -> Result<()> {
    check(|lab, _| {
        let socket = lab.client.open(Transport::Tcp, false)?;
        lab.client.set(socket, Setting::SendTimeout(50))?;
        let outcome = lab.client.reconnect(socket, IS_SILENT)?;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        lab.client.close(socket)?;
        lab.expect_open(0);
        Ok(())
    })
}

#[test]
fn a_socket_that_is_sent_elsewhere_counts_there_alone() -> Result<()> {
    check(|lab, _| {
        let socket = lab.client.open(Transport::Tcp, false)?;
        lab.client.reconnect(socket, REFUSES)?;
        lab.client.reconnect(socket, TELLS)?;
        lab.expect_open(1);
        lab.client.order(&Request::Disconnect(socket))?;
        // To where no service of ours is.
        lab.client.reconnect(socket, "10.9.0.1:8080")?;
        lab.expect_open(0);
        lab.client.close(socket)
    })
}

#[test]
fn nothing_counts_after_many_short_connections() -> Result<()> {
    check(|lab, _| {
        let to = at(CLOSES);
        lab.client.spread(Transport::Tcp, to, 5_000)?;
        lab.expect_open(0);
        let counts = lab.dataplane.counts();
        assert_eq!((counts.flows_full, lab.records()), (0, 0));
        Ok(())
    })
}

#[test]
fn nothing_counts_after_a_client_was_killed_with_everything_open() -> Result<()> {
    check(|lab, _| {
        for _ in 0..50 {
            connected(lab, TELLS)?;
            let silent = lab.client.open(Transport::Tcp, false)?;
            lab.client.set(silent, Setting::NonBlocking)?;
            lab.client.reconnect(silent, IS_SILENT)?;
        }
        lab.expect_open(100);
        let client = lab.start_client(CLIENT)?;
        std::mem::replace(&mut lab.client, client).kill()?;
        lab.expect_open(0);
        Ok(())
    })
}

#[test]
fn an_endpoint_that_is_removed_keeps_its_count_until_its_last_connection_is_closed() -> Result<()> {
    check(|lab, _| {
        let socket = connected(lab, TELLS)?;
        let mut program = Program::default();
        let others = [(at("10.9.0.5:8080"), 1)];
        balance(&mut program, TELLS, frontend(at(TELLS), TCP), &others);
        lab.apply(&program);
        // A new endpoint is not given the id under which the old connection counts.
        let other = connected(lab, TELLS)?;
        lab.expect_open(2);
        lab.client.close(socket)?;
        lab.expect_open(1);
        lab.client.close(other)?;
        lab.expect_open(0);
        lab.apply(&program);
        Ok(())
    })
}
