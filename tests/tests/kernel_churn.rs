//! The running kernel: what is counted as open while many threads connect and close at once.

use std::thread;

use agent::api::{Algorithm, ConnectionPool};
use agent::compile::{Policy, Program};
use agent::dataplane::{Dataplane, LoadOptions};
use agent_common::abi::TCP;
use anyhow::Result;
use tests::lab::{self, ECONNREFUSED, Lab, limits};
use tests::programs::{at, balance_by, frontend};
use tests::sockets::{Churn, Churned, Request};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:80";
/// Of one service: who accepts every connection, and where nobody listens.
const ACCEPTS: &str = "10.9.0.1:8080";
const REFUSES: &str = "10.9.0.2:8080";

/// `maxConnections`.
const LIMIT: u32 = 16;

fn program() -> Program {
    let policy = Policy {
        algorithm: Algorithm::Random,
        connection_pool: ConnectionPool {
            max_connections: Some(LIMIT),
            ..ConnectionPool::default()
        },
        ..Policy::default()
    };
    let endpoints = [(at(ACCEPTS), 3), (at(REFUSES), 1)];
    let mut program = Program::default();
    balance_by(&mut program, policy, frontend(at(VIP), TCP), &endpoints);
    program
}

/// With and without `sock_ops`, and with records at the sockets.
fn everywhere(check: impl Fn(&mut Lab) -> Result<()>) -> Result<()> {
    for (sock_ops, flows_at_sockets) in [(false, false), (true, false), (false, true)] {
        if sock_ops && !lab::has_compare_and_swap() {
            lab::skip("this kernel has no compare-and-swap");
            continue;
        }
        let options = LoadOptions {
            limits: limits(),
            sock_ops,
            flows_at_sockets,
            ..LoadOptions::default()
        };
        let Some(mut lab) = Lab::with(CLIENT, &options)? else {
            return Ok(());
        };
        lab.apply(&program());
        lab.add_addresses(&[ACCEPTS, REFUSES])?;
        lab.client.order(&Request::Listen(at(ACCEPTS)))?;
        check(&mut lab)?;
        lab.expect_nothing_open();
    }
    Ok(())
}

/// The most that the kernel ever counted as open at the service or at one of its endpoints, as often as it could be asked.
fn churn(lab: &mut Lab, churn: Churn) -> Result<(Churned, u64)> {
    let (client, dataplane) = (&mut lab.client, &lab.dataplane);
    thread::scope(|scope| {
        let working = scope.spawn(move || client.churn(churn, at(VIP)));
        let mut most = 0;
        while !working.is_finished() {
            most = most.max(open(dataplane));
        }
        let churned = working.join().expect("asking a client does not panic")?;
        Ok((churned, most))
    })
}

fn open(dataplane: &Dataplane) -> u64 {
    let services = dataplane.counts().services;
    let of_endpoints = services
        .values()
        .flat_map(|service| service.endpoints.values().map(|endpoint| endpoint.open));
    let of_services = services.values().map(|service| service.open);
    of_endpoints.chain(of_services).max().unwrap_or(0)
}

/// Nothing is open, and every connect either went to an endpoint or was one too many.
fn expect_settled(lab: &Lab, churn: Churn, churned: &Churned) {
    lab.expect_no_records();
    assert_eq!(open(&lab.dataplane), 0);
    let counts = lab.dataplane.counts();
    assert_eq!(counts.flows_full, 0);
    let of_endpoint = |to: &str| {
        let place = (at(to).ip(), at(to).port());
        let mut services = counts.services.values();
        services.find_map(|service| service.endpoints.get(&place).map(|e| e.connects))
    };
    let accepted = u64::from(churned.connected);
    assert_eq!(of_endpoint(ACCEPTS), Some(accepted));
    let all = u64::from(churn.threads * churn.connects);
    let refused = of_endpoint(REFUSES).unwrap_or(0);
    assert_eq!(accepted + refused + counts.overflows, all);
    assert!(refused > 0 && counts.overflows > 0, "{counts:?}");
    let denied = lab::refusal(ECONNREFUSED);
    assert!(
        churned
            .failed
            .keys()
            .all(|e| [denied, ECONNREFUSED].contains(e)),
        "{churned:?}"
    );
}

#[test]
fn one_thread_never_has_more_connections_than_there_may_be() -> Result<()> {
    everywhere(|lab| {
        let order = Churn {
            threads: 1,
            connects: 1000,
            kept: 2 * LIMIT as usize,
        };
        let (churned, counted) = churn(lab, order)?;
        assert_eq!(churned.most, LIMIT);
        assert!(counted <= LIMIT.into(), "{counted}");
        expect_settled(lab, order, &churned);
        Ok(())
    })
}

/// Whoever connects while another does is let in by the same count, so that there may be as many more as there are others
/// that connect at once.
#[test]
fn counts_are_exact_after_many_threads_and_never_far_above_the_limit() -> Result<()> {
    everywhere(|lab| {
        let order = Churn {
            threads: 8,
            connects: 500,
            kept: 4,
        };
        let (churned, counted) = churn(lab, order)?;
        let most = LIMIT + order.threads - 1;
        println!(
            "of {LIMIT} there were {} at the most, and {counted} counted: {churned:?}",
            churned.most
        );
        assert!(churned.most <= most, "{churned:?}");
        assert!(counted <= most.into(), "{counted}");
        expect_settled(lab, order, &churned);
        Ok(())
    })
}
