use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, Mandatory, Unknown};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::passing::pass;
use super::*;
use crate::compile::may_stand;

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn address(owner: &str, ttl: u32, address: &str) -> Record {
    let address: IpAddr = address.parse().unwrap();
    Record::from_rdata(name(owner), ttl, RData::from(address))
}

fn alias(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn reply(answers: Vec<Record>) -> Reply {
    Reply {
        answers,
        ..Reply::of_code(ResponseCode::NoError)
    }
}

/// What is found for `a` of IPv4 addresses, with the seconds, and how many answers are kept.
fn found(answers: Vec<Record>) -> (Vec<String>, u32, usize) {
    let mut reply = reply(answers);
    let found = follow(&Question::plain("a", RecordType::A), &mut reply);
    let addresses = found.addresses.iter().map(IpAddr::to_string).collect();
    (addresses, found.ttl, reply.answers.len())
}

fn ours() -> Names {
    Names::from_iter([
        (
            "our.shop",
            Saying::Addresses([IpAddr::from([240, 1, 0, 1])].into()),
        ),
        ("*.dynamic.shop", Saying::OnDemand),
        ("open.shop", Saying::Learned),
    ])
}

#[test]
fn addresses_are_those_at_the_end_of_the_chain_and_of_the_family_that_was_asked_for() {
    let answers = vec![
        address("c", 90, "192.0.2.3"),
        alias("B", 20, "C"),
        address("c", 80, "2001:db8::3"),
        alias("a", 60, "b"),
        address("c", 70, "192.0.2.4"),
        // An alias has no addresses.
        address("a", 70, "192.0.2.5"),
        address("b", 70, "192.0.2.6"),
    ];
    let expected = vec!["192.0.2.3".to_owned(), "192.0.2.4".to_owned()];
    assert_eq!(found(answers), (expected, 20, 7));
}

#[test]
fn records_of_names_that_nobody_asked_for_are_dropped() {
    let answers = vec![
        address("a", 60, "192.0.2.1"),
        address("bank", 1, "192.0.2.66"),
        alias("x", 1, "a"),
    ];
    assert_eq!(found(answers), (vec!["192.0.2.1".to_owned()], 60, 1));
    assert_eq!(found(Vec::new()), (Vec::new(), 0, 0));
}

#[test]
fn a_loop_of_aliases_leads_nowhere() {
    let answers = vec![
        alias("a", 60, "b"),
        alias("b", 60, "a"),
        address("c", 1, "192.0.2.1"),
    ];
    assert_eq!(found(answers), (Vec::new(), 60, 2));
    assert_eq!(found(vec![alias("a", 60, "a")]), (Vec::new(), 60, 1));
}

#[test]
fn a_chain_is_followed_for_sixteen_aliases_and_no_further() {
    let chain = |length: usize| {
        let owner = |at: usize| {
            if at == 0 {
                "a".to_owned()
            } else {
                format!("n{at}")
            }
        };
        let aliases = (0..length).map(|at| alias(&owner(at), 60, &owner(at + 1)));
        let mut answers: Vec<Record> = aliases.collect();
        answers.push(address(&owner(length), 60, "192.0.2.1"));
        found(answers)
    };
    assert_eq!(chain(16), (vec!["192.0.2.1".to_owned()], 60, 17));
    assert_eq!(chain(17), (Vec::new(), 60, 17));
}

#[test]
fn addresses_that_mean_another_host_everywhere_stand_for_no_name() {
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "169.254.169.254",
        "::1",
        "::",
        "ff02::1",
        "fe80::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
    ] {
        assert!(!may_stand(address.parse().unwrap()), "{address}");
    }
    for address in [
        "192.0.2.1",
        "10.0.0.1",
        "192.168.1.1",
        "2001:db8::1",
        "fd00::1",
        "::ffff:192.0.2.1",
    ] {
        assert!(may_stand(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn a_host_of_ours_exists_whatever_others_say() {
    let mut gone = Reply::of_code(ResponseCode::NXDomain);
    keep_to_ours(&ours(), &mut gone);
    assert_eq!(gone.code, ResponseCode::NoError);
    let mut refused = Reply::of_code(ResponseCode::Refused);
    keep_to_ours(&ours(), &mut refused);
    assert_eq!(refused.code, ResponseCode::Refused);
}

#[test]
fn hints_are_dropped_and_are_no_longer_mandatory() {
    let v4 = (
        SvcParamKey::Ipv4Hint,
        SvcParamValue::Ipv4Hint(IpHint(vec![A::new(192, 0, 2, 1)])),
    );
    let v6 = (
        SvcParamKey::Ipv6Hint,
        SvcParamValue::Ipv6Hint(IpHint(vec![AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)])),
    );
    let alpn = (
        SvcParamKey::Alpn,
        SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()])),
    );
    let key = (
        SvcParamKey::Key(4711),
        SvcParamValue::Unknown(Unknown(vec![1, 2])),
    );
    let mandatory = |keys: &[SvcParamKey]| {
        (
            SvcParamKey::Mandatory,
            SvcParamValue::Mandatory(Mandatory(keys.to_vec())),
        )
    };
    let hints = [SvcParamKey::Ipv4Hint, SvcParamKey::Ipv6Hint];
    let with = |data| Record::from_rdata(name("our.shop"), 60, data);
    let some = SVCB::new(
        1,
        Name::root(),
        vec![
            mandatory(&[SvcParamKey::Alpn, SvcParamKey::Ipv4Hint]),
            alpn.clone(),
            v4.clone(),
            v6.clone(),
            key.clone(),
        ],
    );
    let only = SVCB::new(1, Name::root(), vec![mandatory(&hints), v4, v6]);
    let mut reply = reply(vec![with(RData::HTTPS(HTTPS(some.clone())))]);
    reply.authorities = vec![with(RData::SVCB(some))];
    reply.additionals = vec![with(RData::SVCB(only))];
    keep_to_ours(&ours(), &mut reply);
    let kept = SVCB::new(
        1,
        Name::root(),
        vec![mandatory(&[SvcParamKey::Alpn]), alpn, key],
    );
    assert_eq!(reply.answers[0].data, RData::HTTPS(HTTPS(kept.clone())));
    assert_eq!(reply.authorities[0].data, RData::SVCB(kept));
    let bare = SVCB::new(1, Name::root(), Vec::new());
    assert_eq!(reply.additionals[0].data, RData::SVCB(bare));
}

