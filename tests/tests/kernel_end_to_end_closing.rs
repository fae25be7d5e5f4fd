//! The real agent on the real kernel: what becomes of open sockets when files change.

use std::fs;
use std::time::{Duration, Instant};

use agent::observe::view::ClosedView;
use agent::observe::{Request as Question, Response, ask};
use agent::settings::CloseRemoved;
use anyhow::{Result, bail, ensure};
use tests::both::{FIRST, SECOND, TCP_VIP, UDP_VIP, node, write};
use tests::lab;
use tests::node::{Node, PORT};
use tests::programs::at;
use tests::sockets::Transport;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// What the client has open: sockets that the object below sent to the endpoint of its first line.
struct Open {
    udp: u32,
    tcp: u32,
    unconnected: u32,
}

/// The node, its agent, and what is open.
fn start(close_removed: CloseRemoved) -> Result<Option<(Node, Open)>> {
    let Some(mut node) = node(CLIENT)? else {
        return Ok(None);
    };
    if !lab::can_close() {
        return Ok(None);
    }
    node.start_with(close_removed)?;
    let udp = node.client.connect(Transport::Udp, at(UDP_VIP))?.socket();
    let tcp = node.client.connect(Transport::Tcp, at(TCP_VIP))?.socket();
    let unconnected = node.client.open_udp(false)?;
    node.client
        .exchange(unconnected, UDP_VIP)?
        .expect("it is sent");
    let open = Open {
        udp,
        tcp,
        unconnected,
    };
    Ok(Some((node, open)))
}

fn closed(node: &Node) -> Result<ClosedView> {
    match ask(&node.socket(), &Question::Status)? {
        Response::Status(view) => Ok(view.closed),
        other => bail!("{other:?}"),
    }
}

/// Waits until the agent says that it has closed so many.
fn wait_for(node: &Node, expected: ClosedView) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while closed(node)? != expected {
        ensure!(Instant::now() < deadline, "{:?}", closed(node)?);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Moves the endpoint, and then back: what is not closed by the second update was not by the first.
fn move_endpoint(node: &mut Node) -> Result<()> {
    for address in [SECOND, FIRST, SECOND] {
        write(node, address)?;
        let to: std::net::IpAddr = address.parse()?;
        node.wait_until("the endpoint has moved", |state| {
            tests::node::endpoints(state, "both.test") == [to].into()
        })?;
    }
    Ok(())
}

#[test]
fn connected_udp_sockets_end_with_their_endpoint_by_default() -> Result<()> {
    let Some((mut node, open)) = start(CloseRemoved::default())? else {
        return Ok(());
    };
    write(&node, SECOND)?;
    wait_for(&node, ClosedView { udp: 1, tcp: 0 })?;
    assert_eq!(
        node.client.pending_error(open.udp)?,
        Some(libc::ECONNABORTED)
    );
    // What the client connects anew is at the other endpoint, and lives.
    node.client.reconnect(open.udp, UDP_VIP)?;
    let stays = format!("{SECOND}:{PORT}");
    node.client.expect_connected(open.udp, UDP_VIP, &stays)?;
    assert_eq!(node.client.pending_error(open.tcp)?, None);
    assert_eq!(node.client.peer(open.tcp)?, at(TCP_VIP));
    let exchange = node.client.exchange(open.unconnected, UDP_VIP)?;
    assert_eq!(exchange.expect("it is sent").told.server, at(&stays));

    // The service goes altogether, and with it its endpoint.
    fs::remove_file(node.config_dir().join("a.yaml"))?;
    wait_for(&node, ClosedView { udp: 2, tcp: 0 })?;
    assert_eq!(
        node.client.pending_error(open.udp)?,
        Some(libc::ECONNABORTED)
    );
    assert_eq!(node.client.pending_error(open.tcp)?, None);
    Ok(())
}

#[test]
fn tcp_connections_end_with_their_endpoint_where_all_are_to() -> Result<()> {
    let Some((mut node, open)) = start(CloseRemoved::All)? else {
        return Ok(());
    };
    write(&node, SECOND)?;
    wait_for(&node, ClosedView { udp: 1, tcp: 1 })?;
    for socket in [open.udp, open.tcp] {
        let error = node.client.pending_error(socket)?;
        assert_eq!(error, Some(libc::ECONNABORTED));
    }
    assert_eq!(node.client.pending_error(open.unconnected)?, None);
    Ok(())
}

#[test]
fn nothing_ends_with_its_endpoint_where_nothing_is_to() -> Result<()> {
    let Some((mut node, open)) = start(CloseRemoved::None)? else {
        return Ok(());
    };
    move_endpoint(&mut node)?;
    for socket in [open.udp, open.tcp, open.unconnected] {
        assert_eq!(node.client.pending_error(socket)?, None);
    }
    assert_eq!(closed(&node)?, ClosedView::default());
    Ok(())
}

#[test]
fn no_socket_ends_with_the_agent() -> Result<()> {
    let Some((mut node, open)) = start(CloseRemoved::All)? else {
        return Ok(());
    };
    node.stop()?;
    for socket in [open.udp, open.tcp, open.unconnected] {
        assert_eq!(node.client.pending_error(socket)?, None);
    }
    let told = node.client.told(open.udp)?;
    assert_eq!(told.server, at(&format!("{FIRST}:{PORT}")));
    Ok(())
}
