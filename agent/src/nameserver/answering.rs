//! From a question to a reply: what is known is said, the rest is asked, and what clients are told is told the core first.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use moka::sync::Cache;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::compile::{Names, may_stand};
use crate::model::{Answer, Fact};

use super::Asked;
use super::forward::Forwarder;
use super::lesson::Lesson;
use super::plan::{Plan, Use, plan};
use super::question::Question;
use super::records;
use super::reply::{Reply, Source};
use super::server::Known;
use super::stats::{Counters, bump};

/// How long a client waits for the core to take note; it has its answer then in any case.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the core is not told the same again. Well below the least time for which it remembers.
const TAUGHT: Duration = Duration::from_secs(10);
/// What is known of names to those who ask us.
const DEFAULT_NAMES: u32 = 0;
/// Names that are remembered as told.
const PUPILS: u64 = 65_536;

pub(super) struct Answering {
    known: Known,
    lessons: mpsc::Sender<Lesson>,
    /// What the core was told lately, by name and type.
    taught: Cache<(Arc<str>, RecordType), Arc<[IpAddr]>>,
    pub(super) forwarder: Forwarder,
    pub(super) counters: Arc<Counters>,
}

impl Answering {
    pub(super) fn new(
        known: Known,
        lessons: mpsc::Sender<Lesson>,
        forwarder: Forwarder,
        counters: Arc<Counters>,
    ) -> Self {
        let taught = Cache::builder().max_capacity(PUPILS).time_to_live(TAUGHT);
        Self {
            known,
            lessons,
            taught: taught.build(),
            forwarder,
            counters,
        }
    }

    /// What a client is told that asked there; `None` is ourselves.
    pub(super) async fn answer(
        &self,
        question: &Question,
        asked: Option<Asked>,
    ) -> (Reply, Source) {
        match self.plan(question, asked) {
            Plan::Answer(reply) => {
                bump(&self.counters.own);
                self.renew(question, asked);
                (reply, Source::Own)
            }
            Plan::Forward(purpose) => {
                let (mut reply, source) = self.forwarder.ask(question, server(asked)).await;
                match purpose {
                    Use::PassOn => {}
                    Use::OfOurs => records::keep_to_ours(&self.names(asked), &mut reply),
                    Use::Learn => self.learn(question, &mut reply).await,
                    Use::Ask => {
                        if let Some(own) = self.give_address(question, &reply, asked).await {
                            return (own, Source::Own);
                        }
                    }
                }
                (reply, source)
            }
        }
    }

    fn plan(&self, question: &Question, asked: Option<Asked>) -> Plan {
        let search = self.forwarder.upstreams.search();
        plan(&self.names(asked), &search, question, random())
    }

    fn names(&self, asked: Option<Asked>) -> Arc<Names> {
        (self.known)(asked.map_or(DEFAULT_NAMES, |asked| asked.names))
    }

    /// Has the addresses recognised before the client can connect to them.
    async fn learn(&self, question: &Question, reply: &mut Reply) {
        let found = records::follow(question, reply);
        if reply.code != ResponseCode::NoError {
            return;
        }
        let addresses: Arc<[IpAddr]> = found
            .addresses
            .into_iter()
            .filter(|address| may_stand(*address))
            .collect();
        let key = (Arc::clone(&question.name), question.kind);
        if addresses.is_empty() || self.taught.get(&key).as_ref() == Some(&addresses) {
            return;
        }
        let fact = Fact::Learned {
            name: Arc::clone(&question.name),
            addresses: addresses.to_vec(),
            ttl: Duration::from_secs(found.ttl.into()),
        };
        if self.teach(fact).await {
            self.taught.insert(key, addresses);
        }
    }

    /// Gives a name that exists an automatic address, and answers with that. `None`: what the server said is passed on.
    async fn give_address(
        &self,
        question: &Question,
        reply: &Reply,
        asked: Option<Asked>,
    ) -> Option<Reply> {
        if reply.code != ResponseCode::NoError {
            return None;
        }
        let of = async |kind| {
            let question = Question {
                kind,
                ..question.clone()
            };
            let (mut reply, _) = self.forwarder.ask(&question, server(asked)).await;
            records::follow(&question, &mut reply).addresses
        };
        let (mut addresses, v6) = tokio::join!(of(RecordType::A), of(RecordType::AAAA));
        addresses.extend(v6);
        if addresses.is_empty() {
            return None;
        }
        let answer = Answer {
            addresses,
            failure: None,
        };
        self.teach(Fact::Asked {
            name: Arc::clone(&question.name),
            answer,
        })
        .await;
        match self.plan(question, asked) {
            Plan::Answer(reply) => Some(reply),
            Plan::Forward(_) => None,
        }
    }

    /// A name that has its addresses for as long as it is asked for is asked for. Nobody waits for that to be noted.
    fn renew(&self, question: &Question, asked: Option<Asked>) {
        let key = (Arc::clone(&question.name), RecordType::ANY);
        if !self.names(asked).is_on_demand(&question.name) || self.taught.contains_key(&key) {
            return;
        }
        let fact = Fact::Asked {
            name: Arc::clone(&question.name),
            answer: Answer::default(),
        };
        let (done, _) = oneshot::channel();
        if self.lessons.try_send(Lesson { fact, done }).is_ok() {
            self.taught.insert(key, [].into());
        }
    }

    /// Tells the core, and waits until it has taken note. Returns whether it has in time.
    async fn teach(&self, fact: Fact) -> bool {
        bump(&self.counters.lessons);
        let (done, taken) = oneshot::channel();
        let is_sent = self.lessons.try_send(Lesson { fact, done }).is_ok();
        let is_taken = is_sent && matches!(timeout(PATIENCE, taken).await, Ok(Ok(())));
        if !is_taken {
            bump(&self.counters.late);
        }
        is_taken
    }
}

fn server(asked: Option<Asked>) -> Option<SocketAddr> {
    asked.map(|asked| asked.server)
}

/// From the seeds that the standard library draws for its hash maps: good enough to spread load.
fn random() -> usize {
    let bits = RandomState::new().hash_one(()) & u64::from(u16::MAX);
    usize::try_from(bits).expect("16 bits")
}
