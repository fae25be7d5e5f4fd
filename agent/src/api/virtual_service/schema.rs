//! The fields of a `VirtualService`.

use super::super::schema::{Message, Type, field, ignored};

const TEXTS: Type = Type::List(&Type::Text);
const LABELS: Type = Type::Map(&Type::Text);

pub(in crate::api) static SCHEMA: Message = Message {
    fields: &[
        field("hosts", TEXTS),
        field("gateways", TEXTS),
        field("http", Type::List(&Type::Message(&HTTP_ROUTE))),
        field("tls", Type::List(&Type::Message(&TLS_ROUTE))),
        field("tcp", Type::List(&Type::Message(&TCP_ROUTE))),
        field("exportTo", TEXTS),
    ],
};

static TCP_ROUTE: Message = Message {
    fields: &[
        field("match", Type::List(&Type::Message(&TCP_MATCH))),
        field("route", Type::List(&Type::Message(&ROUTE_DESTINATION))),
    ],
};

static TLS_ROUTE: Message = Message {
    fields: &[
        field("match", Type::List(&Type::Message(&TLS_MATCH))),
        field("route", Type::List(&Type::Message(&ROUTE_DESTINATION))),
    ],
};

const SOURCE_SUBNET_HINT: &str = "Istio does not match by it either; remove it";

static TCP_MATCH: Message = Message {
    fields: &[
        field("destinationSubnets", TEXTS),
        field("port", Type::Uint32),
        ignored("sourceSubnet", Type::Text, SOURCE_SUBNET_HINT),
        field("sourceLabels", LABELS),
        field("gateways", TEXTS),
        field("sourceNamespace", Type::Text),
    ],
};

static TLS_MATCH: Message = Message {
    fields: &[
        field("sniHosts", TEXTS),
        field("destinationSubnets", TEXTS),
        field("port", Type::Uint32),
        ignored("sourceSubnet", Type::Text, SOURCE_SUBNET_HINT),
        field("sourceLabels", LABELS),
        field("gateways", TEXTS),
        field("sourceNamespace", Type::Text),
    ],
};

static ROUTE_DESTINATION: Message = Message {
    fields: &[
        field("destination", Type::Message(&DESTINATION)),
        field("weight", Type::Int32),
    ],
};

static DESTINATION: Message = Message {
    fields: &[
        field("host", Type::Text),
        field("subset", Type::Text),
        field("port", Type::Message(&PORT_SELECTOR)),
    ],
};

static PORT_SELECTOR: Message = Message {
    fields: &[field("number", Type::Uint32)],
};

static HTTP_ROUTE: Message = Message {
    fields: &[
        field("name", Type::Text),
        field("match", Type::List(&Type::Message(&HTTP_MATCH))),
        field("route", Type::List(&Type::Message(&HTTP_DESTINATION))),
        field("redirect", Type::Message(&REDIRECT)),
        field("directResponse", Type::Message(&DIRECT_RESPONSE)),
        field("delegate", Type::Message(&DELEGATE)),
        field("rewrite", Type::Message(&REWRITE)),
        field("timeout", Type::Duration),
        field("retries", Type::Message(&RETRIES)),
        field("fault", Type::Message(&FAULT)),
        field("mirror", Type::Message(&DESTINATION)),
        field("mirrors", Type::List(&Type::Message(&MIRROR))),
        field("mirrorPercent", Type::Uint32),
        field("mirrorPercentage", Type::Message(&PERCENT)),
        field("corsPolicy", Type::Message(&CORS_POLICY)),
        field("headers", Type::Message(&HEADERS)),
    ],
};

static HTTP_MATCH: Message = Message {
    fields: &[
        field("name", Type::Text),
        field("uri", Type::Message(&STRING_MATCH)),
        field("scheme", Type::Message(&STRING_MATCH)),
        field("method", Type::Message(&STRING_MATCH)),
        field("authority", Type::Message(&STRING_MATCH)),
        field("headers", Type::Map(&Type::Message(&STRING_MATCH))),
        field("port", Type::Uint32),
        field("sourceLabels", LABELS),
        field("gateways", TEXTS),
        field("queryParams", Type::Map(&Type::Message(&STRING_MATCH))),
        field("ignoreUriCase", Type::Bool),
        field("withoutHeaders", Type::Map(&Type::Message(&STRING_MATCH))),
        field("sourceNamespace", Type::Text),
        field("statPrefix", Type::Text),
    ],
};

