//! DENIALS: which connects policies denied, or would deny.

use super::address::{Address, Port};

/// Why a connect is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denied {
    /// Nothing claims the destination, and its client may reach only what is registered.
    NotRegistered,
    /// The same, but that it was let pass.
    Audited,
    /// A policy denies the service, or the endpoint that was picked.
    Policy,
}

impl Denied {
    /// As [`Denial::code`] has it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NotRegistered => NOT_REGISTERED,
            Self::Audited => AUDITED,
            Self::Policy => POLICY,
        }
    }
}

const NOT_REGISTERED: u8 = 1;
const AUDITED: u8 = 2;
const POLICY: u8 = 3;

/// One connect, or one datagram of an unconnected socket.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    /// The kernel's id of the cgroup of the process.
    pub cgroup: u64,
    /// What the client asked for.
    pub address: Address,
    /// [`super::UNCOUNTED`] for none.
    pub service: u32,
    /// [`super::UNCOUNTED`] for none: all of the service is denied, or there is none.
    pub endpoint: u32,
    /// Of the client.
    pub scope: u32,
    /// The process, as the root of process namespaces numbers it.
    pub process: u32,
    pub port: Port,
    /// [`super::TCP`] or [`super::UDP`], or another of IP.
    pub protocol: u8,
    /// Why; see [`Denial::denied`].
    pub code: u8,
    pub reserved: u32,
}

/// Bytes of a record.
pub const DENIAL_SIZE: usize = size_of::<Denial>();

/// Bytes of the ring: room for 1,170 denials between two looks at it. A power of two of pages.
pub const DENIAL_BYTES: u32 = 1 << 16;

impl Denial {
    /// `None` for what no program has written.
    pub const fn denied(&self) -> Option<Denied> {
        match self.code {
            NOT_REGISTERED => Some(Denied::NotRegistered),
            AUDITED => Some(Denied::Audited),
            POLICY => Some(Denied::Policy),
            _ => None,
        }
    }

    /// From the bytes of a record; `None` for what is not as long as one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else {
            return None;
        };
        Some(Self::from_words(words.try_into().ok()?))
    }

    /// From the words of a record.
    #[must_use]
    pub const fn from_words(words: &[[u8; 8]; DENIAL_SIZE / 8]) -> Self {
        let [cgroup, high, low, service, scope, rest] = *words;
        let [s0, s1, s2, s3, e0, e1, e2, e3] = service;
        let [c0, c1, c2, c3, p0, p1, p2, p3] = scope;
        let [port0, port1, protocol, code, ..] = rest;
        Self {
            cgroup: u64::from_ne_bytes(cgroup),
            address: Address([u64::from_ne_bytes(high), u64::from_ne_bytes(low)]),
            service: u32::from_ne_bytes([s0, s1, s2, s3]),
            endpoint: u32::from_ne_bytes([e0, e1, e2, e3]),
            scope: u32::from_ne_bytes([c0, c1, c2, c3]),
            process: u32::from_ne_bytes([p0, p1, p2, p3]),
            port: Port::from_word(u16::from_ne_bytes([port0, port1])),
            protocol,
            code,
            reserved: 0,
        }
    }
}
