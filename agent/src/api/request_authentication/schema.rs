//! The fields of a `RequestAuthentication`.

use super::super::attachment;
use super::super::schema::{Message, Type, field};

const TEXTS: Type = Type::List(&Type::Text);

pub(in crate::api) static SCHEMA: Message = Message {
    fields: &[
        attachment::SELECTOR,
        attachment::TARGET_REF,
        attachment::TARGET_REFS,
        field("jwtRules", Type::List(&Type::Message(&JWT_RULE))),
    ],
};

static JWT_RULE: Message = Message {
    fields: &[
        field("issuer", Type::Text),
        field("audiences", TEXTS),
        field("jwksUri", Type::Text),
        field("jwks", Type::Text),
        field("fromHeaders", Type::List(&Type::Message(&HEADER))),
        field("fromParams", TEXTS),
        field("fromCookies", TEXTS),
        field("outputPayloadToHeader", Type::Text),
        field("forwardOriginalToken", Type::Bool),
        field(
            "outputClaimToHeaders",
            Type::List(&Type::Message(&CLAIM_TO_HEADER)),
        ),
        field("timeout", Type::Duration),
        field("spaceDelimitedClaims", TEXTS),
        field("presence", Type::Enum(&[("OPTIONAL", 0), ("REQUIRED", 1)])),
    ],
};

static HEADER: Message = Message {
    fields: &[field("name", Type::Text), field("prefix", Type::Text)],
};

static CLAIM_TO_HEADER: Message = Message {
    fields: &[field("header", Type::Text), field("claim", Type::Text)],
};
