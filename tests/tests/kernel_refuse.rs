//! The running kernel: connects that are failed, and those that are none of our business.

use agent::compile::{Action, Program, RefuseReason};
use agent_common::abi::TCP;
use anyhow::Result;
use tests::client::Outcome;
use tests::lab::{self, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, Lab};
use tests::programs::{add, at, balance, frontend, ip, key, service};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

#[test]
fn a_port_that_a_vip_does_not_declare_is_refused_and_counted() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    lab.apply(&Program::default());
    for to in [
        "240.240.0.1:81",
        "[2001:2::1]:81",
        "[::ffff:240.240.0.1]:81",
    ] {
        let outcome = lab.client.connect(Transport::Tcp, at(to))?;
        assert_eq!(outcome, Outcome::Failed(lab::refusal(ECONNREFUSED)), "{to}");
    }
    assert_eq!(lab.dataplane.counts().port_not_declared, 3);
    Ok(())
}

#[test]
fn a_service_without_endpoints_and_one_that_cannot_be_carried_out_are_unreachable() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut program = Program::default();
    balance(
        &mut program,
        "empty",
        frontend(at("240.240.0.1:80"), TCP),
        &[],
    );
    let refused = service(Action::Refuse(RefuseReason::TlsOrigination), Vec::new());
    add(
        &mut program,
        &key("tls", 80, TCP),
        refused,
        &[frontend(at("240.240.0.2:80"), TCP)],
    );
    lab.apply(&program);
    for to in ["240.240.0.1:80", "240.240.0.2:80"] {
        let outcome = lab.client.connect(Transport::Tcp, at(to))?;
        assert_eq!(outcome, Outcome::Failed(lab::refusal(EHOSTUNREACH)), "{to}");
    }
    let counts = lab.dataplane.counts();
    assert!(
        counts.services.values().all(|service| service.denied == 1),
        "{counts:?}"
    );
    Ok(())
}

#[test]
fn what_is_not_ours_goes_where_it_was_going() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    lab.apply(&Program::default());
    lab.client
        .order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
    lab.client.order(&Request::Listen(at("10.9.0.1:80")))?;
    let outcome = lab.client.connect(Transport::Tcp, at("10.9.0.1:80"))?;
    assert!(matches!(outcome, Outcome::Connected { peer, .. } if peer == at("10.9.0.1:80")));
    let unreachable = lab.client.connect(Transport::Tcp, at("203.0.113.1:80"))?;
    assert_eq!(unreachable, Outcome::Failed(ENETUNREACH));
    assert_eq!(lab.dataplane.tables().flows().count(), 0);
    Ok(())
}

#[test]
fn the_agents_own_connects_are_exempt() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    // As with an agent that is attached to the whole machine, itself included.
    lab.dataplane.attach(&[tests::cgroup::present()?])?;
    lab.apply(&Program::default());
    let socket = lab.client.open_udp(false)?;
    let to = at("240.240.0.1:81");
    let hooked = lab.client.connect_socket(socket, Transport::Udp, to)?;
    assert_eq!(hooked, Outcome::Failed(lab::refusal(ECONNREFUSED)));

    // The socket stays with the cgroup that it was made in, so that the hook still runs.
    lab.client
        .order(&Request::JoinCgroup(tests::cgroup::present()?))?;
    let exempt = lab.client.connect_socket(socket, Transport::Udp, to)?;
    assert_eq!(exempt, Outcome::Failed(ENETUNREACH));
    Ok(())
}
