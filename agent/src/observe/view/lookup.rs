//! What the name server says of one name.

use hickory_proto::rr::Record;
use serde::{Deserialize, Serialize};

use crate::nameserver::{Reply, Source};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookupView {
    /// As DNS names it: `No Error`, `Non-Existent Domain`, ….
    pub code: String,
    pub source: Source,
    pub answers: Vec<AnswerView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerView {
    pub name: String,
    /// Seconds for which it holds.
    pub ttl: u32,
    #[serde(rename = "type")]
    pub kind: String,
    pub data: String,
}

pub fn lookup(reply: &Reply, source: Source) -> LookupView {
    LookupView {
        code: reply.code.to_string(),
        source,
        answers: reply.answers.iter().map(answer).collect(),
    }
}

fn answer(record: &Record) -> AnswerView {
    AnswerView {
        name: record.name.to_string(),
        ttl: record.ttl,
        kind: record.record_type().to_string(),
        data: record.data.to_string(),
    }
}
