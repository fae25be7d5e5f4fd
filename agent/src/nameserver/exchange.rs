//! One question to one server. Message ids, source ports and the case of the name are drawn anew for each, and what does
//! not match them is not heard.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Edns};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender, FirstAnswer};

use super::question::Question;
use super::reply;

/// How often a question is sent to one server, and after which time again: datagrams get lost.
const DATAGRAMS: u8 = 3;
const AGAIN: Duration = Duration::from_secs(1);
/// What we take in one datagram: it is not fragmented on any usual path (DNS flag day 2020).
pub(super) const DATAGRAM: u16 = 1232;

/// Asks over UDP, and over TCP where that does not do: an answer that is cut short, or a server that spoils the case of
/// names.
pub(super) async fn ask(
    server: SocketAddr,
    question: &Question,
    patience: Duration,
) -> Result<DnsResponse, NetError> {
    let answer = match ask_by_datagram(server, question, patience).await {
        Ok(answer) if answer.metadata.truncation => ask_by_stream(server, question, patience).await,
        Err(NetError::QueryCaseMismatch) => ask_by_stream(server, question, patience).await,
        result => result,
    }?;
    if reply::answers_query(&answer) {
        Ok(answer)
    } else {
        Err(NetError::from("what came back answers no query"))
    }
}

async fn ask_by_datagram(
    server: SocketAddr,
    question: &Question,
    patience: Duration,
) -> Result<DnsResponse, NetError> {
    let mut stream = UdpClientStream::builder(server, TokioRuntimeProvider::default())
        .with_timeout(Some(patience))
        .with_max_retries(DATAGRAMS)
        .with_os_port_selection(true)
        .build();
    let request = request(question, true)?;
    stream.send_message(request).first_answer().await
}

async fn ask_by_stream(
    server: SocketAddr,
    question: &Question,
    patience: Duration,
) -> Result<DnsResponse, NetError> {
    let provider = TokioRuntimeProvider::default();
    // What drives the connection ends with the last provider.
    let connecting = TcpClientStream::exchange(server, None, patience, None, provider.clone());
    let exchange = connecting.await?;
    exchange
        .send(request(question, false)?)
        .first_answer()
        .await
}

fn request(question: &Question, draw_case: bool) -> Result<DnsRequest, NetError> {
    let query = question
        .query()
        .ok_or_else(|| NetError::from("not a name that can be asked for"))?;
    let mut options = DnsRequestOptions::default();
    options.case_randomization = draw_case;
    options.recursion_desired = question.recursion;
    options.use_edns = false;
    options.retry_interval = AGAIN;
    let mut request = DnsRequest::from_query(query, options);
    request.metadata.checking_disabled = question.unchecked;
    if let Some(signatures) = question.signatures {
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM).set_dnssec_ok(signatures);
        request.set_edns(edns);
    }
    Ok(request)
}
