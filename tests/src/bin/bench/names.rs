//! What names cost: the name server beside dnsmasq, asked the same questions in turns. One client on loopback asks both, by
//! plain datagrams to where they listen.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tests::interrupt;
use tests::names::{NameNode, SERVER};

use crate::setting::Effort;
use crate::statistics::{median, quantile};
use crate::table::{Budget, Table, shown};
use crate::worker::microseconds;

/// dnsmasq, with the same hosts and the same server behind it.
const PEER: &str = "10.9.0.54";
const OURS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15053);
/// How many hosts each owns.
const HOSTS: u32 = 1_000;
/// Questions that await an answer at once, where throughput is measured.
const WINDOW: usize = 32;
/// What takes longer is lost: on loopback nothing should be.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Clone, Copy)]
enum What {
    Own,
    Cached,
    Forwarded,
}

impl What {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Own, "own names"),
        (Self::Cached, "forwarded names that are cached"),
        (Self::Forwarded, "forwarded names, each new"),
    ];

    fn name(self, number: u32) -> String {
        match self {
            Self::Own => format!("s{}.own.test", number % HOSTS),
            Self::Cached => format!("c{}.other.test", number % HOSTS),
            Self::Forwarded => format!("n{number}.other.test"),
        }
    }
}

/// Answers per second, and microseconds that a client waits for one.
#[derive(Clone, Copy)]
struct Times {
    rate: f64,
    p50: f64,
    p99: f64,
}

pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<()> {
    let client = std::env::current_exe()?.with_file_name("client");
    let programs = NameNode::new(client, &["dnsmasq"])?;
    let mut node = programs.context("this needs root, and dnsmasq (Debian: dnsmasq-base)")?;
    eprintln!("names …");
    start(&mut node)?;
    let peer = SocketAddr::new(PEER.parse()?, 53);
    let mut asker = Asker::new()?;
    for (what, name) in What::ALL {
        let mut rounds = Vec::new();
        for _ in 0..effort.rounds() {
            interrupt::check()?;
            rounds.push((
                asker.ask(peer, what, effort)?,
                asker.ask(OURS, what, effort)?,
            ));
        }
        report(name, &rounds, table);
    }
    Ok(())
}

fn start(node: &mut NameNode) -> Result<()> {
    node.start_server(
        SERVER,
        &["--address=/other.test/10.9.0.9", "--local-ttl=600"],
    )?;
    let records = (0..HOSTS).map(|n| format!("--host-record=s{n}.own.test,240.240.9.9"));
    let mut peer: Vec<String> = records.collect();
    peer.push(format!("--server={SERVER}"));
    peer.push("--cache-size=10000".to_owned());
    peer.push("--dns-forward-max=1000".to_owned());
    let peer: Vec<&str> = peer.iter().map(String::as_str).collect();
    node.start_server(PEER, &peer)?;
    let mut objects = String::new();
    for n in 0..HOSTS {
        write!(
            objects,
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s{n}}}\nspec:\n  \
             hosts: [s{n}.own.test]\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  resolution: STATIC\n  \
             endpoints: [{{address: 10.9.0.1}}]\n"
        )?;
    }
    node.write("own.yaml", &objects)?;
    node.start_agent(&["--dns-upstream", SERVER])
}

fn report(name: &str, rounds: &[(Times, Times)], table: &mut Table) {
    let mut row = |figure: fn(&Times) -> f64, what: &str, unit: &str| {
        let ours = median(rounds.iter().map(|(_, ours)| figure(ours)));
        let ratio = median(
            rounds
                .iter()
                .map(|(peer, ours)| figure(ours) / figure(peer)),
        );
        let what = format!("{what}, {name}, beside dnsmasq");
        table.ratio(what, format!("{} {unit}", shown(ours)), ratio, Budget::None);
    };
    row(|times| times.rate, "answers", "/s");
    row(|times| times.p50, "answer p50", "µs");
    row(|times| times.p99, "answer p99", "µs");
}

/// A client of name servers.
struct Asker {
    socket: UdpSocket,
    next: u32,
}

impl Asker {
    fn new() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, next: 0 })
    }

    /// One question at a time tells what a client waits, many at once tell how much a server can do.
    fn ask(&mut self, server: SocketAddr, what: What, effort: Effort) -> Result<Times> {
        let count = effort.connects() / 5;
        let mut waits = self.exchange(server, what, count, 1)?;
        let start = Instant::now();
        self.exchange(server, what, count, WINDOW)?;
        Ok(Times {
            rate: f64::from(count) / start.elapsed().as_secs_f64(),
            p50: quantile(&mut waits, 0.5),
            p99: quantile(&mut waits, 0.99),
        })
    }

    /// Asks `count` questions, of which `window` await an answer. What each took, in microseconds.
    fn exchange(
        &mut self,
        server: SocketAddr,
        what: What,
        count: u32,
        window: usize,
    ) -> Result<Vec<f64>> {
        let mut sent = vec![None; usize::from(u16::MAX) + 1];
        let mut waits = Vec::with_capacity(count as usize);
        let (mut asked, mut buffer) = (0, [0; 4096]);
        while waits.len() < count as usize {
            while asked < count && asked as usize - waits.len() < window {
                let (id, question) = question(&what.name(self.next), self.next)?;
                self.next += 1;
                asked += 1;
                sent[usize::from(id)] = Some(Instant::now());
                self.socket.send_to(&question, server)?;
            }
            let (length, _) = self.socket.recv_from(&mut buffer).context("no answer")?;
            let id = u16::from_be_bytes([buffer[0], buffer[1]]);
            let start = sent[usize::from(id)].take().context("nobody asked this")?;
            waits.push(microseconds(start.elapsed()));
            let answer = Message::from_vec(&buffer[..length])?;
            let is_good = answer.metadata.response_code == ResponseCode::NoError;
            ensure!(is_good && !answer.answers.is_empty(), "{server}: {answer}");
        }
        Ok(waits)
    }
}

/// A question for IPv4 addresses, and its id.
fn question(name: &str, number: u32) -> Result<(u16, Vec<u8>)> {
    let id = u16::try_from(number & 0xffff).expect("16 bits");
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    message.add_query(Query::query(name, RecordType::A));
    Ok((id, message.to_vec()?))
}
