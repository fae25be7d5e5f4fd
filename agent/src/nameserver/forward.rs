//! Asks other servers: each question once however many clients ask it, what was answered not again while it holds, and
//! what held before where nobody answers any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{DnsResponse, ResponseCode};
use hickory_proto::rr::RecordType;
use moka::Expiry;
use moka::future::Cache;
use tokio::sync::Semaphore;

use super::exchange;
use super::question::Question;
use super::reply::{self, Cached, Reply, Source};
use super::stats::{Counters, bump};
use super::upstreams::Upstreams;

/// Bytes of answers, as they came, that are kept.
const CACHE: u64 = 8 << 20;
/// The longest time for which an answer is taken to hold.
const LONGEST: u32 = 3600;
/// How long "there is no such thing" holds where the server does not say, and at most.
const NEGATIVE: (u32, u32) = (5, 300);
/// How long an answer that no longer holds is kept for the case that nobody answers, and how long it then holds (RFC 8767).
const STALE: (Duration, u32) = (Duration::from_hours(1), 30);
/// How long all servers have together, and each at least. The C library gives up after five seconds: with one server that is
/// as long as it would wait itself, with several it hears from the next ones.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(4500), Duration::from_millis(1500));
/// Questions that await an answer at once; more are refused.
const IN_FLIGHT: usize = 4096;

/// Clients of other servers have other answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    question: Question,
    servers: Arc<[SocketAddr]>,
}

/// What a server said.
#[derive(Debug)]
struct Said {
    reply: Reply,
    server: SocketAddr,
    at: Instant,
    /// Seconds for which it holds.
    ttl: u32,
    /// Bytes.
    size: u32,
}

/// Nobody answered; or this is what the last one said who did.
#[derive(Clone, Debug)]
struct Unanswered(ResponseCode);

#[derive(Debug)]
pub(super) struct Forwarder {
    fresh: Cache<Key, Arc<Said>>,
    stale: Cache<Key, Arc<Said>>,
    pub(super) upstreams: Upstreams,
    room: Semaphore,
    counters: Arc<Counters>,
}

impl Forwarder {
    pub(super) fn new(upstreams: Upstreams, counters: Arc<Counters>) -> Self {
        let cache = || {
            Cache::builder()
                .max_capacity(CACHE)
                .weigher(|_: &Key, said: &Arc<Said>| said.size)
        };
        Self {
            fresh: cache().expire_after(Holding).build(),
            stale: cache().time_to_live(STALE.0).build(),
            upstreams,
            room: Semaphore::new(IN_FLIGHT),
            counters,
        }
    }

    /// What the servers say that a client may mean who asked `asked`; `None` is ourselves.
    pub(super) async fn ask(
        &self,
        question: &Question,
        asked: Option<SocketAddr>,
    ) -> (Reply, Source) {
        let key = Key {
            question: question.clone(),
            servers: self.upstreams.of(asked),
        };
        if let Some(said) = self.fresh.get(&key).await {
            bump(&self.counters.cached);
            return (said.reply(said.elapsed()), Source::Cache(said.server));
        }
        let Ok(_room) = self.room.try_acquire() else {
            bump(&self.counters.refused);
            return (Reply::of_code(ResponseCode::ServFail), Source::Nobody);
        };
        let asking = self.fresh.try_get_with_by_ref(&key, self.ask_servers(&key));
        match asking.await {
            Ok(said) => (said.reply(said.elapsed()), Source::Server(said.server)),
            Err(unanswered) => self.fall_back(&key, unanswered.0).await,
        }
    }

    async fn fall_back(&self, key: &Key, code: ResponseCode) -> (Reply, Source) {
        let Some(said) = self.stale.get(key).await else {
            bump(&self.counters.unanswered);
            return (Reply::of_code(code), Source::Nobody);
        };
        bump(&self.counters.stale);
        let mut reply = said.reply.clone();
        reply.records_mut().for_each(|record| record.ttl = STALE.1);
        (reply, Source::Stale(said.server))
    }

    /// Asks one server after the other until one answers.
    async fn ask_servers(&self, key: &Key) -> Result<Arc<Said>, Unanswered> {
        let mut code = ResponseCode::ServFail;
        let count = u32::try_from(key.servers.len()).unwrap_or(u32::MAX).max(1);
        let patience = (PATIENCE.0 / count).max(PATIENCE.1);
        for server in self.upstreams.by_trust(&key.servers) {
            let start = Instant::now();
            bump(&self.counters.forwarded);
            match exchange::ask(server, &key.question, patience).await {
                Ok(answer) if reply::is_of_name(answer.metadata.response_code) => {
                    self.counters.answered_after(start.elapsed());
                    self.upstreams.answered(server);
                    let said = Arc::new(Said::new(answer, server));
                    self.stale.insert(key.clone(), Arc::clone(&said)).await;
                    return Ok(said);
                }
                Ok(answer) => code = answer.metadata.response_code,
                Err(error) => {
                    tracing::debug!(%server, name = %key.question.name, %error, "not answered");
                    self.upstreams.failed(server);
                }
            }
            bump(&self.counters.failures);
        }
        Err(Unanswered(code))
    }

    /// What is kept, in the order of names.
    pub(super) fn cached(&self) -> Vec<Cached> {
        let mut cached: Vec<Cached> = self
            .fresh
            .iter()
            .map(|(key, said)| Cached {
                name: key.question.name.to_string(),
                kind: key.question.kind.to_string(),
                code: said.reply.code.to_string(),
                answers: said
                    .reply
                    .answers
                    .iter()
                    .map(|r| r.data.to_string())
                    .collect(),
                ttl: said.ttl.saturating_sub(said.elapsed()),
                server: said.server,
            })
            .collect();
        cached.sort_by(|a, b| (&a.name, &a.kind, a.server).cmp(&(&b.name, &b.kind, b.server)));
        cached
    }
}

impl Said {
    fn new(answer: DnsResponse, server: SocketAddr) -> Self {
        let negative = answer.negative_ttl();
        let size = u32::try_from(answer.as_buffer().len()).unwrap_or(u32::MAX);
        let reply = Reply::of_message(answer.into_message());
        let shortest = reply.answers.iter().map(|record| record.ttl).min();
        let is_positive = reply.code == ResponseCode::NoError && shortest.is_some();
        let ttl = match shortest {
            Some(ttl) if is_positive => ttl.min(LONGEST),
            _ => negative.unwrap_or(NEGATIVE.0).min(NEGATIVE.1),
        };
        Self {
            reply,
            server,
            at: Instant::now(),
            ttl,
            size,
        }
    }

    /// Whole seconds since it was said.
    fn elapsed(&self) -> u32 {
        u32::try_from(self.at.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// The reply, `age` seconds later.
    fn reply(&self, age: u32) -> Reply {
        let mut reply = self.reply.clone();
        for record in reply.records_mut() {
            // In this record the field is flags.
            if record.record_type() != RecordType::OPT {
                record.ttl = record.ttl.saturating_sub(age);
            }
        }
        reply
    }
}

/// Entries end when what they say no longer holds.
struct Holding;

impl Expiry<Key, Arc<Said>> for Holding {
    fn expire_after_create(&self, _: &Key, said: &Arc<Said>, _: Instant) -> Option<Duration> {
        Some(Duration::from_secs(said.ttl.into()))
    }
}
