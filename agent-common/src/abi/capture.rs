//! CAPTURE and `NAME_SERVERS`: the listeners that answer in the place of name servers, and which of those each stands for.

use super::address::{Address, Port};

/// The port of name servers.
pub const NAME_PORT: Port = Port::new(53);

/// Pairs of listeners, UDP and TCP. The first is for those who ask it themselves; each of the others stands for one name
/// server that clients ask.
pub const LISTENERS: u32 = 16;

/// Nanoseconds for which the agent counts as alive after a heartbeat.
const HEARTBEAT_LIMIT: u64 = 1_000_000_000;

/// Words of a [`Capture`].
pub const CAPTURE_WORDS: usize = 10;

/// The one element of CAPTURE. It is no part of CONFIG, which is written whole by whoever applies a program, while the
/// heartbeat is written by another thread.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// When the agent was last alive, in nanoseconds of `CLOCK_MONOTONIC`; 0 where nothing is captured.
    pub heartbeat: u64,
    /// Where the listeners are, for name servers of either family; zero for nowhere.
    pub v4: Address,
    pub v6: Address,
    /// Port 0 is no listener.
    pub ports: [Port; LISTENERS as usize],
    /// 1 where sockets of every network namespace reach the listeners.
    pub is_everywhere: u64,
}

impl Capture {
    /// Whether the agent was alive a moment before `now`.
    #[inline(always)]
    pub const fn is_fresh(heartbeat: u64, now: u64) -> bool {
        heartbeat != 0 && now.saturating_sub(heartbeat) < HEARTBEAT_LIMIT
    }

    /// The address of the listeners that may take what is sent to a name server there.
    #[inline(always)]
    pub fn address_for(&self, address: Address, port: Port) -> Option<Address> {
        let listener = if address.is_v4() { self.v4 } else { self.v6 };
        let is_listener = address == listener && self.ports.contains(&port);
        let is_taken = listener != Address::default() && !address.is_many() && !is_listener;
        is_taken.then_some(listener)
    }

    /// The port of a listener that there is.
    #[inline(always)]
    pub fn port(&self, listener: u32) -> Option<Port> {
        let port = *self.ports.get(listener as usize)?;
        (port != Port::default()).then_some(port)
    }

    /// As words, each of which is written whole.
    pub fn words(&self) -> [u64; CAPTURE_WORDS] {
        let mut words = [0; CAPTURE_WORDS];
        words[0] = self.heartbeat;
        words[1..3].copy_from_slice(&self.v4.0);
        words[3..5].copy_from_slice(&self.v6.0);
        for (word, four) in words[5..9].iter_mut().zip(self.ports.chunks(4)) {
            let mut bytes = [0; 8];
            for (two, port) in bytes.chunks_mut(2).zip(four) {
                two.copy_from_slice(&port.word().to_ne_bytes());
            }
            *word = u64::from_ne_bytes(bytes);
        }
        words[9] = self.is_everywhere;
        words
    }

    pub fn from_words(words: [u64; CAPTURE_WORDS]) -> Self {
        let mut ports = [Port::default(); LISTENERS as usize];
        for (four, word) in ports.chunks_mut(4).zip(&words[5..9]) {
            for (port, bytes) in four.iter_mut().zip(word.to_ne_bytes().chunks(2)) {
                *port = Port::from_word(u16::from_ne_bytes([bytes[0], bytes[1]]));
            }
        }
        Self {
            heartbeat: words[0],
            v4: Address([words[1], words[2]]),
            v6: Address([words[3], words[4]]),
            ports,
            is_everywhere: words[9],
        }
    }
}

/// Value of `NAME_SERVERS`, whose keys are the numbers of listeners from 1 on: the name server that clients ask who are
/// told the same of names.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer {
    pub address: Address,
    /// [`super::ClientWord::names`] of those clients.
    pub names: u32,
    reserved: u32,
}

impl NameServer {
    pub const fn new(address: Address, names: u32) -> Self {
        Self {
            address,
            names,
            reserved: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture() -> Capture {
        let mut ports = [0; LISTENERS as usize];
        for (n, port) in (0u16..).zip(&mut ports) {
            *port = 5300 + n;
        }
        ports[0] = 53;
        Capture {
            heartbeat: 7,
            v4: Address::from_v4_octets([127, 0, 0, 1]),
            v6: Address::from_octets([1; 16]),
            ports: ports.map(Port::new),
            is_everywhere: 1,
        }
    }

    #[test]
    fn a_capture_is_what_its_words_say() {
        assert_eq!(Capture::from_words(capture().words()), capture());
    }

    #[test]
    fn a_listener_takes_the_queries_to_servers_of_its_family_but_those_to_listeners() {
        let capture = capture();
        let stub = Address::from_v4_octets([127, 0, 0, 53]);
        assert_eq!(capture.address_for(stub, NAME_PORT), Some(capture.v4));
        assert_eq!(capture.address_for(capture.v4, NAME_PORT), None);
        let v6 = Address::from_octets([2; 16]);
        assert_eq!(capture.address_for(v6, NAME_PORT), Some(capture.v6));
        let none = Capture {
            v6: Address::default(),
            ..capture
        };
        assert_eq!(none.address_for(v6, NAME_PORT), None);
        let group = Address::from_v4_octets([224, 0, 0, 251]);
        assert_eq!(capture.address_for(group, NAME_PORT), None);
    }

    #[test]
    fn a_heartbeat_counts_for_a_second() {
        assert!(Capture::is_fresh(5, 5 + HEARTBEAT_LIMIT - 1));
        assert!(Capture::is_fresh(5, 4));
        assert!(!Capture::is_fresh(5, 5 + HEARTBEAT_LIMIT));
        assert!(!Capture::is_fresh(0, 1));
    }
}
