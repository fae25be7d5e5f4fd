//! The fields of Istio's `MeshConfig` and `MeshNetworks`.

use super::super::destination_rule::{
    CONNECTION_POOL, LOCALITY_SETTING, OUTLIER_DETECTION, TCP_KEEPALIVE,
};
use super::super::outbound_policy;
use super::super::schema::{Field, Message, Type, field, ignored};
use super::visibility;

/// A field that is known but has no effect here.
const fn unused(name: &'static str) -> Field {
    ignored(name, Type::Any, "nothing to do, unless you rely on it here")
}

pub(super) static MESH_CONFIG: Message = Message {
    fields: &[
        field("localityLbSetting", Type::Message(&LOCALITY_SETTING)),
        field("dnsRefreshRate", Type::Duration),
        field("defaultServiceExportTo", Type::List(&Type::Text)),
        field("defaultDestinationRuleExportTo", Type::List(&Type::Text)),
        field("defaultVirtualServiceExportTo", Type::List(&Type::Text)),
        field("rootNamespace", Type::Text),
        field("serviceEntryVisibility", Type::Message(&visibility::SCHEMA)),
        field("trustDomain", Type::Text),
        field("trustDomainAliases", Type::List(&Type::Text)),
        field(
            "outboundTrafficPolicy",
            Type::Message(&outbound_policy::OF_MESH),
        ),
        field("connectTimeout", Type::Duration),
        field("tcpKeepalive", Type::Message(&TCP_KEEPALIVE)),
        field(
            "defaultTrafficPolicy",
            Type::Message(&DEFAULT_TRAFFIC_POLICY),
        ),
        unused("accessLogEncoding"),
        unused("accessLogFile"),
        unused("accessLogFormat"),
        unused("ca"),
        unused("caCertificates"),
        unused("certificates"),
        unused("configSources"),
        unused("defaultConfig"),
        unused("defaultHttpRetryPolicy"),
        unused("defaultProviders"),
        unused("disableEnvoyListenerLog"),
        unused("discoverySelectors"),
        unused("enableAutoMtls"),
        unused("enableEnvoyAccessLogService"),
        unused("enablePrometheusMerge"),
        unused("enableTracing"),
        unused("extensionProviders"),
        unused("h2UpgradePolicy"),
        unused("hboneIdleTimeout"),
        unused("inboundClusterStatName"),
        unused("inboundTrafficPolicy"),
        unused("ingressClass"),
        unused("ingressControllerMode"),
        unused("ingressSelector"),
        unused("ingressService"),
        unused("meshMTLS"),
        unused("outboundClusterStatName"),
        unused("pathNormalization"),
        unused("protocolDetectionTimeout"),
        unused("proxyHttpPort"),
        unused("proxyInboundListenPort"),
        unused("proxyListenPort"),
        unused("serviceScopeConfigs"),
        unused("serviceSettings"),
        unused("tlsDefaults"),
        unused("verifyCertificateAtClient"),
        unused("zoneAwareLbSetting"),
    ],
};

static DEFAULT_TRAFFIC_POLICY: Message = Message {
    fields: &[
        field("connectionPool", Type::Message(&CONNECTION_POOL)),
        field("outlierDetection", Type::Message(&OUTLIER_DETECTION)),
    ],
};

pub(super) static MESH_NETWORKS: Message = Message {
    fields: &[field("networks", Type::Map(&Type::Message(&NETWORK)))],
};

static NETWORK: Message = Message {
    fields: &[
        ignored(
            "endpoints",
            Type::List(&Type::Any),
            "give an endpoint's network in its field network",
        ),
        field("gateways", Type::List(&Type::Message(&GATEWAY))),
    ],
};

static GATEWAY: Message = Message {
    fields: &[
        field("address", Type::Text),
        field("registryServiceName", Type::Text),
        field("port", Type::Uint32),
        field("locality", Type::Text),
    ],
};
