//! The fields of a `DestinationRule`.

use super::super::schema::{Message, Type, field, ignored};

pub(in crate::api) static SCHEMA: Message = Message {
    fields: &[
        field("host", Type::Text),
        field("trafficPolicy", Type::Message(&TRAFFIC_POLICY)),
        field("subsets", Type::List(&Type::Message(&SUBSET))),
        field("exportTo", Type::List(&Type::Text)),
        field("workloadSelector", Type::Message(&SELECTOR)),
    ],
};

static SELECTOR: Message = Message {
    fields: &[field("matchLabels", Type::Map(&Type::Text))],
};

static SUBSET: Message = Message {
    fields: &[
        field("name", Type::Text),
        field("labels", Type::Map(&Type::Text)),
        field("trafficPolicy", Type::Message(&TRAFFIC_POLICY)),
    ],
};

static TRAFFIC_POLICY: Message = Message {
    fields: &[
        field("loadBalancer", Type::Message(&LOAD_BALANCER)),
        field("connectionPool", Type::Message(&CONNECTION_POOL)),
        field("outlierDetection", Type::Message(&OUTLIER_DETECTION)),
        field("tls", Type::Message(&TLS)),
        field(
            "portLevelSettings",
            Type::List(&Type::Message(&PORT_POLICY)),
        ),
        ignored(
            "tunnel",
            Type::Message(&TUNNEL),
            "connections are not tunnelled; let the client do it",
        ),
        ignored(
            "proxyProtocol",
            Type::Message(&PROXY_PROTOCOL),
            "no PROXY header is sent; let the client do it",
        ),
        ignored(
            "retryBudget",
            Type::Message(&RETRY_BUDGET),
            "connections are not retried; let the client do it",
        ),
    ],
};

static PORT_POLICY: Message = Message {
    fields: &[
        field("port", Type::Message(&PORT_SELECTOR)),
        field("loadBalancer", Type::Message(&LOAD_BALANCER)),
        field("connectionPool", Type::Message(&CONNECTION_POOL)),
        field("outlierDetection", Type::Message(&OUTLIER_DETECTION)),
        field("tls", Type::Message(&TLS)),
    ],
};

static PORT_SELECTOR: Message = Message {
    fields: &[field("number", Type::Uint32)],
};

static LOAD_BALANCER: Message = Message {
    fields: &[
        field("simple", Type::Enum(&SIMPLE)),
        field("consistentHash", Type::Message(&CONSISTENT_HASH)),
        field("localityLbSetting", Type::Message(&LOCALITY_SETTING)),
        ignored(
            "zoneAwareLbSetting",
            Type::Message(&ZONE_AWARE_SETTING),
            "use localityLbSetting",
        ),
        field("warmupDurationSecs", Type::Duration),
        field("warmup", Type::Message(&WARMUP)),
    ],
};

const SIMPLE: [(&str, i32); 6] = [
    ("UNSPECIFIED", 0),
    ("LEAST_CONN", 1),
    ("RANDOM", 2),
    ("PASSTHROUGH", 3),
    ("ROUND_ROBIN", 4),
    ("LEAST_REQUEST", 5),
];

static CONSISTENT_HASH: Message = Message {
    fields: &[
        field("httpHeaderName", Type::Text),
        field("httpCookie", Type::Message(&HTTP_COOKIE)),
        field("useSourceIp", Type::Bool),
        field("httpQueryParameterName", Type::Text),
        field(
            "ringHash",
            Type::Message(&Message {
                fields: &[field("minimumRingSize", Type::Uint64)],
            }),
        ),
        field(
            "maglev",
            Type::Message(&Message {
                fields: &[field("tableSize", Type::Uint64)],
            }),
        ),
        field("minimumRingSize", Type::Uint64),
    ],
};

static HTTP_COOKIE: Message = Message {
    fields: &[
        field("name", Type::Text),
        field("path", Type::Text),
        field("ttl", Type::Duration),
        field("attributes", Type::List(&Type::Message(&COOKIE_ATTRIBUTE))),
    ],
};

static COOKIE_ATTRIBUTE: Message = Message {
    fields: &[field("name", Type::Text), field("value", Type::Text)],
};

static WARMUP: Message = Message {
    fields: &[
        field("duration", Type::Duration),
        field("minimumPercent", Type::Double),
        field("aggression", Type::Double),
    ],
};

/// Of a rule or of the mesh.
pub(in crate::api) static LOCALITY_SETTING: Message = Message {
    fields: &[
        field("distribute", Type::List(&Type::Message(&DISTRIBUTE))),
        field("failover", Type::List(&Type::Message(&FAILOVER))),
        field("failoverPriority", Type::List(&Type::Text)),
        field("enabled", Type::Bool),
    ],
};

