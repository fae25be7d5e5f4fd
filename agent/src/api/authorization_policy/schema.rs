//! The fields of an `AuthorizationPolicy`.

use super::super::attachment;
use super::super::schema::{Message, Type, field};

const TEXTS: Type = Type::List(&Type::Text);

pub(in crate::api) static SCHEMA: Message = Message {
    fields: &[
        attachment::SELECTOR,
        attachment::TARGET_REF,
        attachment::TARGET_REFS,
        field("rules", Type::List(&Type::Message(&RULE))),
        field(
            "action",
            Type::Enum(&[("ALLOW", 0), ("DENY", 1), ("AUDIT", 2), ("CUSTOM", 3)]),
        ),
        field("provider", Type::Message(&PROVIDER)),
    ],
};

static PROVIDER: Message = Message {
    fields: &[field("name", Type::Text)],
};

static RULE: Message = Message {
    fields: &[
        field("from", Type::List(&Type::Message(&FROM))),
        field("to", Type::List(&Type::Message(&TO))),
        field("when", Type::List(&Type::Message(&CONDITION))),
    ],
};

static FROM: Message = Message {
    fields: &[field("source", Type::Message(&SOURCE))],
};

static SOURCE: Message = Message {
    fields: &[
        field("principals", TEXTS),
        field("notPrincipals", TEXTS),
        field("requestPrincipals", TEXTS),
        field("notRequestPrincipals", TEXTS),
        field("namespaces", TEXTS),
        field("notNamespaces", TEXTS),
        field("serviceAccounts", TEXTS),
        field("notServiceAccounts", TEXTS),
        field("trustDomains", TEXTS),
        field("notTrustDomains", TEXTS),
        field("ipBlocks", TEXTS),
        field("notIpBlocks", TEXTS),
        field("remoteIpBlocks", TEXTS),
        field("notRemoteIpBlocks", TEXTS),
    ],
};

static TO: Message = Message {
    fields: &[field("operation", Type::Message(&OPERATION))],
};

static OPERATION: Message = Message {
    fields: &[
        field("hosts", TEXTS),
        field("notHosts", TEXTS),
        field("ports", TEXTS),
        field("notPorts", TEXTS),
        field("methods", TEXTS),
        field("notMethods", TEXTS),
        field("paths", TEXTS),
        field("notPaths", TEXTS),
    ],
};

static CONDITION: Message = Message {
    fields: &[
        field("key", Type::Text),
        field("values", TEXTS),
        field("notValues", TEXTS),
    ],
};
