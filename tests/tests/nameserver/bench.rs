//! A name server with two listeners on loopback, its clients, and servers that misbehave.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::app::ports;
use agent::compile::{Names, Saying};
use agent::nameserver::{Asked, Ended, Lesson, NameServer, Setup, Sockets};
use hickory_proto::op::{Edns, Message, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use tests::dns_server::DnsServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far beyond any wait that a test counts on.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What a client waits, as the C library does.
pub(crate) const CLIENT: Duration = Duration::from_secs(5);

/// A name server with two listeners.
pub(crate) struct Bench {
    pub(crate) server: Option<NameServer>,
    pub(crate) listeners: [SocketAddr; 2],
    pub(crate) names: Arc<Mutex<Arc<Names>>>,
    pub(crate) lessons: mpsc::Receiver<Lesson>,
    pub(crate) beats: Arc<AtomicUsize>,
    _ended: Ended,
}

impl Bench {
    /// `upstreams` as the user names them; `origins` is what the listeners stand for.
    pub(crate) fn start(
        names: Names,
        upstreams: Vec<SocketAddr>,
        origins: [Option<SocketAddr>; 2],
    ) -> Self {
        let (first, first_address) = sockets();
        let (second, second_address) = sockets();
        let names = Arc::new(Mutex::new(Arc::new(names)));
        let known = Arc::clone(&names);
        let beats = Arc::new(AtomicUsize::new(0));
        let beaten = Arc::clone(&beats);
        let (told, lessons) = mpsc::channel(16);
        let (server, ended) = NameServer::start(Setup {
            listeners: vec![first, second],
            names: Arc::new(move |_| Arc::clone(&known.lock().unwrap())),
            lessons: told,
            origin: Arc::new(move |number| {
                origins[number].map(|server| Asked { server, names: 0 })
            }),
            upstreams,
            resolv_conf: "/dev/null".into(),
            beat: Box::new(move || {
                beaten.fetch_add(1, Ordering::Relaxed);
            }),
        })
        .unwrap();
        Self {
            server: Some(server),
            listeners: [first_address, second_address],
            names,
            lessons,
            beats,
            _ended: ended,
        }
    }

    pub(crate) fn server(&self) -> &NameServer {
        self.server.as_ref().unwrap()
    }

    pub(crate) async fn ask(&self, name: &str, kind: RecordType) -> Message {
        exchange(self.listeners[0], &query(name, kind)).await
    }

    pub(crate) async fn wait_for_beats(&self, more: usize) {
        let before = self.beats.load(Ordering::Relaxed);
        wait_until(|| self.beats.load(Ordering::Relaxed) >= before + more).await;
    }
}

pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it comes about");
}

/// Sockets of one free port.
pub(crate) fn sockets() -> (Sockets, SocketAddr) {
    let (address, udp, tcp) = ports::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let sockets = Sockets {
        udp: vec![udp],
        tcp: vec![tcp],
    };
    (sockets, address)
}

pub(crate) fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

pub(crate) fn with_edns(mut message: Message, size: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    message.set_edns(edns);
    message
}

/// What comes back for a datagram, within the time of a client.
pub(crate) async fn datagram(server: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    socket.connect(server).await.unwrap();
    socket.send(request).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let length = timeout(CLIENT, socket.recv(&mut buffer)).await.ok()?.ok()?;
    buffer.truncate(length);
    Some(buffer)
}

pub(crate) async fn exchange(server: SocketAddr, request: &Message) -> Message {
    let answer = datagram(server, &request.to_vec().unwrap()).await;
    let answer = Message::from_vec(&answer.expect("it is answered in time")).unwrap();
    assert_eq!(answer.metadata.id, request.metadata.id);
    answer
}

pub(crate) async fn exchange_by_stream(server: SocketAddr, request: &Message) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    write(&mut stream, request).await;
    read(&mut stream).await
}

async fn write(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    let length = bytes.len().try_into().unwrap();
    stream.write_u16(length).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

async fn read(stream: &mut TcpStream) -> Message {
    let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut bytes).await.unwrap();
    Message::from_vec(&bytes).unwrap()
}

pub(crate) fn addresses(message: &Message) -> Vec<String> {
    let data = message
        .answers
        .iter()
        .filter_map(|record| record.data.ip_addr());
    data.map(|address| address.to_string()).collect()
}

pub(crate) fn saying(last: u8) -> Saying {
    Saying::Addresses([IpAddr::from([240, 1, 0, last])].into())
}

/// A server that does what `answer` says with each query and its client, any number of messages to send back.
pub(crate) fn raw(
    answer: impl Fn(&Message, SocketAddr) -> Vec<Message> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            for message in answer(&query, client) {
                let bytes = message.to_vec().unwrap();
                socket.send_to(&bytes, client).await.unwrap();
            }
        }
    });
    address
}

/// The same over TCP, at the port of a server that has only UDP.
pub(crate) async fn raw_stream(
    server: SocketAddr,
    answer: impl Fn(&Message) -> Message + Send + 'static,
) {
    let listener = TcpListener::bind(server).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let query = read(&mut stream).await;
            write(&mut stream, &answer(&query)).await;
        }
    });
}

/// An answer to `query` with one address.
pub(crate) fn answer_of(query: &Message, last: u8) -> Message {
    use hickory_proto::rr::{RData, Record};
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.add_query(query.queries[0].clone());
    let owner = query.queries[0].name().clone();
    let data = RData::from(IpAddr::from([192, 0, 2, last]));
    answer.add_answer(Record::from_rdata(owner, 60, data));
    answer
}

pub(crate) fn upstream() -> DnsServer {
    DnsServer::start().unwrap()
}
