//! A DNS server on loopback whose zone tests change while it runs: which names have which addresses for how long, and
//! in which way it fails.
//!
//! It answers A and AAAA over UDP and TCP on one port, with aliases followed, and counts what it is asked. It knows
//! nothing of shunt.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::app::ports;

/// The life of a negative answer, in seconds.
const NEGATIVE_TTL: u32 = 1;
/// The longest alias chain that is followed; the zone may hold loops.
const MAX_ALIASES: usize = 8;

/// How a name is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The family that has no address here is answered with "no such record".
    Addresses { addresses: Vec<IpAddr>, ttl: u32 },
    /// Another name of the zone.
    Alias { target: String, ttl: u32 },
    /// As the inner entry, but over UDP cut to nothing, so that one has to come back over TCP.
    Truncated(Box<Entry>),
    /// With this code: SERVFAIL, REFUSED, ….
    Code(ResponseCode),
    /// Not at all.
    Silence,
    /// One family as the first entry says, the other as the second.
    PerFamily { v4: Box<Entry>, v6: Box<Entry> },
}

impl Entry {
    /// `addresses` for `ttl` seconds.
    ///
    /// # Panics
    /// When one of them is no IP address.
    pub fn addresses(addresses: &[&str], ttl: u32) -> Self {
        Self::Addresses {
            addresses: addresses
                .iter()
                .map(|address| address.parse().expect("an IP address"))
                .collect(),
            ttl,
        }
    }
}

/// Names without their trailing dot, lower case. A name that is missing does not exist.
#[derive(Debug, Default)]
struct Zone {
    entries: BTreeMap<String, Entry>,
    asked: BTreeMap<(String, RecordType), usize>,
}

/// A running server, until it is dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: [JoinHandle<()>; 2],
}

impl DnsServer {
    /// Serves an empty zone on a free port of 127.0.0.1. Must be called within a Tokio runtime.
    pub fn start() -> io::Result<Self> {
        let (address, udp, tcp) = ports::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let (udp, tcp) = (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?);
        let zone = Arc::new(Mutex::new(Zone::default()));
        let tasks = [
            tokio::spawn(serve_udp(udp, Arc::clone(&zone))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&zone))),
        ];
        Ok(Self {
            address,
            zone,
            tasks,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers `name` so from now on.
    pub fn set(&self, name: &str, entry: Entry) {
        lock(&self.zone).entries.insert(name.to_owned(), entry);
    }

    /// From now on `name` does not exist.
    pub fn remove(&self, name: &str) {
        lock(&self.zone).entries.remove(name);
    }

    /// How often `name` has been asked for over UDP.
    pub fn asked(&self, name: &str, record_type: RecordType) -> usize {
        let key = (name.to_owned(), record_type);
        lock(&self.zone).asked.get(&key).copied().unwrap_or(0)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    // An error of one exchange (such as an unreachable port) is the next caller's to see, and none of ours.
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some(response) = respond(&zone, &buffer[..length], Transport::Udp) {
            let _ = socket.send_to(&response, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // A client that breaks off ends its connection, and that is all.
        let zone = Arc::clone(&zone);
        connections.spawn(async move {
            let _ = serve_connection(stream, zone).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut request = vec![0; usize::from(length)];
        stream.read_exact(&mut request).await?;
        if let Some(response) = respond(&zone, &request, Transport::Tcp) {
            let length = u16::try_from(response.len()).map_err(io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&response).await?;
        }
    }
}

/// `None` when there is to be no answer.
fn respond(zone: &Mutex<Zone>, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let query = request.queries.first()?.clone();
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    response.add_query(query.clone());

    let name = key(query.name());
    let record_type = query.query_type();
    let mut zone = lock(zone);
    if transport == Transport::Udp {
        *zone.asked.entry((name, record_type)).or_default() += 1;
    }
    zone.answer(query.name(), record_type, transport, &mut response)?;
    response.to_vec().ok()
}

fn key(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

impl Zone {
    /// `None` when there is to be no answer.
    fn answer(
        &self,
        name: &Name,
        record_type: RecordType,
        transport: Transport,
        response: &mut Message,
    ) -> Option<()> {
        let mut owner = name.clone();
        for _ in 0..MAX_ALIASES {
            let Some(entry) = self.entries.get(&key(&owner)) else {
                response.metadata.response_code = ResponseCode::NXDomain;
                break;
            };
            match entry.resolve(record_type, transport) {
                Resolved::Silence => return None,
                Resolved::Truncated => {
                    response.metadata.truncation = true;
                    return Some(());
                }
                Resolved::Code(code) => {
                    response.metadata.response_code = code;
                    return Some(());
                }
                Resolved::Alias(target, ttl) => {
                    let target = Name::from_ascii(target).ok()?;
                    let data = RData::CNAME(CNAME(target.clone()));
                    response.add_answer(Record::from_rdata(owner, ttl, data));
                    owner = target;
                }
                Resolved::Addresses(addresses, ttl) => {
                    for address in addresses {
                        let data = RData::from(*address);
                        if data.record_type() == record_type {
                            response.add_answer(Record::from_rdata(owner.clone(), ttl, data));
                        }
                    }
                    break;
                }
            }
        }
        let has_address = |record: &Record| record.record_type() == record_type;
        if !response.answers.iter().any(has_address) {
            response.add_authority(start_of_authority());
        }
        Some(())
    }
}

/// What an entry comes to for one question.
enum Resolved<'a> {
    Addresses(&'a [IpAddr], u32),
    Alias(&'a str, u32),
    Truncated,
    Code(ResponseCode),
    Silence,
}

impl Entry {
    fn resolve(&self, record_type: RecordType, transport: Transport) -> Resolved<'_> {
        match self {
            Self::Addresses { addresses, ttl } => Resolved::Addresses(addresses, *ttl),
            Self::Alias { target, ttl } => Resolved::Alias(target, *ttl),
            Self::Truncated(_) if transport == Transport::Udp => Resolved::Truncated,
            Self::Truncated(entry) => entry.resolve(record_type, transport),
            Self::Code(code) => Resolved::Code(*code),
            Self::Silence => Resolved::Silence,
            Self::PerFamily { v6, .. } if record_type == RecordType::AAAA => {
                v6.resolve(record_type, transport)
            }
            Self::PerFamily { v4, .. } => v4.resolve(record_type, transport),
        }
    }
}

/// States the life of a negative answer (RFC 2308).
fn start_of_authority() -> Record {
    let soa = SOA::new(Name::root(), Name::root(), 1, 60, 60, 60, NEGATIVE_TTL);
    Record::from_rdata(Name::root(), NEGATIVE_TTL, RData::SOA(soa))
}
