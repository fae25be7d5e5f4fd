//! The running kernel: sockets that fare in every way, at once. Each counts until it is closed, and nothing is left of any
//! when the last is, nor when their process is killed.

use anyhow::Result;
use tests::lab::Lab;
use tests::programs;
use tests::sockets::{Request, Server, Setting, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const TELLS: &str = "240.240.0.1:80";
const TELLS_V6: &str = "[2001:2::1]:80";
const TELLS_UDP: &str = "240.240.0.1:53";
const RESETS: &str = "240.240.0.2:80";
const REFUSES: &str = "240.240.0.3:80";
const IS_SILENT: &str = "240.240.0.4:80";
const UNROUTABLE: &str = "240.240.0.5:80";

const SERVICES: [(&str, Transport, &str); 7] = [
    (TELLS, Transport::Tcp, "10.9.0.1:8080"),
    (TELLS_V6, Transport::Tcp, "[fd00::1]:8080"),
    (TELLS_UDP, Transport::Udp, "10.9.0.1:5353"),
    (RESETS, Transport::Tcp, "10.9.0.2:8080"),
    (REFUSES, Transport::Tcp, "10.9.0.3:8080"),
    (IS_SILENT, Transport::Tcp, "10.9.0.4:8080"),
    (UNROUTABLE, Transport::Tcp, "203.0.113.1:8080"),
];

/// How one socket fares.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Ends(&'static str, Transport),
    TimesOut,
    IsUnderWay,
    IsDisconnected,
    GoesElsewhere,
    GoesAway,
}

const FATES: [Fate; 11] = [
    Fate::Ends(TELLS, Transport::Tcp),
    Fate::Ends(TELLS_V6, Transport::Tcp),
    Fate::Ends(TELLS_UDP, Transport::Udp),
    Fate::Ends(RESETS, Transport::Tcp),
    Fate::Ends(REFUSES, Transport::Tcp),
    Fate::Ends(UNROUTABLE, Transport::Tcp),
    Fate::TimesOut,
    Fate::IsUnderWay,
    Fate::IsDisconnected,
    Fate::GoesElsewhere,
    Fate::GoesAway,
];

/// How many sockets have each fate.
const ROUNDS: usize = 20;

/// Runs `check` with flow records in lines and at the sockets. It is given sockets of every fate, all open.
fn check(check: impl Fn(&mut Lab, &[u32]) -> Result<()>) -> Result<()> {
    Lab::with_records_anywhere(CLIENT, |lab| {
        lab.apply(&programs::services(&SERVICES));
        lab.add_addresses(&[
            "10.9.0.1:0",
            "10.9.0.2:0",
            "10.9.0.3:0",
            "10.9.0.4:0",
            "[fd00::1]:0",
        ])?;
        lab.serve("10.9.0.1:8080", Server::Tell(Transport::Tcp))?;
        lab.serve("[fd00::1]:8080", Server::Tell(Transport::Tcp))?;
        lab.serve("10.9.0.1:5353", Server::Tell(Transport::Udp))?;
        lab.serve("10.9.0.2:8080", Server::Reset)?;
        lab.serve("10.9.0.4:8080", Server::Silent)?;
        let mut sockets = Vec::new();
        for _ in 0..ROUNDS {
            for fate in FATES {
                sockets.push(suffer(lab, fate)?);
            }
        }
        check(lab, &sockets)?;
        lab.expect_no_records();
        Ok(())
    })
}

fn suffer(lab: &mut Lab, fate: Fate) -> Result<u32> {
    let (to, transport) = match fate {
        Fate::Ends(to, transport) => (to, transport),
        Fate::TimesOut | Fate::IsUnderWay => (IS_SILENT, Transport::Tcp),
        Fate::IsDisconnected | Fate::GoesElsewhere => (TELLS, Transport::Tcp),
        Fate::GoesAway => (TELLS_UDP, Transport::Udp),
    };
    let socket = lab.client.open(transport, to.starts_with('['))?;
    match fate {
        Fate::TimesOut => lab.client.set(socket, Setting::SendTimeout(1))?,
        Fate::IsUnderWay => lab.client.set(socket, Setting::NonBlocking)?,
        _ => {}
    }
    // How it ends is what other tests hold. A connection may be reset before its socket is asked for its peer.
    lab.client.ask(&Request::Connect {
        socket,
        transport,
        to: programs::at(to),
    })?;
    match fate {
        Fate::IsDisconnected => lab.client.order(&Request::Disconnect(socket))?,
        Fate::GoesElsewhere => {
            lab.client.order(&Request::Disconnect(socket))?;
            lab.client.reconnect(socket, REFUSES)?;
        }
        Fate::GoesAway => {
            lab.client.reconnect(socket, "10.9.0.1:9999")?;
        }
        _ => {}
    }
    Ok(socket)
}

/// Those sockets count that were sent to an endpoint when they were last connected.
const COUNTING: usize = FATES.len() - 1;

#[test]
fn every_socket_counts_until_it_is_closed_and_none_after() -> Result<()> {
    check(|lab, sockets| {
        let (first, second) = sockets.split_at(sockets.len() / 2);
        lab.expect_open(u64::try_from(ROUNDS * COUNTING)?);
        for &socket in first {
            lab.client.close(socket)?;
        }
        lab.expect_open(u64::try_from(ROUNDS / 2 * COUNTING)?);
        for &socket in second {
            lab.client.close(socket)?;
        }
        Ok(())
    })
}

#[test]
fn nothing_is_left_of_any_socket_of_a_process_that_is_killed() -> Result<()> {
    check(|lab, _| {
        let next = lab.start_client(CLIENT)?;
        std::mem::replace(&mut lab.client, next).kill()
    })
}
