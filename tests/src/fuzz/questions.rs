//! Whether any message of a client is a question, or refused, and is answered with a message that can be read.

use agent::nameserver::{Question, passing};
use hickory_proto::op::{Message, MessageType, ResponseCode};

use super::NAMES;

pub fn questions(input: &[u8]) {
    let Some((question, answer)) = passing::ask(&NAMES, input) else {
        return;
    };
    if has_pointer(input) {
        // The server's library returns the question as it came, and behind another header it is another one.
        return;
    }
    let message = Message::from_vec(&answer).expect("what is written can be read");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(message.metadata.id.to_be_bytes(), input[..2]);
    match question {
        Ok(question) => check(&question, &message),
        Err(code) => assert_eq!(message.metadata.response_code, code),
    }
}

fn check(question: &Question, message: &Message) {
    assert!(!question.name.bytes().any(|byte| byte.is_ascii_uppercase()));
    assert_eq!(message.queries.len(), 1);
    let is_own = matches!(&*question.name, "a") || question.name.ends_with(".b");
    if is_own && question.wants_addresses() {
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    }
    for record in &message.answers {
        assert_eq!(record.name, *message.queries[0].name());
    }
}

/// Bytes of the header of a message.
const HEADER: usize = 12;

/// Whether the name of a question goes on elsewhere, which no program writes: before it there is nothing but the header.
fn has_pointer(input: &[u8]) -> bool {
    let count = u16::from_be_bytes([input[4], input[5]]);
    let mut rest = &input[HEADER..];
    for _ in 0..count {
        rest = loop {
            match rest {
                [0xc0..=0xff, ..] => return true,
                [0, after @ ..] => break after,
                [length, after @ ..] => rest = after.get(usize::from(*length)..).unwrap_or(&[]),
                [] => return false,
            }
        };
        // Type and class.
        rest = rest.get(4..).unwrap_or(&[]);
    }
    false
}
