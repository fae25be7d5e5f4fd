//! The fields of Istio's `Sidecar`.

use super::super::destination_rule::CONNECTION_POOL;
use super::super::outbound_policy;
use super::super::schema::{Field, Message, Type, field, ignored};

pub(in crate::api) static SCHEMA: Message = Message {
    fields: &[
        field("workloadSelector", Type::Message(&SELECTOR)),
        ignored(
            "ingress",
            Type::List(&Type::Message(&INGRESS)),
            "connections to workloads are as without it",
        ),
        field("egress", Type::List(&Type::Message(&EGRESS))),
        ignored(
            "inboundConnectionPool",
            Type::Message(&CONNECTION_POOL),
            "connections to workloads are as without it",
        ),
        field("outboundTrafficPolicy", Type::Message(&OUTBOUND)),
    ],
};

static SELECTOR: Message = Message {
    fields: &[field("labels", Type::Map(&Type::Text))],
};

static OUTBOUND: Message = Message {
    fields: &[
        outbound_policy::MODE,
        ignored(
            "egressProxy",
            Type::Message(&DESTINATION),
            "what nobody registered is connected to directly",
        ),
    ],
};

static DESTINATION: Message = Message {
    fields: &[
        field("host", Type::Text),
        field("subset", Type::Text),
        field(
            "port",
            Type::Message(&Message {
                fields: &[field("number", Type::Uint32)],
            }),
        ),
    ],
};

const PORT: Field = field("port", Type::Message(&SIDECAR_PORT));
const BIND: Field = field("bind", Type::Text);
const CAPTURE_MODE: Field = field(
    "captureMode",
    Type::Enum(&[("DEFAULT", 0), ("IPTABLES", 1), ("NONE", 2)]),
);

static EGRESS: Message = Message {
    fields: &[
        PORT,
        BIND,
        CAPTURE_MODE,
        field("hosts", Type::List(&Type::Text)),
    ],
};

static INGRESS: Message = Message {
    fields: &[
        PORT,
        BIND,
        CAPTURE_MODE,
        field("defaultEndpoint", Type::Text),
        field("tls", Type::Message(&TLS)),
        field("connectionPool", Type::Message(&CONNECTION_POOL)),
    ],
};

static SIDECAR_PORT: Message = Message {
    fields: &[
        field("number", Type::Uint32),
        field("protocol", Type::Text),
        field("name", Type::Text),
        field("targetPort", Type::Uint32),
    ],
};

static TLS: Message = Message {
    fields: &[
        field("httpsRedirect", Type::Bool),
        field(
            "mode",
            Type::Enum(&[
                ("PASSTHROUGH", 0),
                ("SIMPLE", 1),
                ("MUTUAL", 2),
                ("AUTO_PASSTHROUGH", 3),
                ("ISTIO_MUTUAL", 4),
                ("OPTIONAL_MUTUAL", 5),
            ]),
        ),
        field("serverCertificate", Type::Text),
        field("privateKey", Type::Text),
        field("caCertificates", Type::Text),
        field("caCrl", Type::Text),
        field("credentialName", Type::Text),
        field("credentialNames", Type::List(&Type::Text)),
        field("caCertCredentialName", Type::Text),
        field("tlsCertificates", Type::List(&Type::Any)),
        field("subjectAltNames", Type::List(&Type::Text)),
        field("verifyCertificateSpki", Type::List(&Type::Text)),
        field("verifyCertificateHash", Type::List(&Type::Text)),
        field("minProtocolVersion", Type::Any),
        field("maxProtocolVersion", Type::Any),
        field("cipherSuites", Type::List(&Type::Text)),
    ],
};
