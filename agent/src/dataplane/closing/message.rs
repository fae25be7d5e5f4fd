//! How are requests to `sock_diag` written, and what do its answers say? Bytes in, bytes out.
//!
//! Layouts are those of include/uapi/linux/netlink.h, `sock_diag.h` and `inet_diag.h`; lengths and numbers are in the byte
//! order of the machine, addresses and ports in that of the network.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use agent_common::abi::{Address, Port};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
/// Jumps by `no` where the remote port is below, or above, the number in the next operation.
const INET_DIAG_BC_D_GE: u8 = 4;
const INET_DIAG_BC_D_LE: u8 = 5;

const INET_DIAG_ULP_INFO: u16 = 19;
const INET_ULP_INFO_MPTCP: u16 = 3;
/// Of include/uapi/linux/mptcp.h, as the flag is.
const MPTCP_SUBFLOW_ATTR_FLAGS: u16 = 8;
const MPTCP_SUBFLOW_FLAG_MCAP_REM: u32 = 1;
/// Besides, the number of an attribute says how its value is laid out.
const NLA_TYPE_MASK: u16 = 0x3fff;

const HEADER: usize = 16;
/// `struct inet_diag_sockid`.
const ID: usize = 48;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 8 + ID;
/// `struct inet_diag_msg`.
const SOCKET: usize = 4 + ID + 20;

/// Of `struct tcp_info`: how long ago data was sent and received last, in milliseconds.
const LAST_DATA_SENT: usize = 44;
const LAST_DATA_RECEIVED: usize = 52;

/// Which sockets to list.
#[derive(Clone, Debug)]
pub(super) struct Query {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    pub protocol: u8,
    /// Bits of the states, as `enum tcp_state` numbers them.
    pub states: u32,
    /// Those of the peer.
    pub ports: RangeInclusive<u16>,
}

/// A socket as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    family: u8,
    /// As it came, to be named by.
    id: [u8; ID],
    /// How long no data has been sent or received; of TCP.
    pub idle: Option<Duration>,
    /// Whether it carries an MPTCP connection, with a peer that speaks it.
    pub is_mptcp: bool,
}

impl Listed {
    pub(super) fn cookie(&self) -> u64 {
        u64::from(u32_at(&self.id, 40)) | u64::from(u32_at(&self.id, 44)) << 32
    }

    /// The peer, IPv4 as v4-mapped.
    pub(super) fn remote(&self) -> (Address, Port) {
        let octets = &self.id[20..36];
        let address = if i32::from(self.family) == libc::AF_INET {
            Address::from_v4_octets(array(octets, 0))
        } else {
            Address::from_octets(array(octets, 0))
        };
        (address, Port::new(u16::from_be_bytes(array(&self.id, 2))))
    }
}

/// One message of an answer.
#[derive(Debug)]
pub(super) enum Message {
    Socket(Listed),
    /// The end of a dump, or of a request that is acknowledged.
    End(io::Result<()>),
}

/// Asks for every socket of `query`.
pub(super) fn dump(sequence: u32, query: &Query) -> Vec<u8> {
    let filter = port_filter(&query.ports);
    // With this comes what MPTCP says of a subflow, too.
    let extensions = 1 << (INET_DIAG_INFO - 1);
    let mut message = request(
        (SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, sequence),
        [query.family, query.protocol, extensions],
        query.states,
        &[0; ID],
    );
    let length = u16::try_from(4 + filter.len()).expect("a filter of two comparisons");
    message.extend(length.to_ne_bytes());
    message.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    message.extend(filter);
    finish(message)
}

/// Asks to end a socket, by all that is known of it, so that no other is hit.
pub(super) fn destroy(sequence: u32, protocol: u8, socket: &Listed) -> Vec<u8> {
    finish(request(
        (SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, sequence),
        [socket.family, protocol, 0],
        0,
        &socket.id,
    ))
}

