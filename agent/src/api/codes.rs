//! Every code that a diagnostic about what users write can have: stable, so that others may script against it.
//!
//! `SH10xx` is about reading, `SH11xx` about `ServiceEntry`, `SH12xx` about endpoints and `WorkloadEntry`, `SH13xx` about
//! `DestinationRule`, `SH14xx` about `MeshConfig`, `SH15xx` about `VirtualService`, `SH16xx` about `Sidecar`, `SH17xx` about
//! `AuthorizationPolicy` and what policies apply to, `SH18xx` about `PeerAuthentication`, `SH19xx` about
//! `RequestAuthentication`, `SH201x` about `LocalWorkload`.

/// A stable code with one line that explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub id: &'static str,
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($name:ident = $id:literal, $explanation:literal;)*) => {
        $(
            pub const $name: Code = Code { id: $id, explanation: $explanation };
        )*

        /// All codes of this stage, in order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    SYNTAX = "SH1001", "The document is not YAML or JSON.";
    NO_OBJECT = "SH1002", "The document holds no object: it has no kind, or is no mapping.";
    DUPLICATE_FIELD = "SH1003", "A field is written twice.";
    API_VERSION = "SH1004", "The apiVersion is not one that the kind has.";
    UNKNOWN_KIND = "SH1005", "No kind of this name exists; it looks like a misspelt one.";
    KIND_NOT_CARRIED_OUT = "SH1006", "The kind is Istio's, but is not carried out.";
    FOREIGN_KIND = "SH1007", "The kind is not Istio's and is ignored.";
    METADATA = "SH1008", "The metadata lack what every object needs.";
    NO_SPEC = "SH1009", "The object has no spec.";
    UNKNOWN_FIELD = "SH1010", "The field does not exist.";
    WRONG_TYPE = "SH1011", "The value is not of the type of its field.";
    FIELD_NOT_CARRIED_OUT = "SH1012", "The field is Istio's, but is not carried out.";
    TOO_LARGE = "SH1013", "The document has more values, or deeper ones, than are read.";
    AMBIGUOUS = "SH1014", "Fields exclude each other, and more than one is set.";
    REQUIRED = "SH1015", "A required field is missing or empty.";
    TOO_MANY_FINDINGS = "SH1016", "There are more findings than are listed.";

    SERVICE_HOST = "SH1101", "The host is not a domain name, or is a wildcard where none may be.";
    SERVICE_HOST_PARTIAL_WILDCARD = "SH1102", "The wildcard of the host is not followed by a dot.";
    SERVICE_ADDRESS = "SH1103", "The address is neither an IP address nor a CIDR prefix.";
    SERVICE_CIDR_RESOLUTION = "SH1104", "CIDR addresses need resolution NONE or STATIC.";
    PORT_NUMBER = "SH1105", "A port number is not between 1 and 65535.";
    PORT_NAME = "SH1106", "A port name is not a DNS label.";
    PORT_PROTOCOL = "SH1107", "The protocol is not one that Istio knows.";
    PORT_DUPLICATE = "SH1108", "Two ports have the same name or number.";
    SERVICE_ENDPOINTS_RESOLUTION = "SH1109", "The endpoints do not fit the resolution.";
    SERVICE_SELECTOR_RESOLUTION = "SH1110", "The workload selector does not fit the resolution.";
    SERVICE_HOST_RESOLUTION = "SH1111", "The host does not fit the resolution.";
    SERVICE_HOSTS_UNDISTINGUISHABLE = "SH1112", "Several hosts share a port on which they cannot be told apart.";
    SERVICE_ADDRESS_MISSING = "SH1113", "A TCP port without an address gets no automatic one.";
    DYNAMIC_DNS = "SH1114", "The field does not fit resolution DYNAMIC_DNS.";
    SERVICE_WITHOUT_PORTS = "SH1115", "The ServiceEntry has no ports, so it captures nothing.";
    SELECTOR = "SH1116", "A selector has an empty key, a wildcard, or an operator or values that do not fit each other.";
    SELECTOR_EMPTY = "SH1117", "A workload selector without labels selects everything in its namespace.";
    EXPORT_TO = "SH1118", "exportTo has an entry that is not valid, or entries that contradict each other.";
    TOO_MANY = "SH1119", "A list or text is longer than Istio accepts.";

    ENDPOINT_ADDRESS = "SH1201", "The endpoint's address is not valid, or not of the kind that the resolution needs.";
    ENDPOINT_NO_ADDRESS = "SH1202", "The endpoint has no address of its own.";
    ENDPOINT_UNIX = "SH1203", "The Unix socket endpoint is not valid.";
    ENDPOINT_PORT = "SH1204", "The endpoint names a port that the ServiceEntry does not have.";
    LABEL = "SH1205", "A label's key or value is not valid.";
    ENDPOINT_LOCALITY = "SH1206", "The locality has more parts than region/zone/subzone.";
    TLS_NOT_ORIGINATED = "SH1207", "The field matters only to TLS, which is left to the application.";

    RULE_HOST = "SH1301", "The host of the DestinationRule is not a domain name.";
    POLICY_EMPTY = "SH1302", "The policy or pool has none of its fields.";
    DURATION = "SH1303", "The duration is shorter than 1ms or not whole milliseconds.";
    RANGE = "SH1304", "The number is out of its range.";
    CONSISTENT_HASH = "SH1305", "The consistent hash setting contradicts itself.";
    LOCALITY_SETTING = "SH1306", "The locality setting contradicts itself.";
    LOCALITY_DISTRIBUTE = "SH1307", "The weights or localities of `distribute` are not valid.";
    LOCALITY_FAILOVER = "SH1308", "The regions of `failover` are not valid.";
    FAILOVER_WITHOUT_OUTLIER_DETECTION = "SH1309", "Failover has no effect without outlierDetection.";
    OUTLIER_DETECTION = "SH1310", "The outlier detection contradicts itself.";
    DEPRECATED = "SH1311", "The field is deprecated.";
    TLS_SETTING = "SH1312", "The TLS setting is incomplete or contradicts itself.";
    TLS_ORIGINATION = "SH1313", "TLS cannot be originated, so connects to the host are refused.";
    SUBSET = "SH1314", "The subset has no valid name, or the name of another.";
    LOAD_BALANCER_NOT_CARRIED_OUT = "SH1315", "Another algorithm is used than the one that is written.";

    MESH_DOCUMENT = "SH1401", "The file holds no mesh configuration, or more than one.";
    NETWORK = "SH1402", "The network is not complete.";

    ROUTE_HOST = "SH1501", "A host of the VirtualService is not valid, or is `*` for clients of the mesh.";
    ROUTE_HOSTS_OVERLAP = "SH1502", "Two hosts of the VirtualService mean the same names.";
    DELEGATE = "SH1503", "The delegation of routes contradicts itself.";
    ROUTE_GATEWAY = "SH1504", "The name of a gateway is not valid, or is written in the old form.";
    ROUTE_DESTINATION = "SH1505", "The destination of a route is not valid.";
    ROUTE_WEIGHT = "SH1506", "A weight is negative, or all weights of a route are 0.";
    SNI_HOST = "SH1507", "An SNI host is not valid, or is none of the hosts of the VirtualService.";
    DESTINATION_SUBNET = "SH1508", "A destination subnet is neither an IP address nor a CIDR prefix.";
    ROUTE_UNREACHABLE = "SH1509", "Earlier routes take all that a route or match asks for.";
    HTTP_ROUTE = "SH1510", "An HTTP route contradicts itself or has a value that is not valid.";
    HTTP_MATCH = "SH1511", "A match of an HTTP route is not valid.";
    OTHER_GATEWAYS = "SH1512", "The routes are for gateways only, not for this node.";
    SNI_BY_ADDRESS = "SH1514", "SNI hosts are compared with the host that the client's address stands for.";

    SIDECAR_EMPTY = "SH1601", "The Sidecar says nothing.";
    SIDECAR_LISTENER = "SH1602", "A listener of the Sidecar contradicts itself or has a value that is not valid.";
    SIDECAR_OUTBOUND = "SH1603", "The outbound policy of the Sidecar contradicts itself or is for the mesh only.";
    SIDECAR_HOST = "SH1604", "A host of an egress listener is not NAMESPACE/HOST.";
    SIDECAR_HOST_TWICE = "SH1605", "A host of an egress listener is imported already.";

    TARGET = "SH1701", "The policy cannot apply to an object of this kind or namespace.";
    ACCESS_IP_BLOCK = "SH1702", "The IP block of a rule is neither an IP address nor a CIDR prefix.";
    ACCESS_PORT = "SH1703", "The port of a rule is not a number between 0 and 65535.";
    ACCESS_SERVICE_ACCOUNT = "SH1704", "The service account of a rule is not the name of one, with or without its namespace.";
    ACCESS_PATH = "SH1705", "The path of a rule has a template that Istio does not know.";
    CONDITION_KEY = "SH1706", "The key of a condition is not an attribute that Istio knows.";
    CUSTOM_RULE = "SH1707", "The rule asks for what a policy with action CUSTOM cannot ask for.";
    DRY_RUN = "SH1708", "The annotation for a dry run is not valid, or stands where none may.";
    RULE_NEVER_MATCHES = "SH1709", "An ALLOW rule asks for what no connection shows, so it never matches.";
    RULE_WIDENED = "SH1710", "A rule asks for what no connection shows, and is read without it.";
    ACTION_NOT_CARRIED_OUT = "SH1711", "The action CUSTOM is Istio's, but is not carried out.";

    PORT_MTLS = "SH1801", "The mutual TLS of single ports has no port, or stands without labels to select workloads by.";

    JWKS_URI = "SH1901", "The address of the keys is not a URL of scheme http or https.";
    JWKS = "SH1902", "The keys are not a JSON Web Key or a set of them.";
    JWKS_PRIVATE = "SH1903", "The keys that verify tokens are private ones, which nobody but the issuer should have.";
    CLAIM_HEADER = "SH1904", "The header that a claim is copied to has a name that Istio does not accept.";
    REQUEST_NOT_AUTHENTICATED = "SH1905", "The tokens of requests are not verified.";

    CGROUP = "SH2011", "The cgroup of a LocalWorkload is neither a path below the root nor the name of a systemd unit.";
    WORKLOAD_ADDRESS = "SH2012", "An address of a LocalWorkload is not an IP address.";
    SERVICE_ACCOUNT = "SH2013", "The service account is not a DNS name.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
    }

    #[test]
    fn explanations_are_sentences() {
        for code in ALL {
            assert!(code.explanation.ends_with('.'), "{code:?}");
            assert!(
                code.explanation.starts_with(|c: char| c.is_alphabetic()),
                "{code:?}"
            );
        }
    }
}
