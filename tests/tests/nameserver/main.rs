//! The name server on sockets of loopback: what clients get, what other servers are asked, and what comes first.
#![expect(
    clippy::unwrap_used,
    reason = "an arrangement that fails is a test that fails"
)]

mod bench;

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use agent::compile::{Names, Saying};
use agent::model::Fact;
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, HTTPS};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tests::dns_server::Entry;
use tokio::time::timeout;

use bench::*;

#[tokio::test]
async fn own_hosts_are_answered_however_many_there_are_and_nobody_else_is_asked() {
    let hosts: Vec<String> = (0..10_000).map(|n| format!("h{n}.shop")).collect();
    let names = hosts
        .iter()
        .map(|host| (host.as_str(), saying(7)))
        .collect();
    let bench = Bench::start(names, Vec::new(), [None; 2]);
    for host in ["h0.shop.", "H9999.Shop."] {
        let answer = bench.ask(host, RecordType::A).await;
        assert_eq!(addresses(&answer), ["240.1.0.7"]);
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        assert_eq!(answer.answers[0].ttl, 30);
        // As it was asked, letter for letter: clients draw the case too.
        assert_eq!(answer.queries[0].name().to_ascii(), host);
    }
    let answer = bench.ask("h0.shop.", RecordType::AAAA).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty());
    assert_eq!(bench.server().stats().own, 3);
}

#[tokio::test]
async fn the_second_question_is_answered_without_asking_and_with_less_time_left() {
    let upstream = upstream();
    upstream.set("a.net", Entry::addresses(&["192.0.2.1"], 60));
    let bench = Bench::start(Names::default(), vec![upstream.address()], [None; 2]);
    assert_eq!(bench.ask("a.net.", RecordType::A).await.answers[0].ttl, 60);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let again = bench.ask("A.Net.", RecordType::A).await;
    assert_eq!(addresses(&again), ["192.0.2.1"]);
    assert!((50..60).contains(&again.answers[0].ttl));
    assert_eq!(upstream.asked("a.net", RecordType::A), 1);
    assert_eq!(bench.server().cached().len(), 1);
}

#[tokio::test]
async fn a_hundred_clients_with_one_question_are_one_question() {
    let upstream = upstream();
    upstream.set("a.net", Entry::addresses(&["192.0.2.1"], 60));
    let bench = Bench::start(Names::default(), vec![upstream.address()], [None; 2]);
    let server = bench.listeners[0];
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        clients.spawn(async move { exchange(server, &query("a.net.", RecordType::A)).await });
    }
    for answer in clients.join_all().await {
        assert_eq!(addresses(&answer), ["192.0.2.1"]);
    }
    assert_eq!(upstream.asked("a.net", RecordType::A), 1);
}

#[tokio::test]
async fn where_the_first_server_is_dead_the_second_answers_before_clients_give_up() {
    let alive = upstream();
    alive.set("a.net", Entry::addresses(&["192.0.2.1"], 60));
    let dead = raw(|_, _| Vec::new());
    let bench = Bench::start(Names::default(), vec![dead, alive.address()], [None; 2]);
    assert_eq!(
        addresses(&bench.ask("a.net.", RecordType::A).await),
        ["192.0.2.1"]
    );
    // It is now asked after the other.
    alive.set("b.net", Entry::addresses(&["192.0.2.2"], 60));
    let start = Instant::now();
    bench.ask("b.net.", RecordType::A).await;
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn where_all_servers_are_dead_clients_are_told_and_what_held_before_holds() {
    let upstream = upstream();
    upstream.set("a.net", Entry::addresses(&["192.0.2.1"], 1));
    let bench = Bench::start(Names::default(), vec![upstream.address()], [None; 2]);
    bench.ask("a.net.", RecordType::A).await;
    upstream.set("a.net", Entry::Silence);
    upstream.set("b.net", Entry::Silence);
    let unknown = bench.ask("b.net.", RecordType::A).await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail);
    let stale = bench.ask("a.net.", RecordType::A).await;
    assert_eq!(addresses(&stale), ["192.0.2.1"]);
    assert_eq!(stale.answers[0].ttl, 30);
    let stats = bench.server().stats();
    assert_eq!((stats.stale, stats.unanswered), (1, 1));
}

#[tokio::test]
async fn what_does_not_belong_to_the_question_is_not_heard() {
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let forger = raw(move |query, client| {
        let elsewhere = answer_of(query, 68).to_vec().unwrap();
        stranger.send_to(&elsewhere, client).unwrap();
        let mut wrong_id = answer_of(query, 66);
        wrong_id.metadata.id = query.metadata.id.wrapping_add(1);
        let mut other = query.clone();
        other.queries[0].set_name(Name::from_ascii("bank.net.").unwrap());
        let wrong_question = answer_of(&other, 67);
        vec![wrong_id, wrong_question, answer_of(query, 1)]
    });
    let bench = Bench::start(Names::default(), vec![forger], [None; 2]);
    assert_eq!(
        addresses(&bench.ask("a.net.", RecordType::A).await),
        ["192.0.2.1"]
    );
}

