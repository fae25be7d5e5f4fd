//! Whether any bytes that another server answers become a message for the client that keeps what is promised of it. The
//! first byte chooses what was asked.

use agent::nameserver::{Question, passing};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::NAMES;

const KINDS: [RecordType; 5] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::HTTPS,
    RecordType::SVCB,
    RecordType::ANY,
];

pub fn answers(input: &[u8]) {
    let Some((choice, answer)) = input.split_first() else {
        return;
    };
    let kind = KINDS[usize::from(*choice) % KINDS.len()];
    let question = Question::plain("a", kind);
    let Some((written, found)) = passing::pass(&NAMES, &question, answer) else {
        return;
    };
    let message = Message::from_vec(&written).expect("what is written can be read");
    if question.wants_addresses() {
        for record in &message.answers {
            assert!(is_reached(&record.name, &message.answers), "{record}");
        }
        assert!(found.addresses.iter().all(|address| match kind {
            RecordType::A => address.is_ipv4(),
            _ => address.is_ipv6(),
        }));
    } else {
        let sections = [&message.answers, &message.authorities, &message.additionals];
        assert!(sections.into_iter().flatten().all(has_no_hint));
        assert_ne!(message.metadata.response_code, ResponseCode::NXDomain);
        let others = message.answers.iter().chain(&message.additionals);
        let mut addresses = others.filter(|record| record.data.ip_addr().is_some());
        let host = Name::from_ascii("a.").expect("it is a name");
        assert!(addresses.all(|record| record.name != host));
    }
}

/// Whether it is the name that was asked for, or one that an alias leads to.
fn is_reached(name: &Name, answers: &[Record]) -> bool {
    let asked = Name::from_ascii("a.").expect("it is a name");
    let is_target = |record: &Record| matches!(&record.data, RData::CNAME(to) if to.0 == *name);
    *name == asked || answers.iter().any(is_target)
}

fn has_no_hint(record: &Record) -> bool {
    let is_clean = |service: &SVCB| {
        let is_hint =
            |key: &SvcParamKey| matches!(key, SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint);
        service.svc_params.iter().all(|(key, value)| match value {
            SvcParamValue::Mandatory(keys) => !keys.0.iter().any(is_hint),
            _ => !is_hint(key),
        })
    };
    match &record.data {
        RData::HTTPS(https) => is_clean(&https.0),
        RData::SVCB(service) => is_clean(service),
        _ => true,
    }
}
