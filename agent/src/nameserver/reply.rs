//! What is said to a question: the part of a message that is not the client's own.

use std::fmt;
use std::net::SocketAddr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::Record;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub code: ResponseCode,
    /// AA: of a host of ours.
    pub authoritative: bool,
    /// AD: the upstream server has validated it.
    pub authentic: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

impl Reply {
    pub fn of_code(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }

    /// What is ours to say.
    pub(super) fn own(answers: Vec<Record>) -> Self {
        Self {
            authoritative: true,
            answers,
            ..Self::of_code(ResponseCode::NoError)
        }
    }

    /// What another server said.
    pub(super) fn of_message(message: Message) -> Self {
        Self {
            code: message.metadata.response_code,
            authoritative: message.metadata.authoritative,
            authentic: message.metadata.authentic_data,
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
        }
    }

    pub(super) fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        let sections = [
            &mut self.answers,
            &mut self.authorities,
            &mut self.additionals,
        ];
        sections.into_iter().flatten()
    }
}

/// Whether another server's message answers a query at all: one about an update may hold records that no answer can.
pub(super) fn answers_query(message: &Message) -> bool {
    let metadata = &message.metadata;
    metadata.message_type == MessageType::Response && metadata.op_code == OpCode::Query
}

/// Whether it says something of the name, rather than of the server.
pub(super) fn is_of_name(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// Where a reply comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A host of ours.
    Own,
    /// What a server said before, and still holds.
    Cache(SocketAddr),
    /// What a server said before, which no longer holds; no server answers now.
    Stale(SocketAddr),
    /// What a server said just now.
    Server(SocketAddr),
    /// Nobody answered.
    Nobody,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own"),
            Self::Cache(server) => write!(f, "cache, from {server}"),
            Self::Stale(server) => write!(f, "stale, from {server}"),
            Self::Server(server) => write!(f, "{server}"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// One entry of the cache, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cached {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub code: String,
    /// Addresses and names that were answered.
    pub answers: Vec<String>,
    /// Seconds for which it still holds.
    pub ttl: u32,
    pub server: SocketAddr,
}
