//! The fields of a `PeerAuthentication`.

use super::super::attachment;
use super::super::schema::{Message, Type, field};

pub(in crate::api) static SCHEMA: Message = Message {
    fields: &[
        attachment::SELECTOR,
        field("mtls", Type::Message(&MUTUAL_TLS)),
        field("portLevelMtls", Type::Map(&Type::Message(&MUTUAL_TLS))),
    ],
};

static MUTUAL_TLS: Message = Message {
    fields: &[field(
        "mode",
        Type::Enum(&[
            ("UNSET", 0),
            ("DISABLE", 1),
            ("PERMISSIVE", 2),
            ("STRICT", 3),
        ]),
    )],
};
