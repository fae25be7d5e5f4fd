//! The running kernel: what stays after sockets are closed, and after the agent ends in one way or another.

use std::process::Command;

use agent::compile::Program;
use agent::dataplane::{self, Dataplane, LoadError, LoadOptions, checks};
use agent_common::abi::UDP;
use anyhow::Result;
use tests::bpffs::TemporaryBpffs;
use tests::cgroup::TemporaryCgroup;
use tests::client::{Client, Outcome};
use tests::lab::{self, ENETUNREACH, Lab};
use tests::programs::{at, balance, frontend, ip};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

fn program() -> Program {
    let mut program = Program::default();
    balance(
        &mut program,
        "a.test",
        frontend(at("240.240.0.1:53"), UDP),
        &[(at("10.9.0.1:53"), 1)],
    );
    program
}

/// How the data plane's neighbours see it.
fn attached(cgroup: &TemporaryCgroup) -> Option<String> {
    checks::machine(&[cgroup.path().to_owned()], cgroup.path())
        .into_iter()
        .find(|check| check.name == "neighbours")
        .map(|check| check.detail)
}

#[test]
fn a_record_ends_with_its_socket() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    lab.apply(&program());
    lab.client
        .order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
    let Outcome::Connected { socket, .. } =
        lab.client.connect(Transport::Udp, at("240.240.0.1:53"))?
    else {
        panic!("the connect failed");
    };
    let open = |lab: &Lab| -> u64 {
        let counts = lab.dataplane.counts();
        counts
            .services
            .values()
            .flat_map(|s| s.endpoints.values())
            .map(|e| e.open)
            .sum()
    };
    assert_eq!(open(&lab), 1);
    lab.client.order(&Request::Close(socket))?;
    assert_eq!(open(&lab), 0);
    Ok(())
}

#[test]
fn an_agent_that_ends_leaves_nothing_behind() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    lab.apply(&program());
    lab.client
        .order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
    let own = tests::cgroup::present()?;
    // Dropped in the reverse order: the client must have left the cgroup.
    let Lab {
        turn: _turn,
        cgroup,
        dataplane,
        mut client,
    } = lab;
    let ends_with = |end| attached(&cgroup).is_some_and(|detail| detail.ends_with(end));
    assert!(ends_with(": 9 programs of shunt, no other"));

    drop(dataplane);

    assert!(ends_with(": 0 programs of shunt, no other"));
    let outcome = client.connect(Transport::Udp, at("240.240.0.1:53"))?;
    assert_eq!(outcome, Outcome::Failed(ENETUNREACH));
    assert!(!own.exists(), "{}", own.display());
    Ok(())
}

#[test]
fn a_second_agent_on_the_same_pins_is_refused_and_told_by_whom() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let bpffs = TemporaryBpffs::new()?;
    let options = LoadOptions {
        limits: lab::limits(),
        bpf_dir: Some(bpffs.path().join("shunt")),
        ..LoadOptions::default()
    };
    let Some(lab) = Lab::with(CLIENT, &options)? else {
        return Ok(());
    };

    let Err(refusal) = Dataplane::load(&options) else {
        panic!("a second agent was let in");
    };

    assert!(
        matches!(&refusal, LoadError::InUse { pid, .. } if *pid == std::process::id().to_string()),
        "{refusal}"
    );
    drop(lab);
    assert!(!bpffs.path().join("shunt").exists());
    Ok(())
}

#[test]
fn a_killed_agent_stays_in_effect_until_cleanup() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let _turn = lab::turn();
    let bpffs = TemporaryBpffs::new()?;
    let pins = bpffs.path().join("shunt");
    let cgroup = TemporaryCgroup::new()?;
    let killed = Command::new(env!("CARGO_BIN_EXE_doomed-agent"))
        .arg(&pins)
        .arg(cgroup.path())
        .status()?;
    assert!(!killed.success());
    let mut client = Client::start(CLIENT, cgroup.path())?;
    client.order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
    let kept = client.connect(Transport::Udp, at("240.240.0.1:53"))?;
    assert!(matches!(kept, Outcome::Connected { local, .. } if local.ip() == ip("10.9.0.1")));

    let removed = dataplane::cleanup(&pins)?;

    assert!(
        removed.iter().any(|path| path.starts_with(&pins)),
        "{removed:?}"
    );
    let outcome = client.connect(Transport::Udp, at("240.240.0.1:53"))?;
    assert_eq!(outcome, Outcome::Failed(ENETUNREACH));
    assert!(!pins.exists());
    Ok(())
}

#[test]
fn the_object_with_traces_decides_alike() -> Result<()> {
    if !lab::has_compare_and_swap() {
        lab::skip("traces need compare-and-swap (Linux 5.12)");
        return Ok(());
    }
    let options = LoadOptions {
        limits: lab::limits(),
        trace: true,
        ..LoadOptions::default()
    };
    let Some(mut lab) = Lab::with(CLIENT, &options)? else {
        return Ok(());
    };
    lab.apply(&program());
    lab.client
        .order(&Request::AddAddresses(vec![ip("10.9.0.1")]))?;
    let reached = lab.client.spread(Transport::Udp, at("240.240.0.1:53"), 3)?;
    assert_eq!(reached.get(&ip("10.9.0.1")), Some(&3));
    lab.dataplane.flush_traces();
    Ok(())
}
