//! One query of a client: from its message to a question, and from the reply to a message for this client.

use std::sync::Arc;
use std::{option, slice};

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::Record;
use hickory_resolver::net::runtime::Time;
use hickory_resolver::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder, Queries};

use super::Asked;
use super::answering::Answering;
use super::exchange::DATAGRAM;
use super::question::{Question, normal};
use super::reply::Reply;
use super::stats::bump;

/// What a datagram holds that says nothing of its size.
const SMALL: u16 = 512;

/// Says what the listener of that number stands for; `None`: itself.
pub type Origin = Arc<dyn Fn(usize) -> Option<Asked> + Send + Sync>;

/// What queries of one listener come to.
pub(super) struct Listener {
    pub(super) number: usize,
    pub(super) origin: Origin,
    pub(super) answering: Arc<Answering>,
}

#[async_trait]
impl RequestHandler for Listener {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut client: R,
    ) -> ResponseInfo {
        let counters = &self.answering.counters;
        bump(match request.protocol() {
            Protocol::Udp => &counters.datagrams,
            _ => &counters.streams,
        });
        let reply = match question(request) {
            Ok(question) => {
                let asked = (self.origin)(self.number);
                self.answering.answer(&question, asked).await.0
            }
            Err(code) => {
                bump(&counters.malformed);
                Reply::of_code(code)
            }
        };
        let edns = edns(request);
        let message = message(&request.metadata, &request.queries, edns.as_ref(), &reply);
        let metadata = *message.metadata();
        match client.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(client = %request.src(), %error, "not answered");
                let counts = HeaderCounts::default();
                ResponseInfo::from(Header { metadata, counts })
            }
        }
    }
}

/// What is asked, or what is wrong with it. More than one question was never more than a possibility (RFC 9619).
pub(super) fn question(request: &Request) -> Result<Question, ResponseCode> {
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let [query] = request.queries.queries() else {
        return Err(ResponseCode::FormErr);
    };
    let edns = request.edns.as_ref();
    Ok(Question {
        name: normal(query.original().name()),
        kind: query.query_type(),
        class: query.query_class(),
        recursion: request.metadata.recursion_desired,
        unchecked: request.metadata.checking_disabled,
        signatures: edns.map(|edns| edns.flags().dnssec_ok),
    })
}

/// A message that borrows its records.
pub(super) type Message<'q, 'a> = MessageResponse<
    'q,
    'a,
    slice::Iter<'a, Record>,
    slice::Iter<'a, Record>,
    option::IntoIter<&'a Record>,
    slice::Iter<'a, Record>,
>;

/// The reply as it goes to a client.
pub(super) fn message<'q, 'a>(
    request: &Metadata,
    queries: &'q Queries,
    edns: Option<&'q Edns>,
    reply: &'a Reply,
) -> Message<'q, 'a> {
    MessageResponseBuilder::new(queries, edns).build(
        metadata(request, reply),
        &reply.answers,
        &reply.authorities,
        None,
        &reply.additionals,
    )
}

fn metadata(request: &Metadata, reply: &Reply) -> Metadata {
    let mut metadata = Metadata::response_from_request(request);
    metadata.message_type = MessageType::Response;
    metadata.response_code = reply.code;
    metadata.authoritative = reply.authoritative;
    metadata.authentic_data = reply.authentic;
    metadata.recursion_available = true;
    metadata
}

/// For a client that speaks EDNS. Its size is what the answer may have: no more than the client takes, nor than arrives.
pub(super) fn edns(request: &Request) -> Option<Edns> {
    let theirs = request.edns.as_ref()?;
    let mut edns = Edns::new();
    edns.set_max_payload(theirs.max_payload().clamp(SMALL, DATAGRAM))
        .set_dnssec_ok(theirs.flags().dnssec_ok);
    Some(edns)
}
