//! The running kernel: where real sockets go.

use agent::compile::{Action, Program};
use agent_common::abi::{TCP, UDP};
use tests::client::Outcome;
use tests::lab::Lab;
use tests::programs::{add, at, balance, frontend, ip, key, service};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

#[test]
fn a_tcp_connect_is_rewritten_and_getpeername_shows_what_was_asked_for() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut program = Program::default();
    balance(
        &mut program,
        "a.test",
        frontend(at("240.240.0.1:80"), TCP),
        &[(at("10.9.0.1:8080"), 1)],
    );
    lab.apply(&program);
    lab.client
        .order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
    lab.client.order(&Request::Listen(at("10.9.0.1:8080")))?;

    let outcome = lab.client.connect(Transport::Tcp, at("240.240.0.1:80"))?;

    let Outcome::Connected { local, peer, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((local.ip(), peer), (ip("10.9.0.1"), at("240.240.0.1:80")));
    Ok(())
}
