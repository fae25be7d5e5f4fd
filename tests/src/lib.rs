//! The harness of the tests: temporary cgroups and network namespaces, servers and clients, scenario files.

pub mod binary;
