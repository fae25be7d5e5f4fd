//! What becomes of one question: answered from what is known, or asked elsewhere, and what is then done with the answer.
//! Pure: randomness is an argument.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::compile::{Names, Saying};

use super::question::{Question, wire_name};
use super::reply::Reply;

/// Seconds for which what we say of our hosts holds, as Istio has it.
pub const TTL: u32 = 30;

#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Answer(Reply),
    Forward(Use),
}

/// What the answer of another server is put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is passed on.
    PassOn,
    /// It is passed on without what would lead clients past the address of a host of ours.
    OfOurs,
    /// Its addresses are recognised from now on.
    Learn,
    /// If the name exists, it is given an automatic address.
    Ask,
}

/// `search` are the domains that the system's resolver appends to names, without trailing dots. `random` picks the first
/// of several addresses.
pub fn plan(names: &Names, search: &[Arc<str>], question: &Question, random: usize) -> Plan {
    let said = match question.class {
        DNSClass::IN => names.find(&question.name),
        _ => None,
    };
    match (said, question.wants_addresses()) {
        (Some(Saying::Addresses(addresses)), true) => Plan::Answer(Reply::own(records(
            &question.name,
            question.kind,
            addresses,
            random,
        ))),
        (Some(Saying::Learned), true) => Plan::Forward(Use::Learn),
        (Some(Saying::OnDemand), true) => Plan::Forward(Use::Ask),
        (Some(Saying::Addresses(_) | Saying::OnDemand), false) => Plan::Forward(Use::OfOurs),
        (None, true) => searched(names, search, question, random)
            .map_or(Plan::Forward(Use::PassOn), Plan::Answer),
        (Some(Saying::Learned) | None, false) => Plan::Forward(Use::PassOn),
    }
}

/// A host with a domain of the search list behind it is that host: resolvers ask for it so before they ask for the host
/// itself. Of wildcards this does not hold: they would take every name of the domain.
fn searched(
    names: &Names,
    search: &[Arc<str>],
    question: &Question,
    random: usize,
) -> Option<Reply> {
    let hosts = search.iter().filter_map(|domain| {
        let host = question.name.strip_suffix(&**domain)?.strip_suffix('.')?;
        match names.exact(host)? {
            Saying::Addresses(addresses) => Some((host, addresses)),
            Saying::Learned | Saying::OnDemand => None,
        }
    });
    let (host, addresses) = { hosts }.next()?;
    let alias = RData::CNAME(CNAME(wire_name(host)?));
    let mut answers = vec![Record::from_rdata(wire_name(&question.name)?, TTL, alias)];
    answers.extend(records(host, question.kind, addresses, random));
    Some(Reply::own(answers))
}

/// The addresses of one family, which may be none.
fn records(name: &str, kind: RecordType, addresses: &[IpAddr], random: usize) -> Vec<Record> {
    let Some(owner) = wire_name(name) else {
        return Vec::new();
    };
    let data = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(v4) if kind == RecordType::A => Some(RData::A(A(*v4))),
        IpAddr::V6(v6) if kind == RecordType::AAAA => Some(RData::AAAA(AAAA(*v6))),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    let mut records: Vec<Record> = data
        .map(|data| Record::from_rdata(owner.clone(), TTL, data))
        .collect();
    if !records.is_empty() {
        let first = random % records.len();
        records.rotate_left(first);
    }
    records
}

#[cfg(test)]
mod tests;