#[tokio::test]
async fn a_server_that_answers_no_query_has_not_answered() {
    let updating = raw(|query, _| {
        let mut answer = answer_of(query, 66);
        answer.metadata.op_code = OpCode::Update;
        vec![answer]
    });
    let bench = Bench::start(Names::default(), vec![updating], [None; 2]);
    let answer = bench.ask("a.net.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(answer.answers.is_empty());
}

#[tokio::test]
async fn a_server_that_spoils_the_case_of_names_is_heard_by_stream_alone() {
    let spoiler = raw(|query, _| {
        let mut spoiled = query.clone();
        spoiled.queries[0].set_name(query.queries[0].name().to_lowercase());
        vec![answer_of(&spoiled, 66)]
    });
    raw_stream(spoiler, |query| answer_of(query, 1)).await;
    let bench = Bench::start(Names::default(), vec![spoiler], [None; 2]);
    // So many letters that their case is never drawn as it came.
    let answer = bench
        .ask(
            "abcdefghijklmnopqrstuvwxyz.abcdefghijkl.net.",
            RecordType::A,
        )
        .await;
    assert_eq!(addresses(&answer), ["192.0.2.1"]);
}

#[tokio::test]
async fn service_records_of_own_hosts_come_without_addresses_that_lead_past_them() {
    let hinting = raw(|query, _| {
        let mut answer = answer_of(query, 66);
        let owner = query.queries[0].name().clone();
        let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A::new(192, 0, 2, 66)]));
        let port = (SvcParamKey::Port, SvcParamValue::Port(8443));
        let params = vec![port, (SvcParamKey::Ipv4Hint, hint)];
        let service = RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params)));
        answer.additionals.append(&mut answer.answers);
        answer.add_answer(Record::from_rdata(owner, 60, service));
        vec![answer]
    });
    let names = Names::from_iter([("a.shop", saying(1))]);
    let bench = Bench::start(names, vec![hinting], [None; 2]);
    let own = bench.ask("a.shop.", RecordType::HTTPS).await.to_string();
    assert!(own.contains("8443") && !own.contains("192.0.2.66"), "{own}");
    let other = bench.ask("a.net.", RecordType::HTTPS).await.to_string();
    assert_eq!(other.matches("192.0.2.66").count(), 2, "{other}");
}

#[tokio::test]
async fn a_server_that_hangs_beats_no_more_until_it_goes_on() {
    let bench = Bench::start(Names::default(), Vec::new(), [None; 2]);
    bench.wait_for_beats(2).await;
    let hung = {
        let _held = bench.names.lock().unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let question = query("a.net.", RecordType::A).to_vec().unwrap();
        client.send_to(&question, bench.listeners[0]).unwrap();
        thread::sleep(Duration::from_millis(300));
        let before = bench.beats.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(500));
        (before, bench.beats.load(Ordering::Relaxed))
    };
    assert_eq!(hung.0, hung.1);
    bench.wait_for_beats(2).await;
}

#[tokio::test]
async fn a_lesson_comes_before_the_answer_which_waits_for_it_but_not_for_ever() {
    let upstream = upstream();
    for name in ["a.open.shop", "b.open.shop", "c.open.shop"] {
        upstream.set(name, Entry::addresses(&["192.0.2.1", "127.0.0.1"], 60));
    }
    let names = Names::from_iter([("*.open.shop", Saying::Learned)]);
    let mut bench = Bench::start(names, vec![upstream.address()], [None; 2]);
    let server = bench.listeners[0];
    let client = move |name: &'static str| async move {
        exchange(server, &query(name, RecordType::A)).await
    };
    let asking = tokio::spawn(client("a.open.shop."));
    let lesson = timeout(PATIENCE, bench.lessons.recv())
        .await
        .unwrap()
        .unwrap();
    let Fact::Learned {
        name,
        addresses: learned,
        ttl,
    } = &lesson.fact
    else {
        panic!("{:?}", lesson.fact)
    };
    assert_eq!(&**name, "a.open.shop");
    assert_eq!(
        *learned,
        [IpAddr::from([192, 0, 2, 1])],
        "loopback stands for no host"
    );
    assert_eq!(*ttl, Duration::from_mins(1));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asking.is_finished(), "the client waits");
    lesson.done.send(()).unwrap();
    assert_eq!(asking.await.unwrap().answers.len(), 2);

    let start = Instant::now();
    client("b.open.shop.").await;
    assert!((900..2_500).contains(&start.elapsed().as_millis()));
    assert_eq!(bench.server().stats().late, 1);

    bench.lessons.close();
    let start = Instant::now();
    assert_eq!(client("c.open.shop.").await.answers.len(), 2);
    assert!(start.elapsed() < Duration::from_millis(900));
}

