//! The capture of name resolution: which listeners answer in the place of name servers, for as long as a heartbeat says that
//! somebody is there, and which name server each of them stands for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_common::Connect;
use agent_common::abi::{self, Address, CAPTURE_WORDS, Capture, NAME_PORT, NameServer, Port};
use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError};
use rustix::time::{ClockId, clock_gettime};

use crate::dataplane::address;

use super::Dataplane;
use super::error::LoadError;
use super::mapping::Mapping;
use super::tables::{Plain, map, take};

/// Pairs of listeners, UDP and TCP.
pub const LISTENERS: usize = abi::LISTENERS as usize;

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// For queries to IPv4 name servers.
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    /// The same at both addresses; 0 for a listener that there is not. The first is for those who ask it themselves, and none
    /// of the captured queries goes there.
    pub ports: [u16; LISTENERS],
    /// Whether sockets of every network namespace reach the addresses. Where not, only those are captured in whose namespace
    /// there is a socket bound to the very address and port.
    pub everywhere: bool,
}

/// Says that the listeners answer. They are asked for a second after each beat; dropping it ends that at once.
#[derive(Debug)]
#[must_use = "nothing is captured without a heartbeat"]
pub struct Heart {
    capture: Arc<Mapping<AtomicU64>>,
}

impl Heart {
    pub fn beat(&self) {
        set_heartbeat(&self.capture, now());
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        set_heartbeat(&self.capture, 0);
    }
}

/// Which name server each listener stands for. Each question is one system call.
#[derive(Clone)]
pub struct Origins(Arc<Mutex<NameServers>>);

type NameServers = HashMap<MapData, u32, Plain<NameServer>>;

impl Origins {
    /// The name server that clients asked who are told the same of names, and their number when their query came to the listener.
    pub fn of(&self, listener: usize) -> Option<(SocketAddr, u32)> {
        let server = get(&self.lock(), u32::try_from(listener).ok()?).ok()??;
        let ip = address::to_ip(server.address);
        Some((SocketAddr::new(ip, NAME_PORT.get()), server.names))
    }

    /// The listener that stands for this name server from now on, if it does not do so already. `None` where none is left.
    pub fn claim(&self, address: IpAddr, names: u32) -> io::Result<Option<usize>> {
        const BPF_NOEXIST: u64 = 1;
        let server = NameServer::new(address::from_ip(address), names);
        let mut servers = self.lock();
        while let Some(place) = find(&servers, &server)? {
            let listener = match place {
                Place::Claimed(listener) => listener,
                Place::Free(listener) => {
                    match servers.insert(listener, Plain(server), BPF_NOEXIST) {
                        Ok(()) => listener,
                        // A client's query was faster.
                        Err(MapError::SyscallError(failed))
                            if failed.io_error.kind() == io::ErrorKind::AlreadyExists =>
                        {
                            continue;
                        }
                        Err(MapError::SyscallError(failed)) => return Err(failed.io_error),
                        Err(other) => return Err(io::Error::other(other)),
                    }
                }
            };
            return Ok(Some(listener as usize));
        }
        Ok(None)
    }

