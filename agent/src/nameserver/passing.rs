//! What becomes of the answer of another server, and of a client's message, from its bytes to those that the client gets,
//! with no socket between: what can be tried with any bytes.

use std::net::SocketAddr;

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::serialize::binary::{BinDecoder, BinEncoder};
use hickory_resolver::net::xfer::Protocol;
use hickory_server::server::Request;
use hickory_server::zone_handler::Queries;

use crate::compile::Names;

use super::handler;
use super::plan::{Plan, plan};
use super::question::Question;
use super::records;
use super::reply::{self, Reply};

/// The message that a client gets who asked `question`, and what was read out of the answer; `None` if that is none.
/// A question for addresses is treated as one whose answer is learned, any other as one for a host of ours.
pub fn pass(
    names: &Names,
    question: &Question,
    answer: &[u8],
) -> Option<(Vec<u8>, records::Found)> {
    let answer = Message::from_vec(answer).ok()?;
    if !reply::answers_query(&answer) || !reply::is_of_name(answer.metadata.response_code) {
        return None;
    }
    let mut reply = Reply::of_message(answer);
    let found = if question.wants_addresses() {
        records::follow(question, &mut reply)
    } else {
        records::keep_to_ours(names, &mut reply);
        records::Found::default()
    };
    Some((answer_to(question, &reply)?, found))
}

/// What is read out of a message of a client, and the message that it gets where no other server answers; `None` for what
/// the server's library does not even hand over.
pub fn ask(names: &Names, query: &[u8]) -> Option<(Result<Question, ResponseCode>, Vec<u8>)> {
    let client = SocketAddr::from(([127, 0, 0, 1], 53));
    let request = Request::from_bytes(query.to_vec(), client, Protocol::Tcp).ok()?;
    let question = handler::question(&request);
    let reply = match &question {
        Ok(question) => match plan(names, &[], question, 0) {
            Plan::Answer(reply) => reply,
            Plan::Forward(_) => Reply::of_code(ResponseCode::ServFail),
        },
        Err(code) => Reply::of_code(*code),
    };
    let edns = handler::edns(&request);
    let message = handler::message(&request.metadata, &request.queries, edns.as_ref(), &reply);
    Some((question, written(message)?))
}

/// The message for a client who asked `question`.
fn answer_to(question: &Question, reply: &Reply) -> Option<Vec<u8>> {
    let mut request = Message::query();
    request.add_query(question.query()?);
    let request = request.to_vec().ok()?;
    let mut decoder = BinDecoder::new(&request);
    decoder.read_slice(HEADER).ok()?;
    let queries = Queries::read(&mut decoder, 1).ok()?;
    let metadata = Metadata::new(0, MessageType::Query, OpCode::Query);
    written(handler::message(&metadata, &queries, None, reply))
}

/// As it goes over TCP, where there is room for all of it. What cannot be written is answered with SERVFAIL, by the
/// server's library.
fn written(message: handler::Message<'_, '_>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(u16::MAX);
    message.destructive_emit(&mut encoder).ok()?;
    Some(bytes)
}

/// Bytes of the header of a message.
const HEADER: usize = 12;
