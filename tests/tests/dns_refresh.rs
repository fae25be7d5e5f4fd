//! The resolver as a source, against a real DNS server on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "an arrangement that fails is a test that fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent::model::{Answer, Fact};
use agent::sources::{Refresher, RefresherSettings, Timing, Upstream};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tests::dns_server::{DnsServer, Entry};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far beyond any wait that a test counts on.
const PATIENCE: Duration = Duration::from_secs(20);

/// A refresher with the newest answer to each name.
struct Bench {
    server: DnsServer,
    refresher: Refresher,
    facts: mpsc::Receiver<Fact>,
    answers: BTreeMap<Arc<str>, Answer>,
}

impl Bench {
    fn start() -> Self {
        let server = DnsServer::start().unwrap();
        let (refresher, facts) = refresher(Upstream::new(&[server.address()]));
        Self {
            server,
            refresher,
            facts,
            answers: BTreeMap::new(),
        }
    }

    fn want(&self, names: &[&str]) {
        self.refresher.set_demand(&demand(names));
    }

    /// The next answer to `name` that is as wanted; others are passed over.
    async fn wait_for(&mut self, name: &str, is_wanted: impl Fn(&Answer) -> bool) -> Answer {
        let search = async {
            loop {
                let fact = self.facts.recv().await.expect("the refresher runs");
                let Fact::Resolved { host, answer } = fact else {
                    panic!("{fact:?}")
                };
                self.answers.insert(Arc::clone(&host), answer.clone());
                if &*host == name && is_wanted(&answer) {
                    return answer;
                }
            }
        };
        let Ok(answer) = timeout(PATIENCE, search).await else {
            panic!("no such answer for {name}; known: {:?}", self.answers)
        };
        answer
    }

    async fn wait_for_addresses(&mut self, name: &str, addresses: &[&str]) -> Answer {
        self.wait_for(name, |answer| texts(answer) == addresses)
            .await
    }
}

fn refresher(upstream: Upstream) -> (Refresher, mpsc::Receiver<Fact>) {
    let (sender, facts) = mpsc::channel(16);
    let settings = RefresherSettings {
        upstream,
        timing: Timing {
            retry_first: Duration::from_millis(200),
            ..Timing::default()
        },
    };
    (Refresher::start(settings, sender), facts)
}