#[tokio::test]
async fn a_name_on_demand_is_answered_with_the_address_that_it_is_given_then() {
    let upstream = upstream();
    upstream.set(
        "x.dynamic.shop",
        Entry::addresses(&["192.0.2.1", "2001:db8::1"], 60),
    );
    let names = Names::from_iter([("*.dynamic.shop", Saying::OnDemand)]);
    let mut bench = Bench::start(names, vec![upstream.address()], [None; 2]);
    let server = bench.listeners[0];
    let client =
        tokio::spawn(
            async move { exchange(server, &query("x.dynamic.shop.", RecordType::A)).await },
        );
    let lesson = timeout(PATIENCE, bench.lessons.recv())
        .await
        .unwrap()
        .unwrap();
    let Fact::Asked { name, answer } = &lesson.fact else {
        panic!("{:?}", lesson.fact)
    };
    assert_eq!(&**name, "x.dynamic.shop");
    assert_eq!(answer.addresses.len(), 2);
    let given = Names::from_iter([
        ("x.dynamic.shop", saying(9)),
        ("*.dynamic.shop", Saying::OnDemand),
    ]);
    *bench.names.lock().unwrap() = Arc::new(given);
    lesson.done.send(()).unwrap();
    assert_eq!(addresses(&client.await.unwrap()), ["240.1.0.9"]);
    // What does not exist is given nothing.
    let missing = bench.ask("y.dynamic.shop.", RecordType::A).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn each_listener_asks_the_server_that_it_stands_for() {
    let (one, other) = (upstream(), upstream());
    one.set("a.net", Entry::addresses(&["192.0.2.1"], 60));
    other.set("a.net", Entry::addresses(&["192.0.2.2"], 60));
    let origins = [Some(one.address()), Some(other.address())];
    let bench = Bench::start(Names::default(), Vec::new(), origins);
    for (listener, address) in bench.listeners.into_iter().zip(["192.0.2.1", "192.0.2.2"]) {
        let answer = exchange(listener, &query("a.net.", RecordType::A)).await;
        assert_eq!(addresses(&answer), [address]);
    }
}

#[tokio::test]
async fn it_beats_while_it_works_and_is_gone_with_its_ports_when_it_is_dropped() {
    let mut bench = Bench::start(Names::default(), Vec::new(), [None; 2]);
    bench.wait_for_beats(5).await;
    bench.server = None;
    let beats = bench.beats.load(Ordering::Relaxed);
    for listener in bench.listeners {
        UdpSocket::bind(listener).unwrap();
        TcpListener::bind(listener).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.beats.load(Ordering::Relaxed), beats);
}

#[tokio::test]
async fn answers_that_are_cut_are_fetched_by_stream_and_cut_for_clients_as_they_wish() {
    let many: Vec<String> = (1..=60).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let upstream = upstream();
    let entry = Entry::addresses(&many, 60);
    upstream.set("many.net", Entry::Truncated(Box::new(entry)));
    let bench = Bench::start(Names::default(), vec![upstream.address()], [None; 2]);
    let plain = query("many.net.", RecordType::A);
    for (request, size) in [
        (plain.clone(), 512),
        (with_edns(plain.clone(), 600), 600),
        (with_edns(plain.clone(), 100), 512),
    ] {
        let bytes = datagram(bench.listeners[0], &request.to_vec().unwrap())
            .await
            .unwrap();
        assert!(bytes.len() <= size, "{} bytes", bytes.len());
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(answer.metadata.truncation, "{answer}");
    }
    let roomy = exchange(bench.listeners[0], &with_edns(plain.clone(), 4096)).await;
    assert!(!roomy.metadata.truncation);
    assert_eq!(roomy.answers.len(), 60);
    let whole = exchange_by_stream(bench.listeners[0], &plain).await;
    assert_eq!(whole.answers.len(), 60);
    assert_eq!(bench.server().stats().streams, 1);
}

#[tokio::test]
async fn what_is_no_question_costs_nothing() {
    let names = Names::from_iter([("a.shop", saying(1))]);
    let bench = Bench::start(names, Vec::new(), [None; 2]);
    let server = bench.listeners[0];
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut response = query("a.shop.", RecordType::A).to_vec().unwrap();
    response[2] |= 0x80;
    for datagram in [
        vec![],
        vec![0; 3],
        vec![0xff; 12],
        vec![0xff; 60_000],
        response,
    ] {
        // So few that none of them, nor what follows, finds the socket full.
        for _ in 0..3 {
            socket.send_to(&datagram, server).unwrap();
        }
    }
    assert_eq!(
        addresses(&bench.ask("a.shop.", RecordType::A).await),
        ["240.1.0.1"]
    );
    let mut update = query("a.shop.", RecordType::A);
    update.metadata.op_code = OpCode::Status;
    let answer = exchange(server, &update).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NotImp);
    bench.wait_for_beats(2).await;
}