/// Asks to end a socket that cannot be: none has cookie 0.
pub(super) fn destroy_nothing(sequence: u32, protocol: u8) -> Vec<u8> {
    let nothing = Listed {
        family: family(libc::AF_INET),
        id: [0; ID],
        idle: None,
        is_mptcp: false,
    };
    destroy(sequence, protocol, &nothing)
}

pub(super) fn family(number: i32) -> u8 {
    u8::try_from(number).expect("a family of addresses is a small number")
}

fn request(
    (kind, flags, sequence): (u16, u16, u32),
    [family, protocol, extensions]: [u8; 3],
    states: u32,
    id: &[u8; ID],
) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + REQUEST + 64);
    message.extend([0; 4]);
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([family, protocol, extensions, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(id);
    message
}

fn finish(mut message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// The comparisons that a socket must pass: a socket that jumps past the end is left out (`inet_diag_bc_run`). One range
/// for all ports, as the kernel runs this for every socket.
fn port_filter(ports: &RangeInclusive<u16>) -> Vec<u8> {
    // A comparison and its operand are 4 bytes each.
    let comparison = |code: u8, port: u16, left: u16| {
        let mut both = vec![code, 8];
        both.extend((left + 4).to_ne_bytes());
        both.extend([0, 0]);
        both.extend(port.to_ne_bytes());
        both
    };
    [
        comparison(INET_DIAG_BC_D_GE, *ports.start(), 16),
        comparison(INET_DIAG_BC_D_LE, *ports.end(), 8),
    ]
    .concat()
}

/// The messages of one datagram that answer `sequence`, and whether the list changed while it was read.
pub(super) fn read(mut bytes: &[u8], sequence: u32) -> (Vec<Message>, bool) {
    let (mut messages, mut is_interrupted) = (Vec::new(), false);
    while bytes.len() >= HEADER {
        let length = u32_at(bytes, 0) as usize;
        let Some(body) = bytes.get(HEADER..length) else {
            break;
        };
        let (kind, flags) = (u16_at(bytes, 4), u16_at(bytes, 6));
        if u32_at(bytes, 8) == sequence {
            is_interrupted |= flags & NLM_F_DUMP_INTR != 0;
            messages.extend(message(kind, body));
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    (messages, is_interrupted)
}

fn message(kind: u16, body: &[u8]) -> Option<Message> {
    match kind {
        SOCK_DIAG_BY_FAMILY => socket(body).map(Message::Socket),
        NLMSG_DONE | NLMSG_ERROR => {
            let errno = body.get(..4).map_or(0, |errno| u32_at(errno, 0));
            Some(Message::End(match errno.cast_signed() {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(-errno)),
            }))
        }
        _ => None,
    }
}

fn socket(body: &[u8]) -> Option<Listed> {
    let (fixed, rest) = body.split_at_checked(SOCKET)?;
    let idle = value(rest, INET_DIAG_INFO)
        .filter(|information| information.len() >= LAST_DATA_RECEIVED + 4)
        .map(|information| {
            let ago = [LAST_DATA_SENT, LAST_DATA_RECEIVED].map(|at| u32_at(information, at));
            Duration::from_millis(u64::from(ago[0].min(ago[1])))
        });
    let subflow = value(rest, INET_DIAG_ULP_INFO)
        .and_then(|protocol| value(protocol, INET_ULP_INFO_MPTCP))
        .and_then(|subflow| value(subflow, MPTCP_SUBFLOW_ATTR_FLAGS))
        .filter(|flags| flags.len() >= 4)
        .map(|flags| u32_at(flags, 0));
    Some(Listed {
        family: fixed[0],
        id: array(fixed, 4),
        idle,
        is_mptcp: subflow.is_some_and(|flags| flags & MPTCP_SUBFLOW_FLAG_MCAP_REM != 0),
    })
}

/// The value of the first attribute of that kind.
fn value(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while attributes.len() >= 4 {
        let length = usize::from(u16_at(attributes, 0));
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2) & NLA_TYPE_MASK == wanted {
            return Some(value);
        }
        attributes = attributes.get(aligned(length)..)?;
    }
    None
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array(bytes, at))
}

/// `bytes` must go as far as that.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests;
