//! The running kernel: whether connects are spread as the shares say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent::compile::Program;
use agent_common::abi::TCP;
use anyhow::Result;
use tests::lab::Lab;
use tests::programs::{at, balance, frontend, ip};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const CONNECTS: u32 = 20_000;

/// The 1 - 10⁻⁶ quantile of the chi-squared distribution with 4 degrees of freedom.
const CRITICAL: f64 = 33.38;

#[test]
fn twenty_thousand_connects_are_spread_by_weight() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let shares: [u32; 5] = [1, 2, 3, 5, 89];
    let endpoints: Vec<_> = (1..)
        .zip(shares)
        .map(|(i, share)| (at(&format!("10.9.0.{i}:8080")), u64::from(share)))
        .collect();
    let mut program = Program::default();
    balance(
        &mut program,
        "a.test",
        frontend(at("240.240.0.1:80"), TCP),
        &endpoints,
    );
    lab.apply(&program);
    lab.client.order(&Request::AddAddresses(
        endpoints.iter().map(|(to, _)| to.ip()).collect(),
    ))?;
    for (to, _) in &endpoints {
        lab.client.order(&Request::Listen(*to))?;
    }

    let reached = lab
        .client
        .spread(Transport::Tcp, at("240.240.0.1:80"), CONNECTS)?;

    let addresses = endpoints.iter().map(|(to, _)| to.ip());
    let statistic = chi_squared(&reached, &addresses.zip(shares).collect());
    assert!(statistic < CRITICAL, "chi-squared {statistic}: {reached:?}");
    let counts = lab.dataplane.counts();
    let service = counts.services.values().next().expect("one service");
    let counted: BTreeMap<IpAddr, u64> = service
        .endpoints
        .iter()
        .map(|((address, _), counts)| (*address, counts.connects))
        .collect();
    assert_eq!(
        counted,
        reached
            .into_iter()
            .map(|(address, n)| (address, u64::from(n)))
            .collect()
    );
    assert_eq!(service.connects, u64::from(CONNECTS));
    Ok(())
}

#[test]
fn an_endpoint_without_a_share_gets_nothing() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut program = Program::default();
    let endpoints = [(at("10.9.0.1:53"), 0), (at("10.9.0.2:53"), 7)];
    balance(
        &mut program,
        "a.test",
        frontend(at("240.240.0.1:53"), agent_common::abi::UDP),
        &endpoints,
    );
    lab.apply(&program);
    lab.client
        .order(&Request::AddAddresses(vec![ip("10.9.0.1"), ip("10.9.0.2")]))?;
    let reached = lab
        .client
        .spread(Transport::Udp, at("240.240.0.1:53"), 500)?;
    assert_eq!(reached, BTreeMap::from([(ip("10.9.0.2"), 500)]));
    Ok(())
}

fn chi_squared(reached: &BTreeMap<IpAddr, u32>, shares: &BTreeMap<IpAddr, u32>) -> f64 {
    let total: u32 = shares.values().sum();
    let parts = shares.iter().map(|(address, share)| {
        let observed = f64::from(reached.get(address).copied().unwrap_or_default());
        let expected = f64::from(CONNECTS) * f64::from(*share) / f64::from(total);
        (observed - expected).powi(2) / expected
    });
    parts.sum()
}