static STRING_MATCH: Message = Message {
    fields: &[
        field("exact", Type::Text),
        field("prefix", Type::Text),
        field("regex", Type::Text),
    ],
};

static HTTP_DESTINATION: Message = Message {
    fields: &[
        field("destination", Type::Message(&DESTINATION)),
        field("weight", Type::Int32),
        field("headers", Type::Message(&HEADERS)),
    ],
};

static HEADERS: Message = Message {
    fields: &[
        field("request", Type::Message(&HEADER_OPERATIONS)),
        field("response", Type::Message(&HEADER_OPERATIONS)),
    ],
};

static HEADER_OPERATIONS: Message = Message {
    fields: &[
        field("set", Type::Map(&Type::Text)),
        field("add", Type::Map(&Type::Text)),
        field("remove", TEXTS),
    ],
};

static REDIRECT: Message = Message {
    fields: &[
        field("uri", Type::Text),
        field("authority", Type::Text),
        field("port", Type::Uint32),
        field(
            "derivePort",
            Type::Enum(&[("FROM_PROTOCOL_DEFAULT", 0), ("FROM_REQUEST_PORT", 1)]),
        ),
        field("scheme", Type::Text),
        field("redirectCode", Type::Uint32),
    ],
};

static DIRECT_RESPONSE: Message = Message {
    fields: &[
        field("status", Type::Uint32),
        field("body", Type::Message(&BODY)),
    ],
};

static BODY: Message = Message {
    fields: &[field("string", Type::Text), field("bytes", Type::Text)],
};

static DELEGATE: Message = Message {
    fields: &[field("name", Type::Text), field("namespace", Type::Text)],
};

static REWRITE: Message = Message {
    fields: &[
        field("uri", Type::Text),
        field("authority", Type::Text),
        field("uriRegexRewrite", Type::Message(&REGEX_REWRITE)),
    ],
};

static REGEX_REWRITE: Message = Message {
    fields: &[field("match", Type::Text), field("rewrite", Type::Text)],
};

static RETRIES: Message = Message {
    fields: &[
        field("attempts", Type::Int32),
        field("perTryTimeout", Type::Duration),
        field("retryOn", Type::Text),
        field("retryRemoteLocalities", Type::Bool),
        field("retryIgnorePreviousHosts", Type::Bool),
        field("backoff", Type::Duration),
    ],
};

static FAULT: Message = Message {
    fields: &[
        field("delay", Type::Message(&DELAY)),
        field("abort", Type::Message(&ABORT)),
    ],
};

static DELAY: Message = Message {
    fields: &[
        field("percent", Type::Int32),
        field("fixedDelay", Type::Duration),
        field("exponentialDelay", Type::Duration),
        field("percentage", Type::Message(&PERCENT)),
    ],
};

static ABORT: Message = Message {
    fields: &[
        field("percent", Type::Int32),
        field("httpStatus", Type::Int32),
        field("grpcStatus", Type::Text),
        field("http2Error", Type::Text),
        field("percentage", Type::Message(&PERCENT)),
    ],
};

static MIRROR: Message = Message {
    fields: &[
        field("destination", Type::Message(&DESTINATION)),
        field("percentage", Type::Message(&PERCENT)),
    ],
};

static PERCENT: Message = Message {
    fields: &[field("value", Type::Double)],
};

static CORS_POLICY: Message = Message {
    fields: &[
        field("allowOrigin", TEXTS),
        field("allowOrigins", Type::List(&Type::Message(&STRING_MATCH))),
        field("allowMethods", TEXTS),
        field("allowHeaders", TEXTS),
        field("exposeHeaders", TEXTS),
        field("maxAge", Type::Duration),
        field("allowCredentials", Type::Bool),
        field(
            "unmatchedPreflights",
            Type::Enum(&[("UNSPECIFIED", 0), ("FORWARD", 1), ("IGNORE", 2)]),
        ),
    ],
};