    /// The listener stands for no name server any more, and may be claimed for another.
    pub fn forget(&self, listener: usize) {
        if let Ok(listener) = u32::try_from(listener) {
            // What is not there is forgotten.
            self.lock().remove(&listener).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, NameServers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel programs know of the capture.
pub(super) struct Names {
    capture: Arc<Mapping<AtomicU64>>,
    /// What was told them last.
    told: Capture,
    origins: Origins,
}

impl Names {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let words = u32::try_from(CAPTURE_WORDS).expect("a few words");
        let servers = HashMap::try_from(take(ebpf, "NAME_SERVERS")?)?;
        Ok(Self {
            capture: Arc::new(map(ebpf, "CAPTURE", words)?),
            told: Capture::default(),
            origins: Origins(Arc::new(Mutex::new(servers))),
        })
    }

    /// As the kernel programs decide, but for what depends on the socket; and nothing is claimed.
    pub(super) fn listener(&self, asked: &Connect) -> Option<(Address, Port)> {
        let capture = self.read();
        if !Capture::is_fresh(capture.heartbeat, now()) {
            return None;
        }
        let address = capture.address_for(asked.address, asked.port)?;
        let server = NameServer::new(asked.address, u32::from(asked.names));
        let (Place::Claimed(listener) | Place::Free(listener)) =
            find(&self.origins.lock(), &server).ok()??;
        Some((address, capture.port(listener)?))
    }

    fn read(&self) -> Capture {
        Capture::from_words(std::array::from_fn(|n| {
            word(&self.capture, n).load(Ordering::Relaxed)
        }))
    }

    /// Whether the programs know what they were told. The heartbeat is another thread's.
    pub(super) fn is_as_told(&self) -> bool {
        let found = Capture {
            heartbeat: self.told.heartbeat,
            ..self.read()
        };
        found == self.told
    }

    /// Tells the programs again.
    pub(super) fn tell_again(&mut self) {
        let told = self.told;
        self.set(&told);
    }

    fn set(&mut self, capture: &Capture) {
        self.told = *capture;
        // Whoever reads while it changes sees no heartbeat.
        set_heartbeat(&self.capture, 0);
        for (n, value) in capture.words().into_iter().enumerate() {
            word(&self.capture, n).store(value, Ordering::Release);
        }
    }
}

impl Dataplane {
    /// Queries to name servers go to these listeners from the first beat of the heart on. An earlier heart must be gone.
    pub fn capture_names(&mut self, listeners: &Listeners) -> Heart {
        let address = |ip: Option<IpAddr>| ip.map(address::from_ip).unwrap_or_default();
        let names = &mut self.engine.store.names;
        names.set(&Capture {
            heartbeat: 0,
            v4: address(listeners.v4.map(IpAddr::V4)),
            v6: address(listeners.v6.map(IpAddr::V6)),
            ports: listeners.ports.map(Port::new),
            is_everywhere: u64::from(listeners.everywhere),
        });
        Heart {
            capture: Arc::clone(&names.capture),
        }
    }

    /// Queries go where they were going. Listeners still stand for whom they stood for, so that what was asked is answered.
    pub(super) fn stop_capture(&mut self) {
        self.engine.store.names.set(&Capture::default());
    }

    /// Queries go where they were going, and no listener stands for any name server.
    pub fn release_names(&mut self) {
        self.stop_capture();
        let names = &self.engine.tables().names;
        for listener in 1..LISTENERS {
            names.origins.forget(listener);
        }
    }

    pub fn origins(&self) -> Origins {
        self.engine.tables().names.origins.clone()
    }
}

enum Place {
    Claimed(u32),
    /// The first that stands for no name server.
    Free(u32),
}

fn find(servers: &NameServers, server: &NameServer) -> io::Result<Option<Place>> {
    let mut free = None;
    for listener in 1..abi::LISTENERS {
        match get(servers, listener)? {
            Some(other) if other == *server => return Ok(Some(Place::Claimed(listener))),
            Some(_) => {}
            None => free = free.or(Some(Place::Free(listener))),
        }
    }
    Ok(free)
}

fn get(servers: &NameServers, listener: u32) -> io::Result<Option<NameServer>> {
    match servers.get(&listener, 0) {
        Ok(server) => Ok(Some(server.0)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn set_heartbeat(capture: &Mapping<AtomicU64>, value: u64) {
    // The heartbeat is the first word.
    word(capture, 0).store(value, Ordering::Release);
}

fn word(capture: &Mapping<AtomicU64>, number: usize) -> &AtomicU64 {
    let number = u32::try_from(number).expect("a few words");
    capture.get(number).expect("the element has as many words")
}

/// The clock of `bpf_ktime_get_ns`.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let [seconds, nanoseconds] =
        [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}
