//! One question, as it is told apart from others: however the client spelled the name.

use std::str::FromStr;
use std::sync::Arc;

use hickory_proto::op::Query;
use hickory_proto::rr::{DNSClass, Name, RecordType};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is asked, and how the answer is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Lower case, without a trailing dot; the root is empty.
    pub name: Arc<str>,
    pub kind: RecordType,
    pub class: DNSClass,
    /// RD: the server is to ask others.
    pub recursion: bool,
    /// CD: the server is not to validate.
    pub unchecked: bool,
    /// DO: signatures are wanted; `None` from a client that does not speak EDNS.
    pub signatures: Option<bool>,
}

impl Question {
    /// As a program asks that wants no more than an answer.
    pub fn plain(name: &str, kind: RecordType) -> Self {
        Self {
            name: name.trim_end_matches('.').to_ascii_lowercase().into(),
            kind,
            class: DNSClass::IN,
            recursion: true,
            unchecked: false,
            signatures: None,
        }
    }

    pub fn wants_addresses(&self) -> bool {
        self.class == DNSClass::IN && matches!(self.kind, RecordType::A | RecordType::AAAA)
    }

    /// As it goes over the wire; `None` for what is no name there.
    pub(super) fn query(&self) -> Option<Query> {
        let mut query = Query::query(wire_name(&self.name)?, self.kind);
        query.set_query_class(self.class);
        Some(query)
    }
}

/// A type of records, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordKind(pub RecordType);

impl FromStr for RecordKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = text.to_ascii_uppercase().parse();
        kind.map(Self)
            .map_err(|_| format!("{text} is no type of DNS records; write A, AAAA, HTTPS, TXT, …"))
    }
}

impl Serialize for RecordKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RecordKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A name as in a [`Question`].
pub(super) fn normal(name: &Name) -> Arc<str> {
    let text = name.to_ascii();
    text.trim_end_matches('.').to_ascii_lowercase().into()
}

/// The reverse of [`normal`].
pub(super) fn wire_name(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}
