//! Who connects all the time: clients with servers of all endpoints in network namespaces of their own, and what each of their
//! sockets is held to.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use tests::client::{Client, Outcome};
use tests::sockets::{Race, Reply, Request, Run, Server, Transport, nanoseconds};

use crate::ledger::{Ledger, increase};
use crate::scene::{Service, Target};

/// Connects of a racer before it looks at what became of them.
const BURST: usize = 400;
/// Sockets that stay open, and unconnected ones that datagrams are sent by.
const SOCKETS: usize = 48;
/// Between two looks at sockets that are open, so that these leave the processors to others.
const PAUSE: Duration = Duration::from_millis(3);

/// How a client is started.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The program.
    pub(crate) client: PathBuf,
    pub(crate) cgroup: PathBuf,
}

impl Place {
    /// With the addresses of all endpoints.
    fn start(&self) -> Result<Client> {
        let mut client = Client::start(&self.client, &self.cgroup)?;
        let addresses: Vec<IpAddr> = Service::endpoints().map(|(_, at)| at.ip()).collect();
        client.order(&Request::AddAddresses(addresses))?;
        Ok(client)
    }

    /// Serves whoever comes by asking.
    fn start_telling(&self) -> Result<Client> {
        let mut client = self.start()?;
        for (_, at) in Service::endpoints() {
            for transport in [Transport::Tcp, Transport::Udp] {
                let server = Server::Tell(transport);
                client.order(&Request::Serve { at, server })?;
            }
        }
        Ok(client)
    }
}

/// Connects to everything in turn, from one thread, as fast as can be but for `pause` after each burst. The last endpoint of the
/// flaky service refuses from time to time.
pub(crate) fn race(ledger: &Ledger, place: &Place, mut random: Rng, pause: Duration) -> Result<()> {
    let mut client = place.start()?;
    let mut last = None;
    for (service, at) in Service::endpoints() {
        client.order(&Request::Listen(at))?;
        if service == Service::Flaky {
            last = Some(at);
        }
    }
    let mut is_down = false;
    let targets = ledger.targets().iter();
    let to: Vec<_> = targets.map(|to| (to.transport, to.vip())).collect();
    while !ledger.is_over() {
        if let Some(at) = last.filter(|_| random.u8(..) < 32) {
            is_down = !is_down;
            client.order(&if is_down {
                Request::StopListening(at)
            } else {
                Request::Listen(at)
            })?;
        }
        let runs = client.race(Race {
            threads: 1,
            connects: BURST,
            to: to.clone(),
        })?;
        for run in runs {
            ledger.judge(&run, is_down);
        }
        thread::sleep(pause);
    }
    Ok(())
}

/// Asks by datagrams of unconnected sockets, each of which asks several services.
pub(crate) fn exchange(ledger: &Ledger, place: &Place, mut random: Rng) -> Result<()> {
    let mut client = place.start_telling()?;
    let targets: Vec<(usize, Target)> = numbered(ledger, Transport::Udp);
    let mut sockets = Vec::new();
    while !ledger.is_over() {
        if sockets.len() < SOCKETS {
            sockets.push(client.open_udp(false)?);
        }
        let which = random.usize(..sockets.len());
        let (to, target) = targets[random.usize(..targets.len())];
        let asked = target.vip();
        let start = nanoseconds();
        let answer = client.exchange(sockets[which], &asked.to_string())?;
        let end = nanoseconds();
        let run = Run {
            to,
            start,
            end,
            reached: answer.map(|answer| answer.told.server.ip()),
            peer: answer.ok().map(|answer| answer.from),
        };
        ledger.judge(&run, false);
        if answer.is_err() || random.u8(..) < 16 {
            client.close(sockets.swap_remove(which))?;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn numbered(ledger: &Ledger, transport: Transport) -> Vec<(usize, Target)> {
    let all = ledger.targets().iter().copied().enumerate();
    all.filter(|(_, target)| target.transport == transport)
        .collect()
}

/// A socket that stays open.
struct Lasting {
    socket: u32,
    to: Target,
    connected: u64,
    endpoint: SocketAddr,
}

/// Keeps sockets open, and asks by each of them again and again, whatever happens to its service: it goes on, with the endpoint and
/// the peer that it has.
pub(crate) fn last(ledger: &Ledger, place: &Place, mut random: Rng) -> Result<()> {
    let mut client = place.start_telling()?;
    // UDP sockets to endpoints that are removed are closed, and so of these there are none.
    let mut targets = numbered(ledger, Transport::Tcp);
    targets.retain(|(_, target)| {
        matches!(
            target.service,
            Service::Moving | Service::Routed | Service::Named
        )
    });
    let steady = ledger.targets().iter().copied().enumerate();
    targets.extend(steady.filter(|(_, target)| target.service == Service::Steady));
    let mut sockets: Vec<Lasting> = Vec::new();
    while !ledger.is_over() {
        if sockets.len() < SOCKETS {
            let (number, to) = targets[random.usize(..targets.len())];
            sockets.extend(open(ledger, &mut client, number, to)?);
        } else {
            let which = random.usize(..sockets.len());
            let is_well = look(ledger, &mut client, &sockets[which])?;
            if !is_well || random.u8(..) < 4 {
                client.close(sockets.swap_remove(which).socket)?;
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// `None` where the connect fails, which is the ledger's to judge.
fn open(
    ledger: &Ledger,
    client: &mut Client,
    number: usize,
    to: Target,
) -> Result<Option<Lasting>> {
    let start = nanoseconds();
    let outcome = client.connect(to.transport, to.vip())?;
    let end = nanoseconds();
    let (reached, peer, socket) = match outcome {
        Outcome::Connected {
            socket,
            local,
            peer,
        } => (Ok(local.ip()), Some(peer), Some(socket)),
        Outcome::Failed(errno) => (Err(errno), None, None),
    };
    let run = Run {
        to: number,
        start,
        end,
        reached,
        peer,
    };
    ledger.judge(&run, false);
    let Some(socket) = socket else {
        return Ok(None);
    };
    Ok(Some(Lasting {
        socket,
        to,
        connected: start,
        endpoint: client.told(socket)?.server,
    }))
}

/// Whether the socket is as it was.
fn look(ledger: &Ledger, client: &mut Client, lasting: &Lasting) -> Result<bool> {
    let Lasting {
        socket,
        to,
        connected,
        endpoint,
    } = *lasting;
    increase(&ledger.counts.looks);
    let wrong = match (
        client.ask(&Request::Ask(socket))?,
        client.ask(&Request::Peer(socket))?,
    ) {
        (Reply::Told(told), Reply::Address(peer)) => {
            let is_right = told.server == endpoint && peer == to.vip();
            (!is_right).then(|| format!("{peer} is its peer, and {} its server", told.server))
        }
        (answer, peer) => Some(format!("{answer:?}, and its peer is {peer:?}")),
    };
    if let Some(wrong) = &wrong {
        increase(&ledger.counts.broken);
        let age = Duration::from_nanos(nanoseconds() - connected);
        ledger.breach(format!(
            "a socket to {to} at {endpoint}, {age:?} old: {wrong}"
        ));
    }
    Ok(wrong.is_none())
}
