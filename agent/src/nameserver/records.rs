//! What is read out of the answers of others, and what is taken out of them. Answers come from anywhere: whatever they
//! hold, this costs no more than their size, and does not panic.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::{RData, Record, RecordType};

use crate::compile::{Names, Saying};

use super::question::{Question, normal};
use super::reply::Reply;

/// Aliases that are followed from one name to the next; more than any resolver allows.
const LONGEST_CHAIN: usize = 16;

/// What an answer says of the addresses of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    /// Seconds for which all of it holds, the aliases on the way included.
    pub ttl: u32,
}

/// Keeps of the answers those that belong to the question: of its name, and of the names that this is an alias of. Returns
/// the addresses among them.
pub fn follow(question: &Question, reply: &mut Reply) -> Found {
    let mut chain: Vec<Arc<str>> = vec![Arc::clone(&question.name)];
    for _ in 0..LONGEST_CHAIN {
        let last = chain.last().expect("it starts with the question's name");
        let alias = reply.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if normal(&record.name) == *last => Some(normal(&target.0)),
            _ => None,
        });
        match alias {
            Some(alias) if !chain.contains(&alias) => chain.push(alias),
            _ => break,
        }
    }
    reply
        .answers
        .retain(|record| chain.contains(&normal(&record.name)));
    let last = chain.last().expect("it starts with the question's name");
    let of_last =
        |record: &&Record| record.record_type() == question.kind && normal(&record.name) == *last;
    let addresses = reply.answers.iter().filter(of_last);
    let addresses = addresses.filter_map(|record| record.data.ip_addr());
    let ttl = reply.answers.iter().map(|record| record.ttl).min();
    Found {
        addresses: addresses.collect(),
        ttl: ttl.unwrap_or_default(),
    }
}

/// Takes out what would lead clients of a host of ours past its address: hints in HTTPS and SVCB records, and addresses
/// of such hosts, which come along or are what ANY asks for. The name exists, as we say that it has addresses.
pub fn keep_to_ours(names: &Names, reply: &mut Reply) {
    if reply.code == ResponseCode::NXDomain {
        reply.code = ResponseCode::NoError;
    }
    for record in reply.records_mut() {
        match &mut record.data {
            RData::HTTPS(https) => drop_hints(&mut https.0),
            RData::SVCB(svcb) => drop_hints(svcb),
            _ => {}
        }
    }
    let may_stay = |record: &Record| {
        let is_address = matches!(record.record_type(), RecordType::A | RecordType::AAAA);
        let said = names.find(&normal(&record.name));
        !(is_address && matches!(said, Some(Saying::Addresses(_) | Saying::OnDemand)))
    };
    reply.answers.retain(may_stay);
    reply.additionals.retain(may_stay);
}

/// What is named as mandatory must be there, so that hints are no longer.
fn drop_hints(service: &mut SVCB) {
    let is_hint = |key: &SvcParamKey| matches!(key, SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint);
    service.svc_params.retain_mut(|(key, value)| {
        if let SvcParamValue::Mandatory(keys) = value {
            keys.0.retain(|key| !is_hint(key));
            return !keys.0.is_empty();
        }
        !is_hint(key)
    });
}

#[cfg(test)]
mod tests;
