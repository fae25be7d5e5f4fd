//! The running kernel: whose hooks a socket is under. The cgroup decides in which it was made, wherever it or its makers
//! have gone since.

use anyhow::Result;
use tempfile::TempDir;
use tests::cgroup::TemporaryCgroup;
use tests::client::{Client, Outcome};
use tests::lab::{self, ENETUNREACH, Lab};
use tests::programs::at;
use tests::sockets::{Request, Server, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:80";
const ENDPOINT: &str = "10.9.0.1:8080";
const SERVICES: [(&str, Transport, &str); 1] = [(VIP, Transport::Tcp, ENDPOINT)];

/// A cgroup without the programs, which must outlive who is in it, and a laboratory.
fn cgroup_and_lab() -> Result<Option<(TemporaryCgroup, Lab)>> {
    if !lab::can_run() {
        return Ok(None);
    }
    let outside = TemporaryCgroup::new()?;
    let lab = Lab::serving(CLIENT, &SERVICES)?;
    Ok(lab.map(|lab| (outside, lab)))
}

/// Passes a socket to another process.
fn pass(from: &mut Client, socket: u32, to: &mut Client) -> Result<u32> {
    let directory = TempDir::new()?;
    let mailbox = directory.path().join("mailbox");
    to.order(&Request::OpenMailbox(mailbox.clone()))?;
    from.order(&Request::Pass { socket, mailbox })?;
    let received = to.next_socket();
    to.order(&Request::Receive(received))?;
    Ok(received)
}

#[test]
fn a_socket_that_is_passed_out_of_the_cgroup_is_still_redirected() -> Result<()> {
    let Some((outside, mut lab)) = cgroup_and_lab()? else {
        return Ok(());
    };
    let mut stranger = Client::start(CLIENT, outside.path())?;
    let socket = lab.client.open(Transport::Tcp, false)?;
    let received = pass(&mut lab.client, socket, &mut stranger)?;

    stranger.reconnect(received, VIP)?;

    stranger.expect_connected(received, VIP, ENDPOINT)?;
    lab.client.expect_connected(socket, VIP, ENDPOINT)?;
    // Nobody has closed it as long as one of them has not.
    lab.client.close(socket)?;
    lab.expect_open(1);
    stranger.expect_connected(received, VIP, ENDPOINT)?;
    stranger.close(received)?;
    lab.expect_no_records();
    Ok(())
}

#[test]
fn a_socket_that_is_passed_into_the_cgroup_is_left_alone() -> Result<()> {
    let Some((outside, mut lab)) = cgroup_and_lab()? else {
        return Ok(());
    };
    let mut stranger = Client::start(CLIENT, outside.path())?;
    let socket = stranger.open(Transport::Tcp, false)?;
    let received = pass(&mut stranger, socket, &mut lab.client)?;

    // In the network namespace of the socket too, rather than that of its new owner, there is no such address.
    let outcome = lab.client.reconnect(received, VIP)?;
    assert_eq!(outcome, Outcome::Failed(ENETUNREACH));

    stranger.order(&Request::AddAddresses(vec![at(VIP).ip()]))?;
    stranger.order(&Request::Serve {
        at: at(VIP),
        server: Server::Tell(Transport::Tcp),
    })?;
    lab.client.reconnect(received, VIP)?;
    lab.client.expect_connected(received, VIP, VIP)?;
    lab.expect_no_records();
    Ok(())
}

#[test]
fn a_connection_that_is_passed_on_shows_what_was_asked_for() -> Result<()> {
    let Some((outside, mut lab)) = cgroup_and_lab()? else {
        return Ok(());
    };
    let mut stranger = Client::start(CLIENT, outside.path())?;
    let socket = lab.client.connect(Transport::Tcp, at(VIP))?.socket();
    let received = pass(&mut lab.client, socket, &mut stranger)?;
    lab.client.close(socket)?;
    stranger.expect_connected(received, VIP, ENDPOINT)?;
    lab.expect_open(1);
    stranger.close(received)?;
    lab.expect_no_records();
    Ok(())
}

#[test]
fn a_socket_keeps_the_cgroup_that_its_process_leaves() -> Result<()> {
    let Some((outside, mut lab)) = cgroup_and_lab()? else {
        return Ok(());
    };
    let before = lab.client.open(Transport::Tcp, false)?;
    let connected = lab.client.connect(Transport::Tcp, at(VIP))?.socket();

    lab.client
        .order(&Request::JoinCgroup(outside.path().to_owned()))?;

    lab.client.expect_connected(connected, VIP, ENDPOINT)?;
    lab.client.reconnect(before, VIP)?;
    lab.client.expect_connected(before, VIP, ENDPOINT)?;
    let after = lab.client.connect(Transport::Tcp, at(VIP))?;
    assert_eq!(after, Outcome::Failed(ENETUNREACH));
    for socket in [connected, before] {
        lab.client.close(socket)?;
    }
    lab.expect_no_records();
    Ok(())
}

#[test]
fn a_socket_does_not_take_on_the_cgroup_that_its_process_enters() -> Result<()> {
    let Some((outside, mut lab)) = cgroup_and_lab()? else {
        return Ok(());
    };
    let inside = lab.cgroup.path().to_owned();
    lab.client
        .order(&Request::JoinCgroup(outside.path().to_owned()))?;
    let before = lab.client.open(Transport::Tcp, false)?;

    lab.client.order(&Request::JoinCgroup(inside))?;

    let outcome = lab.client.reconnect(before, VIP)?;
    assert_eq!(outcome, Outcome::Failed(ENETUNREACH));
    let after = lab.client.connect(Transport::Tcp, at(VIP))?.socket();
    lab.client.expect_connected(after, VIP, ENDPOINT)
}