#[test]
fn addresses_of_our_hosts_that_come_along_or_are_part_of_any_are_dropped() {
    let all = || {
        vec![
            address("our.shop", 60, "192.0.2.1"),
            address("Our.Shop", 60, "2001:db8::1"),
            address("x.dynamic.shop", 60, "192.0.2.2"),
            address("open.shop", 60, "192.0.2.3"),
            address("elsewhere.net", 60, "192.0.2.4"),
            alias("our.shop", 60, "elsewhere.net"),
        ]
    };
    let mut reply = reply(all());
    reply.additionals = all();
    keep_to_ours(&ours(), &mut reply);
    assert_eq!(reply.answers, all()[3..]);
    assert_eq!(reply.additionals, all()[3..]);
}

/// Records among few names, so that chains, loops and strangers occur.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let owner = || prop::sample::select(vec!["a", "b", "C", "d.e", "our.shop"]);
    let record = prop_oneof![
        (owner(), owner(), any::<u32>()).prop_map(|(owner, target, ttl)| alias(owner, ttl, target)),
        (owner(), any::<IpAddr>(), any::<u32>()).prop_map(|(owner, ip, ttl)| address(
            owner,
            ttl,
            &ip.to_string()
        )),
    ];
    vec(record, 0..12)
}

#[test]
fn only_what_answers_a_query_is_passed_on() {
    let pass_as = |spoil: fn(&mut Message)| {
        let mut message = Message::response(1, OpCode::Query);
        spoil(&mut message);
        let question = Question::plain("a", RecordType::A);
        pass(&ours(), &question, &message.to_vec().unwrap())
    };
    assert!(pass_as(|_| ()).is_some());
    assert!(pass_as(|m| m.metadata.response_code = ResponseCode::NXDomain).is_some());
    assert!(pass_as(|m| m.metadata.response_code = ResponseCode::Refused).is_none());
    assert!(pass_as(|m| m.metadata.message_type = MessageType::Query).is_none());
    // Records of updates may be empty, which no record of an answer is.
    assert!(pass_as(|m| m.metadata.op_code = OpCode::Update).is_none());
}

proptest! {
    #[test]
    fn what_is_kept_is_reached_from_the_question(answers in records()) {
        let mut kept = reply(answers.clone());
        let found = follow(&Question::plain("a", RecordType::A), &mut kept);
        let owners: Vec<_> = kept.answers.iter().map(|r| normal(&r.name)).collect();
        for owner in &owners {
            let is_target = kept.answers.iter().any(|record| match &record.data {
                RData::CNAME(target) => normal(&target.0) == *owner,
                _ => false,
            });
            prop_assert!(&**owner == "a" || is_target, "{owner}");
        }
        for address in found.addresses {
            prop_assert!(address.is_ipv4());
            prop_assert!(kept.answers.iter().any(|r| r.data.ip_addr() == Some(address)));
        }
        prop_assert!(kept.answers.iter().all(|record| record.ttl >= found.ttl));
        let again = kept.answers.clone();
        follow(&Question::plain("a", RecordType::A), &mut kept);
        prop_assert_eq!(again, kept.answers, "what was kept stays kept");
    }

    #[test]
    fn any_bytes_are_passed_on_or_not_without_a_panic(bytes in vec(any::<u8>(), 0..600)) {
        for kind in [RecordType::A, RecordType::HTTPS] {
            pass(&ours(), &Question::plain("our.shop", kind), &bytes);
        }
    }

    #[test]
    fn messages_with_a_few_bytes_spoiled_are_passed_on_or_not_without_a_panic(
        answers in records(),
        spoiled in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
    ) {
        let mut message = Message::response(1, OpCode::Query);
        message.answers = answers;
        let mut bytes = message.to_vec().unwrap();
        for (at, byte) in spoiled {
            *at.get_mut(&mut bytes) = byte;
        }
        for kind in [RecordType::A, RecordType::AAAA, RecordType::ANY] {
            let passed = pass(&ours(), &Question::plain("a", kind), &bytes);
            if let Some((bytes, _)) = passed {
                prop_assert!(Message::from_vec(&bytes).is_ok());
            }
        }
    }
}
