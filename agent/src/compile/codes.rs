//! The codes of what this stage finds. Stable: others suppress and script by them.

/// Two entries of a namespace declare the same port of the same host.
pub const PORT_TAKEN: &str = "SH3001";
/// Two entries of a namespace declare the same host in ways that cannot be united.
pub const HOST_TAKEN: &str = "SH3002";
/// Two services declare the same address and port.
pub const ADDRESS_TAKEN: &str = "SH3003";
/// A host resolves to an address and port that belong to another service.
pub const ANSWER_TAKEN: &str = "SH3004";
/// A rule asks for TLS, which cannot be originated.
pub const TLS_ORIGINATION: &str = "SH3005";
/// An endpoint is a Unix socket.
pub const UNIX_SOCKET: &str = "SH3006";
/// An endpoint is reached through its network's gateway only.
pub const NETWORK_GATEWAY: &str = "SH3007";
/// A selected workload has a host name, or a Unix socket, where an IP address is needed.
pub const WORKLOAD_UNUSABLE: &str = "SH3009";
/// A wildcard host has no address of its own.
pub const UNREACHABLE_HOST: &str = "SH3010";
/// A `traffic-distribution` that is not known, or cannot be carried out in full.
pub const TRAFFIC_DISTRIBUTION: &str = "SH3011";
/// An older rule of the same namespace and host decides.
pub const RULE_SHADOWED: &str = "SH3012";
/// A rule or a match is for clients of which this node has none.
pub const NO_SUCH_CLIENT: &str = "SH3013";
/// A name that endpoints need does not resolve.
pub const NAME_UNRESOLVED: &str = "SH3014";
/// A declared address stands for no single host: link-local IPv6, multicast or broadcast.
pub const ADDRESS_OF_LINK: &str = "SH3015";
/// An older rule of the same host has a subset of the same name.
pub const SUBSET_SHADOWED: &str = "SH3016";
/// A rule passes connects on to the address that clients asked for, which is an automatic one.
pub const PASSTHROUGH_NOWHERE: &str = "SH3017";
/// A route leads to a host, port or subset that nobody declares.
pub const ROUTE_TO_NOWHERE: &str = "SH3018";
/// An interval of probes that is none, or that has no effect.
pub const PROBE_INTERVAL: &str = "SH3019";
/// No client of the node sees the host.
pub const UNSEEN_HOST: &str = "SH3020";
/// Two workloads name the same cgroup.
pub const CGROUP_TAKEN: &str = "SH3021";
/// No cgroup matches what a workload names.
pub const NO_CGROUP: &str = "SH3022";
/// A policy is about no destination that clients of the node see.
pub const POLICY_WITHOUT_EFFECT: &str = "SH3023";
/// A rule asks where clients come from, which is not known of some.
pub const CLIENT_ADDRESS: &str = "SH3024";
/// Endpoints take mutual TLS only.
pub const STRICT_MTLS: &str = "SH3025";
