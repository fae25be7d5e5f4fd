//! One question, as it is told apart from others: however the client spelled the name.

use std::str::{Bytes, FromStr};
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
    // Just one: a label may end with a dot of its own, which is then escaped.
    let text = if name.is_fqdn() {
        text.strip_suffix('.').unwrap_or(&text)
    } else {
        &text
    };
    text.to_ascii_lowercase().into()
}

/// The reverse of [`normal`]. Labels are any bytes, which hickory's own reader of names refuses.
pub(super) fn wire_name(name: &str) -> Option<Name> {
    if name.is_empty() {
        return Some(Name::root());
    }
    let mut labels = vec![Vec::new()];
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'.' => {
                labels.push(Vec::new());
                continue;
            }
            b'\\' => escaped(&mut bytes)?,
            byte => byte,
        };
        labels.last_mut()?.push(byte);
    }
    if labels.iter().any(Vec::is_empty) {
        return None;
    }
    Name::from_labels(labels.iter().map(Vec::as_slice)).ok()
}

/// What stands behind a backslash: the byte itself, or three octal digits.
fn escaped(bytes: &mut Bytes<'_>) -> Option<u8> {
    let first = bytes.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let digits = [first, bytes.next()?, bytes.next()?];
    u8::from_str_radix(str::from_utf8(&digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn round(text: &str) -> Option<String> {
        wire_name(text).map(|name| normal(&name).to_string())
    }

    #[test]
    fn names_are_lower_case_and_without_the_last_dot() {
        let name = Name::from_ascii("WWW.Example.COM.").unwrap();
        assert_eq!(&*normal(&name), "www.example.com");
        assert_eq!(&*normal(&Name::root()), "");
        assert_eq!(&*Question::plain("A.b.", RecordType::A).name, "a.b");
    }

    #[test]
    fn what_is_no_name_has_no_wire_form() {
        let long = format!("{}.com", "a".repeat(64));
        let longer = ["a"; 128].join(".");
        for text in [
            "a..b", ".a", "a.", "a\\", "a\\9", "a\\999", "a\\400", &long, &longer,
        ] {
            assert_eq!(wire_name(text), None, "{text}");
        }
        for text in [
            "",
            "a",
            "_dns.a-b.c",
            "*.a",
            "a\\.b.c",
            &["a"; 127].join("."),
        ] {
            assert_eq!(round(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_question_is_asked_as_it_came_but_for_case() {
        let mut question = Question::plain("A.Example.", RecordType::TXT);
        question.class = DNSClass::CH;
        let query = question.query().unwrap();
        assert_eq!(query.name(), &Name::from_ascii("a.example.").unwrap());
        assert_eq!(query.query_type(), RecordType::TXT);
        assert_eq!(query.query_class(), DNSClass::CH);
    }

    #[test]
    fn types_are_read_and_written_by_name() {
        assert_eq!("https".parse(), Ok(RecordKind(RecordType::HTTPS)));
        assert!("many".parse::<RecordKind>().unwrap_err().contains("many"));
        let written = serde_json::to_string(&RecordKind(RecordType::AAAA)).unwrap();
        assert_eq!(written, "\"AAAA\"");
        let read: RecordKind = serde_json::from_str(&written).unwrap();
        assert_eq!(read, RecordKind(RecordType::AAAA));
    }

    proptest! {
        #[test]
        fn every_name_of_the_wire_has_a_text_that_leads_back_to_it(
            labels in vec(vec(any::<u8>(), 1..20), 0..8)
        ) {
            let name = Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
            let text = normal(&name);
            let back = wire_name(&text);
            prop_assert_eq!(back.as_ref(), Some(&name), "{}", text);
        }

        #[test]
        fn any_text_has_a_wire_form_or_none(text in "\\PC{0,40}|[a-c.\\\\0-9]{0,20}") {
            if let Some(name) = wire_name(&text) {
                prop_assert!(name.is_fqdn());
                let normal = normal(&name);
                prop_assert_eq!(wire_name(&normal), Some(name));
            }
        }
    }
}