static DISTRIBUTE: Message = Message {
    fields: &[
        field("from", Type::Text),
        field("to", Type::Map(&Type::Uint32)),
    ],
};

static FAILOVER: Message = Message {
    fields: &[field("from", Type::Text), field("to", Type::Text)],
};

static ZONE_AWARE_SETTING: Message = Message {
    fields: &[
        field("enabled", Type::Bool),
        field("failover", Type::List(&Type::Message(&FAILOVER))),
        field("failoverPriority", Type::List(&Type::Text)),
        field("minClusterSize", Type::Uint64),
    ],
};

/// Of a rule or of the mesh.
pub(in crate::api) static CONNECTION_POOL: Message = Message {
    fields: &[
        field("tcp", Type::Message(&TCP_POOL)),
        ignored(
            "http",
            Type::Message(&HTTP_POOL),
            "requests are neither limited nor timed; write tcp for what concerns connections",
        ),
    ],
};

static TCP_POOL: Message = Message {
    fields: &[
        field("maxConnections", Type::Int32),
        field("connectTimeout", Type::Duration),
        field("tcpKeepalive", Type::Message(&TCP_KEEPALIVE)),
        field("maxConnectionDuration", Type::Duration),
        field("idleTimeout", Type::Duration),
    ],
};

/// Of a rule or of the mesh.
pub(in crate::api) static TCP_KEEPALIVE: Message = Message {
    fields: &[
        field("probes", Type::Uint32),
        field("time", Type::Duration),
        field("interval", Type::Duration),
    ],
};

static HTTP_POOL: Message = Message {
    fields: &[
        field("http1MaxPendingRequests", Type::Int32),
        field("http2MaxRequests", Type::Int32),
        field("maxRequestsPerConnection", Type::Int32),
        field("maxRetries", Type::Int32),
        field("idleTimeout", Type::Duration),
        field(
            "h2UpgradePolicy",
            Type::Enum(&[("DEFAULT", 0), ("DO_NOT_UPGRADE", 1), ("UPGRADE", 2)]),
        ),
        field("useClientProtocol", Type::Bool),
        field("maxConcurrentStreams", Type::Int32),
        field("http2KeepAlive", Type::Message(&HTTP2_KEEPALIVE)),
    ],
};

static HTTP2_KEEPALIVE: Message = Message {
    fields: &[
        field("interval", Type::Duration),
        field("timeout", Type::Duration),
    ],
};

/// Of a rule or of the mesh.
pub(in crate::api) static OUTLIER_DETECTION: Message = Message {
    fields: &[
        field("consecutiveErrors", Type::Int32),
        field("splitExternalLocalOriginErrors", Type::Bool),
        field("consecutiveLocalOriginFailures", Type::Uint32),
        field("consecutiveGatewayErrors", Type::Uint32),
        field("consecutive5xxErrors", Type::Uint32),
        field("interval", Type::Duration),
        field("baseEjectionTime", Type::Duration),
        field("maxEjectionPercent", Type::Int32),
        field("minHealthPercent", Type::Int32),
        ignored(
            "outlierDetectionHttpErrorCodes",
            Type::Any,
            "answers are not seen; an endpoint is ejected when connects to it fail",
        ),
    ],
};

static TLS: Message = Message {
    fields: &[
        field(
            "mode",
            Type::Enum(&[
                ("DISABLE", 0),
                ("SIMPLE", 1),
                ("MUTUAL", 2),
                ("ISTIO_MUTUAL", 3),
            ]),
        ),
        field("clientCertificate", Type::Text),
        field("privateKey", Type::Text),
        field("caCertificates", Type::Text),
        field("credentialName", Type::Text),
        field("subjectAltNames", Type::List(&Type::Text)),
        field("sni", Type::Text),
        field("insecureSkipVerify", Type::Bool),
        field("caCrl", Type::Text),
    ],
};

static TUNNEL: Message = Message {
    fields: &[
        field("protocol", Type::Text),
        field("targetHost", Type::Text),
        field("targetPort", Type::Uint32),
    ],
};

static PROXY_PROTOCOL: Message = Message {
    fields: &[field("version", Type::Enum(&[("V1", 0), ("V2", 1)]))],
};

static RETRY_BUDGET: Message = Message {
    fields: &[
        field("percent", Type::Double),
        field("minRetryConcurrency", Type::Uint32),
    ],
};
