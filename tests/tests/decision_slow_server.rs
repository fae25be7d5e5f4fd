//! The running kernel: `LEAST_REQUEST` spares a server whose connections last, and RANDOM does not.

use std::collections::VecDeque;

use agent::api::Algorithm;
use agent::compile::{Policy, Program};
use agent_common::abi::TCP;
use anyhow::Result;
use tests::lab::Lab;
use tests::programs::{at, balance_by, frontend};
use tests::sockets::{Server, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:80";
const ENDPOINTS: [&str; 5] = [
    "10.9.0.1:8080",
    "10.9.0.2:8080",
    "10.9.0.3:8080",
    "10.9.0.4:8080",
    "10.9.0.5:8080",
];
const SLOW: &str = ENDPOINTS[0];

const CONNECTS: u32 = 1000;
/// After so many further connects a connection to the slow server ends; others end before the next connect.
const DURATION: u32 = 20;

fn program(algorithm: Algorithm) -> Program {
    let policy = Policy {
        algorithm,
        ..Policy::default()
    };
    let mut program = Program::default();
    let endpoints = ENDPOINTS.map(|to| (at(to), 1));
    balance_by(&mut program, policy, frontend(at(VIP), TCP), &endpoints);
    program
}

/// How many of the connects the slow server gets.
fn slow_connects(lab: &mut Lab, algorithm: Algorithm) -> Result<u32> {
    lab.apply(&program(algorithm));
    let mut count = 0;
    let mut held = VecDeque::new();
    for number in 0..CONNECTS {
        while let Some((socket, _)) = held.pop_front_if(|(_, until)| *until == number) {
            lab.client.close(socket)?;
        }
        let socket = lab.client.connect(Transport::Tcp, at(VIP))?.socket();
        if lab.client.local(socket)?.ip() == at(SLOW).ip() {
            held.push_back((socket, number + DURATION));
            count += 1;
        } else {
            lab.client.close(socket)?;
        }
    }
    for (socket, _) in held {
        lab.client.close(socket)?;
    }
    lab.expect_no_records();
    Ok(count)
}

/// RANDOM gives it a fifth: 200, with a standard deviation of 12.6.
///
/// `LEAST_REQUEST` draws two and takes the one with fewer connections. While the slow server has none, it is equal to the
/// others and gets a fifth: its turn comes after 5 connects on the average. Then it has some for B connects, at least 20, and
/// gets only those for which both draws are of it: one of 25. So it gets 1 + B/25 of 5 + B, which is the most where B is 20:
/// 72 of 1000, with a standard deviation below 8.5.
///
/// The bounds are 5 standard deviations away.
#[test]
fn least_request_spares_a_slow_server_that_random_does_not() -> Result<()> {
    Lab::with_records_anywhere(CLIENT, |lab| {
        lab.add_addresses(&ENDPOINTS)?;
        for endpoint in ENDPOINTS {
            lab.serve(endpoint, Server::Tell(Transport::Tcp))?;
        }
        let random = slow_connects(lab, Algorithm::Random)?;
        let least = slow_connects(lab, Algorithm::LeastRequest)?;
        println!(
            "of {CONNECTS} connects the slow server gets {random} at random, {least} by LEAST_REQUEST"
        );
        assert!((137..=263).contains(&random), "{random}");
        // It is not starved: whenever it has no connection it has its turn like others.
        assert!((10..115).contains(&least), "{least}");
        Ok(())
    })
}