fn demand(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn texts(answer: &Answer) -> Vec<String> {
    answer.addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn both_families_are_told_ipv4_first_in_the_order_of_the_answer() {
    let mut bench = Bench::start();
    let all = ["192.0.2.9", "192.0.2.1", "2001:db8::9", "2001:db8::1"];
    bench.server.set("both.test", Entry::addresses(&all, 60));
    bench.want(&["both.test"]);
    let answer = bench.wait_for_addresses("both.test", &all).await;
    assert_eq!(answer.failure, None);
}

#[tokio::test]
async fn a_changed_answer_is_told_when_the_old_one_has_lived() {
    let mut bench = Bench::start();
    bench
        .server
        .set("a.test", Entry::addresses(&["192.0.2.1"], 1));
    bench.want(&["a.test"]);
    bench.wait_for_addresses("a.test", &["192.0.2.1"]).await;
    bench
        .server
        .set("a.test", Entry::addresses(&["192.0.2.2"], 1));
    bench.wait_for_addresses("a.test", &["192.0.2.2"]).await;
}

#[tokio::test]
async fn a_long_lived_answer_is_asked_for_once_and_again_on_request() {
    let mut bench = Bench::start();
    bench.server.set(
        "long.test",
        Entry::addresses(&["192.0.2.1", "2001:db8::1"], 300),
    );
    bench
        .server
        .set("short.test", Entry::addresses(&["192.0.2.3"], 1));
    bench.want(&["long.test", "short.test"]);
    bench
        .wait_for_addresses("long.test", &["192.0.2.1", "2001:db8::1"])
        .await;
    // The short-lived name is the clock.
    while bench.server.asked("short.test", RecordType::A) < 3 {
        bench.wait_for("short.test", |_| true).await;
    }
    assert_eq!(bench.server.asked("long.test", RecordType::A), 1);
    assert_eq!(bench.server.asked("long.test", RecordType::AAAA), 1);
    bench.server.set(
        "long.test",
        Entry::addresses(&["192.0.2.2", "2001:db8::2"], 300),
    );
    bench.refresher.refresh();
    bench
        .wait_for_addresses("long.test", &["192.0.2.2", "2001:db8::2"])
        .await;
}

#[tokio::test]
async fn an_answer_of_no_life_is_asked_for_no_more_often_than_the_floor() {
    let mut bench = Bench::start();
    bench
        .server
        .set("zero.test", Entry::addresses(&["192.0.2.1"], 0));
    bench
        .server
        .set("clock.test", Entry::addresses(&["192.0.2.2"], 2));
    let start = tokio::time::Instant::now();
    bench.want(&["zero.test", "clock.test"]);
    while bench.server.asked("clock.test", RecordType::A) < 2 {
        bench.wait_for("clock.test", |_| true).await;
    }
    let asked = bench.server.asked("zero.test", RecordType::A);
    let most = usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!((2..=most).contains(&asked), "{asked} of at most {most}");
}

#[tokio::test]
async fn a_server_failure_keeps_the_last_good_answer_until_it_is_over() {
    let mut bench = Bench::start();
    bench
        .server
        .set("a.test", Entry::addresses(&["192.0.2.1"], 1));
    bench.want(&["a.test"]);
    bench.wait_for_addresses("a.test", &["192.0.2.1"]).await;
    bench
        .server
        .set("a.test", Entry::Code(ResponseCode::ServFail));
    let stale = bench
        .wait_for("a.test", |answer| answer.failure.is_some())
        .await;
    assert_eq!(texts(&stale), ["192.0.2.1"]);
    bench
        .server
        .set("a.test", Entry::addresses(&["192.0.2.2"], 1));
    let fresh = bench.wait_for_addresses("a.test", &["192.0.2.2"]).await;
    assert_eq!(fresh.failure, None);
}

#[tokio::test]
async fn a_server_that_is_silent_is_a_failure_that_keeps_the_answer() {
    let mut bench = Bench::start();
    bench
        .server
        .set("a.test", Entry::addresses(&["192.0.2.1"], 1));
    bench.want(&["a.test"]);
    bench.wait_for_addresses("a.test", &["192.0.2.1"]).await;
    bench.server.set("a.test", Entry::Silence);
    let stale = bench
        .wait_for("a.test", |answer| answer.failure.is_some())
        .await;
    assert_eq!(texts(&stale), ["192.0.2.1"]);
}

#[tokio::test]
async fn a_name_that_ceases_to_exist_loses_its_addresses_and_gets_them_back() {
    let mut bench = Bench::start();
    bench
        .server
        .set("a.test", Entry::addresses(&["192.0.2.1"], 1));
    bench.want(&["a.test"]);
    bench.wait_for_addresses("a.test", &["192.0.2.1"]).await;
    bench.server.remove("a.test");
    let none = bench.wait_for_addresses("a.test", &[]).await;
    assert!(none.failure.unwrap().contains("no such name"));
    bench
        .server
        .set("a.test", Entry::addresses(&["192.0.2.2"], 1));
    bench.wait_for_addresses("a.test", &["192.0.2.2"]).await;
}

#[tokio::test]
async fn one_family_failing_does_not_hide_the_other() {
    let mut bench = Bench::start();
    for (name, broken) in [
        ("servfail.test", Entry::Code(ResponseCode::ServFail)),
        ("silent.test", Entry::Silence),
    ] {
        bench.server.set(
            name,
            Entry::PerFamily {
                v4: Box::new(Entry::addresses(&["192.0.2.1"], 60)),
                v6: Box::new(broken),
            },
        );
        bench.want(&[name]);
        let answer = bench.wait_for_addresses(name, &["192.0.2.1"]).await;
        assert_eq!(answer.failure, None, "{name}");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp() {
    let mut bench = Bench::start();
    let whole = Entry::addresses(&["192.0.2.1", "192.0.2.2"], 60);
    bench
        .server
        .set("big.test", Entry::Truncated(Box::new(whole)));
    bench.want(&["big.test"]);
    bench
        .wait_for_addresses("big.test", &["192.0.2.1", "192.0.2.2"])
        .await;
}

#[tokio::test]
async fn an_alias_lives_as_long_as_its_shortest_lived_record() {
    let mut bench = Bench::start();
    bench
        .server
        .set("a.test", Entry::addresses(&["192.0.2.1"], 300));
    bench
        .server
        .set("b.test", Entry::addresses(&["192.0.2.2"], 300));
    let alias = |target: &str| Entry::Alias {
        target: format!("{target}."),
        ttl: 1,
    };
    bench.server.set("www.test", alias("a.test"));
    bench.want(&["www.test"]);
    bench.wait_for_addresses("www.test", &["192.0.2.1"]).await;
    bench.server.set("www.test", alias("b.test"));
    bench.wait_for_addresses("www.test", &["192.0.2.2"]).await;
}

#[tokio::test]
async fn every_one_of_many_names_is_resolved_with_one_question_per_family() {
    const COUNT: usize = 500;
    let mut bench = Bench::start();
    let names: Vec<String> = (0..COUNT).map(|n| format!("n{n}.test")).collect();
    for name in &names {
        bench
            .server
            .set(name, Entry::addresses(&["192.0.2.1", "2001:db8::1"], 300));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.want(&names);
    let mut whole = BTreeSet::new();
    while whole.len() < COUNT {
        let fact = timeout(PATIENCE, bench.facts.recv()).await.unwrap();
        let Some(Fact::Resolved { host, answer }) = fact else {
            panic!("{fact:?}")
        };
        if answer.addresses.len() == 2 {
            whole.insert(host);
        }
    }
    for name in names {
        assert_eq!(bench.server.asked(name, RecordType::A), 1, "{name}");
        assert_eq!(bench.server.asked(name, RecordType::AAAA), 1, "{name}");
    }
    assert_eq!(bench.refresher.status().len(), COUNT);
}

#[tokio::test]
async fn the_systems_table_of_hosts_is_followed_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (resolv_conf, hosts) = (dir.path().join("resolv.conf"), dir.path().join("hosts"));
    // Nobody answers there; the table does.
    std::fs::write(
        &resolv_conf,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    std::fs::write(&hosts, "192.0.2.1 a.test\n2001:db8::1 a.test\n").unwrap();
    let (refresher, mut facts) = refresher(Upstream::System {
        resolv_conf,
        hosts: hosts.clone(),
    });
    refresher.set_demand(&demand(&["a.test"]));
    let mut wait_for = async |wanted: [&str; 2]| loop {
        let fact = timeout(PATIENCE, facts.recv()).await.expect("in time");
        if let Some(Fact::Resolved { answer, .. }) = fact
            && texts(&answer) == wanted
        {
            break;
        }
    };
    wait_for(["192.0.2.1", "2001:db8::1"]).await;
    std::fs::write(&hosts, "192.0.2.2 a.test\n2001:db8::2 a.test\n# longer\n").unwrap();
    wait_for(["192.0.2.2", "2001:db8::2"]).await;
}

#[tokio::test]
async fn a_system_without_a_resolver_says_so() {
    let (refresher, mut facts) = refresher(Upstream::System {
        resolv_conf: "/nonexistent/resolv.conf".into(),
        hosts: "/nonexistent/hosts".into(),
    });
    refresher.set_demand(&demand(&["a.test"]));
    let fact = timeout(PATIENCE, facts.recv()).await.expect("in time");
    let Some(Fact::Resolved { answer, .. }) = fact else {
        panic!("{fact:?}")
    };
    assert!(
        answer.failure.unwrap().contains("/nonexistent/resolv.conf"),
        "the reason names the file"
    );
}

#[tokio::test]
async fn the_refresher_ends_when_nobody_listens() {
    let mut bench = Bench::start();
    drop(bench.facts);
    timeout(PATIENCE, bench.refresher.ended())
        .await
        .expect("in time")
        .unwrap();
}
