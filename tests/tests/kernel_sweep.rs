//! The running kernel: a socket whose end no program saw counts no more once the agent has looked for it, and every other does.

use std::thread;
use std::time::{Duration, Instant};

use agent::compile::Program;
use agent::dataplane::{Deviation, Drift, Part, Pass};
use agent_common::abi::FLOW_PROBES;
use anyhow::Result;
use tests::bpf;
use tests::lab::{self, Lab};
use tests::programs::{at, services};
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// What clients ask for, how, and where they get.
const SERVICES: [(&str, Transport, &str); 4] = [
    ("240.240.0.1:80", Transport::Tcp, "10.9.0.1:8080"),
    ("240.240.0.1:53", Transport::Udp, "10.9.0.1:5353"),
    ("240.240.0.2:53", Transport::Udp, "10.9.0.2:5353"),
    ("240.240.0.3:53", Transport::Udp, "10.9.0.3:5353"),
];

/// Looks for sockets that are no more. Returns what was found, and how many records there were.
fn sweep(lab: &mut Lab, program: &Program) -> (Vec<Drift>, usize) {
    let mut pass = Pass::default();
    while !pass.is_done() {
        lab.dataplane.look(&mut pass);
    }
    let (survey, _) = lab.dataplane.mend(pass, program);
    (survey.found, survey.compared[&Part::Flows])
}

fn connect(lab: &mut Lab, (vip, transport, _): (&str, Transport, &str)) -> Result<u32> {
    Ok(lab.client.connect(transport, at(vip))?.socket())
}

/// A connection, a connected socket of UDP, and one that is not and talks to three.
fn sockets(lab: &mut Lab) -> Result<[u32; 3]> {
    let connected = [connect(lab, SERVICES[0])?, connect(lab, SERVICES[1])?];
    let unconnected = lab.client.open_udp(false)?;
    for (vip, _, endpoint) in &SERVICES[1..] {
        assert_eq!(lab.client.reach(unconnected, vip)?, at(endpoint));
    }
    // The lines after that one's own are not those of the next sockets, which would find none.
    for _ in 0..FLOW_PROBES {
        let socket = connect(lab, SERVICES[0])?;
        lab.client.close(socket)?;
    }
    Ok([connected[0], connected[1], unconnected])
}

/// Records of [`sockets`].
const RECORDS: usize = 5;

#[test]
fn sockets_whose_end_no_program_saw_count_no_more_once_they_were_looked_for() -> Result<()> {
    if !lab::has_compare_and_swap() {
        lab::skip("this kernel keeps records at the sockets themselves");
        return Ok(());
    }
    let Some(mut lab) = Lab::serving(CLIENT, &SERVICES)? else {
        return Ok(());
    };
    let program = services(&SERVICES);
    let kept = sockets(&mut lab)?;
    let ended = sockets(&mut lab)?;
    lab.expect_open(2 * RECORDS as u64);
    assert_eq!(sweep(&mut lab, &program), (Vec::new(), 2 * RECORDS));

    bpf::detach_own_links()?;
    for socket in ended {
        lab.client.close(socket)?;
    }
    lab.dataplane.look_after_programs();
    lab.expect_open(2 * RECORDS as u64);

    // The kernel lets go of a socket a moment after it was closed.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut found = Vec::new();
    while lab.records() > RECORDS {
        assert!(Instant::now() < deadline, "{} are left", lab.records());
        found.extend(sweep(&mut lab, &program).0);
        thread::yield_now();
    }
    assert_ne!(found, []);
    for drift in found {
        assert_eq!(
            (drift.part, drift.deviation),
            (Part::Flows, Deviation::Foreign)
        );
        assert_eq!(drift.failure, None);
    }
    lab.expect_open(RECORDS as u64);
    assert_eq!(sweep(&mut lab, &program), (Vec::new(), RECORDS));
    assert_eq!(lab.client.peer(kept[0])?, at(SERVICES[0].0));
    assert_eq!(lab.client.peer(kept[1])?, at(SERVICES[1].0));
    for (vip, _, endpoint) in &SERVICES[1..] {
        assert_eq!(lab.client.reach(kept[2], vip)?, at(endpoint));
    }
    for socket in kept {
        lab.client.close(socket)?;
    }
    lab.expect_no_records();
    lab.expect_nothing_open();
    Ok(())
}
